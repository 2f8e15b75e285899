"""Fail in a coroutine and leave another one alone."""
import asyncio


async def alone():
    """Never awaited."""


async def main():
    """Fail."""
    alone()
    raise ValueError('in a coroutine')


asyncio.run(main())

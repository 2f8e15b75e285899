"""Run coroutines, with a child process."""
import asyncio


async def main():
    """Wait for this and that."""
    await asyncio.sleep(0)
    child = await asyncio.create_subprocess_exec('echo', 'child', stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    print(out, child.returncode)
    loop = asyncio.get_event_loop()
    print(await loop.run_in_executor(None, len, 'abc'))


asyncio.run(main())

"""Use what the future brings."""
from __future__ import annotations


def function(value: NotThere) -> AlsoNot:  # noqa: F821
    """Never evaluate the annotations."""
    return value


variable: Unknown = 3  # noqa: F821
print(function.__annotations__, globals().get('__annotations__'))
print(function.__code__.co_flags, compile('x: y', 's', 'exec', dont_inherit=False).co_flags)

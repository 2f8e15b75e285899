"""Evaluate annotations at once: no future of the runner's is inherited."""


def function(value: int = 3) -> str:
    """Have annotations."""
    return str(value)


number: int = 1
print(function.__annotations__, function.__code__.co_flags, __annotations__)
exec('def inner(x: int): pass\nprint(inner.__annotations__)')
print(eval('__name__'), function.__module__, function.__qualname__)

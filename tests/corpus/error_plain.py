"""Fail in a function."""


def outer(value):
    """Call."""
    return inner(value) + 1


def inner(value):
    """Fail."""
    return 1 / value


outer(0)

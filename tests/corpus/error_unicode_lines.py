"""Fail in a line that is not ASCII."""
grün = {'ä': 1}; grün['€'] + sum(  # noqa: E702, PLC2401
    [1, 2])

"""A module of a folder without `__init__`."""

HERE = __name__

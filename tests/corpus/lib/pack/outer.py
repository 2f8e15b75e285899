"""The end of the chain."""

BASE = 41

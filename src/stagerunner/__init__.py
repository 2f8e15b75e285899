"""A declarative offline stage runner driven by JSON pipeline definitions."""

__version__ = '0.1.0'

"""A package whose modules import one another relatively."""

from .inner import VALUE

__all__ = ['VALUE']

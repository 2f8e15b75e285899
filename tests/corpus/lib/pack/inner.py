"""Import the package that imports this."""

from . import outer

VALUE = outer.BASE + 1

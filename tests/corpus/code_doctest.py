"""Test the script's own examples.

>>> 1 + 1
3
>>> __name__
'__main__'
"""
import doctest

print(doctest.testmod())

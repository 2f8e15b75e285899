"""Look at abstract classes, virtual subclasses and single dispatch."""
import abc
import collections.abc
import functools
import numbers


class Own(metaclass=abc.ABCMeta):
    """Abstract."""

    @abc.abstractmethod
    def method(self):
        """Do nothing."""


@Own.register
class Other:
    """Virtual."""


@functools.singledispatch
def show(value):
    """Show anything."""
    return 'anything'


show.register(int, lambda value: 'int')
show.register(collections.abc.Sequence, lambda value: 'sequence')
print(issubclass(Other, Own), isinstance(3, numbers.Integral), show(3), show([]), show(None))
print([kind.__name__ for kind in Own.__subclasses__()], isinstance({}.keys(), collections.abc.Set))
try:
    Own()
except TypeError as error:
    print(error)

"""Make data classes, named tuples and enums in the script."""
import dataclasses
import enum
import typing


@dataclasses.dataclass(order=True)
class Point:
    """A point."""

    x: int
    y: 'int' = 0
    kind: typing.ClassVar['Kind'] = None


class Kind(enum.Enum):
    """A kind."""

    A = 1


class Pair(typing.NamedTuple):
    """A pair."""

    left: 'Point'
    right: typing.Optional['Pair'] = None


print(Point(1), Point(1) < Point(2), Kind.A, Pair(Point(3)), Point.__module__, repr(Kind))
print(typing.get_type_hints(Pair), typing.get_type_hints(Point), Pair.__module__)

"""Records: named, frozen tuples, as `typing.NamedTuple` makes them, in a tenth of the time.

A run without work takes some 20 ms.  Loading `typing` would take 3 of them,
and each record that it makes a tenth of one, because it compiles a function
for it and evaluates every annotation.  To type checkers this *is* `typing.NamedTuple`.
"""

from __future__ import annotations

#: True for type checkers, which know this name: what is imported under it is not loaded by a run.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple  # noqa: PLC0414 - exported by this spelling
else:
    from operator import itemgetter

    try:
        from _collections import _tuplegetter as getter
    except ImportError:
        def getter(index, text):
            """Return what gets the field at an index; Python 3.7 has nothing faster."""
            return property(itemgetter(index))

    class _Maker(type):
        """Turns the annotations of a class body into fields."""

        def __new__(cls, name, bases, body):
            if not bases or bases[0].__bases__ != (tuple,):
                # The base of all records, or a class that adds methods to one.
                return super().__new__(cls, name, bases, body)
            fields = tuple(body.get('__annotations__', ()))
            defaults = {field: body[field] for field in fields if field in body}
            for index, field in enumerate(fields):
                body[field] = getter(index, '')
            return super().__new__(cls, name, bases, dict(
                body, __slots__=(), _fields=fields, _field_defaults=defaults,
                _tail=tuple(defaults.values())))

    class _Record(tuple, metaclass=_Maker):
        """A record: its class has a line `name: type` or `name: type = default` per field.

        >>> class Point(NamedTuple):
        ...     x: int
        ...     y: int = 0
        >>> Point(1), Point(y=2, x=1)._replace(x=3), Point(1).y, Point(1) == (1, 0)
        (Point(x=1, y=0), Point(x=3, y=2), 0, True)
        """

        __slots__ = ()
        _fields = ()
        _field_defaults = {}
        _tail = ()

        def __new__(cls, *args, **given):
            n_left = len(cls._fields) - len(args)
            if n_left and not given and 0 < n_left <= len(cls._tail):
                args += cls._tail[-n_left:]
            elif n_left or given:
                args = _completed(cls, args, given)
            return tuple.__new__(cls, args)

        @classmethod
        def _make(cls, values):
            """Return a record of exactly these values."""
            return cls(*values)

        def _replace(self, **changes):
            """Return a record with some of the fields changed."""
            values = dict(zip(self._fields, self), **changes)
            if len(values) != len(self._fields):
                raise ValueError(f'{type(self).__name__} has no such field: '
                                 f'{", ".join(sorted(changes.keys() - set(self._fields)))}')
            return tuple.__new__(type(self), values.values())

        def _asdict(self):
            """Return the fields and their values."""
            return dict(zip(self._fields, self))

        def __repr__(self):
            shown = (f'{name}={value!r}' for name, value in zip(self._fields, self))
            return f'{type(self).__name__}({", ".join(shown)})'

        def __getnewargs__(self):
            return tuple(self)

    def _completed(kind, args, given):
        """Return one value per field, or raise `TypeError` for missing and unknown ones."""
        defaults, values = kind._field_defaults, list(args)
        try:
            for field in kind._fields[len(args):]:
                values.append(given.pop(field) if field in given else defaults[field])
        except KeyError as error:
            raise TypeError(f'{kind.__name__}: field {error} is missing') from None
        if given or len(values) != len(kind._fields):
            raise TypeError(f'{kind.__name__} has the fields {", ".join(kind._fields)}; '
                            f'got {len(args)} by place, and left over {sorted(given)}')
        return values

    NamedTuple = _Record

"""A terminal: lines that stay and scroll, and below them a block that is drawn anew.

Where escape sequences are not welcome (`NO_COLOR`) or lines are short, the
block is one line, and nothing but carriage returns and spaces is used for it.
After the terminal was made narrower, a part of an old block may stay behind; a
line that stays is never drawn over.
"""

from __future__ import annotations

import os
import re
import sys
from typing import List
from typing import Mapping
from typing import Sequence
from typing import Tuple

from stagerunner.report.console import Stream

#: A narrower terminal gets one line without escape sequences, in columns.
WIDE = 60

#: What is assumed of a terminal that does not know its size.
_SIZE = (80, 24)

_GREEN, _RED, _YELLOW = '32', '31', '33'

#: In which colour lines begin, by what they begin with.
_COLOURS = {
    '[DONE]': _GREEN, '[FAIL]': _RED, 'first failure:': _RED, '[RETRY]': _YELLOW,
    '[BLOCKED]': _YELLOW, '[INTERRUPTED]': _YELLOW, '[WAIT]': _YELLOW, 'warning:': _YELLOW,
}

#: How lines of ours begin: no row of a wrapped line may look like one.
_OURS = re.compile(r'\[|Run |warning:|note:|first failure:|log:')

#: The rows of a line that is folded begin with this, from the second on.
_INDENT = '    '


def width_of(text: str) -> int:
    """Return how many columns a text takes.

    >>> width_of('plain'), width_of('\\u8ad6\\u6587'), width_of('e\\u0301')
    (5, 4, 1)
    """
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    import unicodedata

    if unicodedata.category(character) in ('Mn', 'Me', 'Cf'):
        return 0
    return 2 if unicodedata.east_asian_width(character) in 'WF' else 1


def cut(text: str, columns: int) -> str:
    """Return as much of a text as fits, with a mark where it was cut.

    >>> cut('review[paper_0001]', 10), cut('short', 10), cut('\\u8ad6\\u6587', 3)
    ('review[p..', 'short', '..')
    """
    if width_of(text) <= columns:
        return text
    return _beginning(text, columns - 2) + '..'[:max(0, columns)]


def _beginning(text: str, columns: int) -> str:
    if text.isascii():
        return text[:max(0, columns)]
    taken = 0
    for place, character in enumerate(text):
        taken += _width(character)
        if taken > columns:
            return text[:place]
    return text


def rows_of(text: str, columns: int) -> List[str]:
    """Return the rows that a terminal shows a line in."""
    rows = []
    while width_of(text) > columns:
        row = _beginning(text, columns) or text[:1]
        rows.append(row)
        text = text[len(row):]
    return [*rows, text]


def fold(text: str, columns: int) -> str:
    """Return a line as it is, but where a row of it would look like another line of ours.

    What a processor printed stands in some lines; with enough before it, the
    terminal would begin a row with whatever it likes.

    >>> fold('[FAIL] a: exit code 1 [DONE] b', 22)
    '[FAIL] a: exit code 1 \\n    [DONE] b'
    """
    if columns <= 2 * len(_INDENT) or not any(map(_OURS.match, rows_of(text, columns)[1:])):
        return text
    first = rows_of(text, columns)[0]
    rest = rows_of(text[len(first):], columns - len(_INDENT))
    return '\n'.join([first, *(_INDENT + row for row in rest)])


class Terminal:
    """Where a person looks on; everything that is printed there goes through here."""

    def __init__(self, out: Stream, environment: Mapping[str, str]):
        self.out = out
        self.environment = environment
        #: The rows of the block as they are drawn now.
        self.drawn: Tuple[str, ...] = ()
        self.has_escapes = not environment.get('NO_COLOR')

    @property
    def size(self) -> Tuple[int, int]:
        """Return columns and rows as they are now."""
        try:
            assert self.out.target is not None
            columns, rows = os.get_terminal_size(self.out.target.fileno())
        except (OSError, ValueError, AssertionError):
            columns = rows = 0
        return (columns or self._told('COLUMNS') or _SIZE[0],
                rows or self._told('LINES') or _SIZE[1])

    def _told(self, name: str) -> int:
        text = self.environment.get(name, '')
        return int(text) if re.fullmatch('[0-9]{1,5}', text) else 0

    @property
    def is_wide(self) -> bool:
        """True where a block of several lines and colours are in place."""
        return self.has_escapes and self.size[0] >= WIDE

    def line(self, text: str, stream: Stream) -> None:
        """Print a line (or several) that stay, above the block, which is gone then."""
        if stream.is_terminal:
            erased, self.drawn = self._erased(), ()
            columns = self.size[0]
            text = '\n'.join([self._coloured(fold(line, columns))
                              for line in _spelled(text, stream).split('\n')])
            if stream is self.out:
                text = erased + text
            elif erased:
                self.out.write(erased)
        stream.line(text)

    def draw(self, lines: Sequence[str]) -> None:
        """Draw the block in place of the one that is there; where it is narrow, its first line."""
        columns, rows = self.size
        is_wide = self.is_wide
        shown = tuple(cut(_spelled(line, self.out), columns - 1)
                      for line in (lines[:max(1, rows - 2)] if is_wide else lines[:1]))
        if shown == self.drawn:
            return
        if not is_wide and len(self.drawn) > 1:
            self.clear()
        if is_wide:
            text = _up(self.drawn) + '\x1b[K\n'.join(shown) + '\x1b[J'
        else:
            former = min(columns - 1, width_of(self.drawn[0]) if self.drawn else 0)
            text = '\r' + shown[0] + ' ' * (former - width_of(shown[0]))
        # Known before it is there: Ctrl-C may come in between.
        self.drawn = shown
        self.out.write(text)

    def keep(self) -> None:
        """Leave the block where it is; what is printed next comes below it."""
        if self.drawn:
            self.out.write('\n')
        self.drawn = ()

    def clear(self) -> None:
        """Take the block away."""
        erased, self.drawn = self._erased(), ()
        if erased:
            self.out.write(erased)

    def _erased(self) -> str:
        if not self.drawn:
            return ''
        if len(self.drawn) == 1 and not self.is_wide:
            blank = min(self.size[0] - 1, width_of(self.drawn[0]))
            return '\r' + ' ' * blank + '\r'
        return _up(self.drawn) + '\x1b[J'

    def _coloured(self, text: str) -> str:
        if not self.is_wide:
            return text
        for start, colour in _COLOURS.items():
            if text.startswith(start):
                return f'\x1b[{colour}m{start}\x1b[0m{text[len(start):]}'
        return text


class Above(Stream):
    """A stream whose lines appear above the block of a terminal."""

    def __init__(self, stream: Stream, terminal: Terminal):
        super().__init__(stream.target)
        self.stream = stream
        self.terminal = terminal

    def line(self, text: str) -> None:
        self.terminal.line(text, self.stream)


def _up(drawn: Sequence[str]) -> str:
    """Return what leads to the beginning of the block from its end."""
    return '\r' + (f'\x1b[{len(drawn) - 1}A' if len(drawn) > 1 else '')


def _spelled(text: str, stream: Stream) -> str:
    """Return a text as the stream's encoding can have it, so that its width is known."""
    encoding = getattr(stream.target, 'encoding', None) or 'ascii'
    if text.isascii():
        return text
    return text.encode(encoding, 'backslashreplace').decode(encoding)


def can_be_drawn_on(out: Stream) -> bool:
    """True unless this is a console of Windows in which escape sequences are not switched on."""
    if sys.platform != 'win32':
        return True
    import ctypes  # pragma: no cover - a real console of Windows only

    mode = ctypes.c_ulong()  # pragma: no cover
    handle = ctypes.windll.kernel32.GetStdHandle(-11)  # pragma: no cover
    is_known = ctypes.windll.kernel32.GetConsoleMode(  # pragma: no cover
        handle, ctypes.byref(mode))
    return bool(is_known and mode.value & 4)  # pragma: no cover

"""A small terminal emulator, and runs of the front door on a real pseudo-terminal.

The emulator knows what the runner may send and fails at anything else: text,
carriage return, line feed, cursor up, erase to the end of the line or of the
screen, and three colours.
"""

from __future__ import annotations

import codecs
import io
import os
import re
import select
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import Optional

from support import FRONT_DOOR
from support import PATIENCE_S
from support import clean_environment

COLOURS = ('0', '31', '32', '33')

_SEQUENCE = re.compile(r'\x1b\[([0-9;]*)([A-Za-z])')


class Screen:
    """What a person sees: rows of cells, those that scrolled away included."""

    def __init__(self, columns: int = 80, rows: int = 24):
        self.columns = columns
        self.rows = rows
        self.cells: List[List[str]] = [[]]
        self.row = self.column = 0
        self.rest = ''
        self.colours: List[str] = []
        self._decoder = codecs.getincrementaldecoder('utf-8')()

    def feed(self, data: bytes) -> None:
        """Show what arrived."""
        text = self.rest + self._decoder.decode(data)
        place = 0
        while place < len(text):
            character = text[place]
            if character == '\x1b':
                found = _SEQUENCE.match(text, place)
                if found is None:
                    assert len(text) - place < 12, f'unknown: {text[place:place + 12]!r}'
                    break
                self._obey(found.group(1), found.group(2))
                place = found.end()
                continue
            self._show(character)
            place += 1
        self.rest = text[place:]

    def _obey(self, number: str, command: str) -> None:
        if command == 'm':
            assert number in COLOURS, f'unexpected colour {number}'
            self.colours.append(number)
        elif command == 'A':
            top = max(0, len(self.cells) - self.rows)
            self.row = max(top, self.row - int(number))
        elif command == 'K':
            assert number == '', number
            self._erase_line()
        elif command == 'J':
            assert number == '', number
            self._erase_line()
            for cells in self.cells[self.row + 1:]:
                del cells[:]
        else:
            raise AssertionError(f'unexpected sequence ESC [ {number} {command}')

    def _erase_line(self) -> None:
        del self.cells[self.row][self.column:]

    def _show(self, character: str) -> None:
        if character == '\r':
            self.column = 0
        elif character == '\n':
            self._down()
        else:
            assert character.isprintable(), f'control character {character!r}'
            self._put(character)

    def _put(self, character: str) -> None:
        width = 0 if unicodedata.combining(character) else (
            2 if unicodedata.east_asian_width(character) in 'WF' else 1)
        if self.column + width > self.columns:
            self._down()
            self.column = 0
        cells = self.cells[self.row]
        if not width:
            cells[self.column - 1] += character
            return
        cells.extend(' ' * (self.column + width - len(cells)))
        cells[self.column] = character
        if width == 2:
            cells[self.column + 1] = ''
        self.column += width

    def _down(self) -> None:
        self.row += 1
        if self.row == len(self.cells):
            self.cells.append([])

    def lines(self) -> List[str]:
        """Return all rows without what is blank at their ends."""
        rows = [''.join(cells).rstrip() for cells in self.cells]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def text(self) -> str:
        """Return all rows as one text."""
        return '\n'.join(self.lines())


class FakeTerminal(io.StringIO):
    """A stdout that says it is a terminal, without a size of its own."""

    encoding = 'utf-8'

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError('no descriptor')

    def screen(self, columns: int = 80) -> Screen:
        """Return what it shows by now."""
        screen = Screen(columns)
        screen.feed(self.getvalue().replace('\n', '\r\n').encode('utf-8'))
        return screen


class Session:
    """The front door on a pseudo-terminal; `err_is_terminal=False` leaves stderr to a pipe."""

    def __init__(self, *args: Any, cwd: Path, columns: int = 80, rows: int = 24,
                 env: Optional[Dict[str, str]] = None):
        import pty

        self.screen = Screen(columns, rows)
        self.raw = b''
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        given = dict({'TERM': 'xterm-256color'}, **(env or {}))
        environment = clean_environment(**given)
        for name in ('NO_COLOR', 'COLUMNS', 'LINES'):
            if name not in given:
                environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, str(FRONT_DOOR), *(str(arg) for arg in args)], cwd=str(cwd),
            stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, env=environment)
        os.close(slave)

    def resize(self, columns: int, rows: int) -> None:
        """Do what a person does who drags the corner of a window."""
        import fcntl
        import struct
        import termios

        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
        self.screen.columns, self.screen.rows = columns, rows

    def until(self, condition: Callable[[Session], Any], what: str) -> None:
        """Read on until the condition is true."""
        end = time.monotonic() + PATIENCE_S
        while not condition(self):
            assert time.monotonic() < end, f'{what} was never shown:\n{self.screen.text()}'
            assert self._read(0.05), f'{what} was not shown before the end:\n{self.screen.text()}'

    def finish(self) -> int:
        """Read to the end and return the exit code."""
        while self._read(PATIENCE_S):
            pass
        return self.process.wait(PATIENCE_S)

    def _read(self, timeout_s: float) -> bool:
        """Take what arrived; False at the end."""
        if not select.select([self.master], [], [], timeout_s)[0]:
            return self.process.poll() is None or timeout_s < PATIENCE_S
        try:
            data = os.read(self.master, 65536)
        except OSError:
            # Linux says so where nobody has the other end any more.
            return False
        self.raw += data
        self.screen.feed(data)
        return bool(data)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: Any) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

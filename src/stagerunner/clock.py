"""Wall time, monotonic time, and the request to stop that ends every wait.

The only module that looks at the time.  Nobody sleeps: all waiting is done in
one place, `Launcher.wait`.
"""

from __future__ import annotations

import os
import re
import time
from functools import lru_cache

#: What `stamp` writes; compiled when it is needed, which most runs never do.
_STAMP = r'(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{6})\+00:00'


def stamp(seconds: float) -> str:
    """Return unix seconds as UTC text with microseconds, as all state files have it.

    >>> stamp(0.25)
    '1970-01-01T00:00:00.250000+00:00'
    """
    whole, rest = divmod(round(seconds * 1_000_000), 1_000_000)
    return f'{_second(whole)}.{rest:06d}+00:00'


def unstamp(text: str) -> float:
    """Return what `stamp` wrote as unix seconds again, or raise `ValueError`.

    >>> unstamp('1970-01-01T00:00:00.250000+00:00'), unstamp('2024-02-29T12:00:00.000000+00:00')
    (0.25, 1709208000.0)
    """
    found = re.fullmatch(_STAMP, text, re.ASCII)
    if found is None:
        raise ValueError(f'not a time of a state file: {text!r}')
    year, month, day, hour, minute, second, micros = map(int, found.groups())
    # March is the first month: the odd day of a leap year is then the last one.
    years = year - (month < 3)
    days = (years * 365 + years // 4 - years // 100 + years // 400
            + (153 * ((month + 9) % 12) + 2) // 5 + day - 719469)
    return days * 86400.0 + hour * 3600 + minute * 60 + second + micros / 1_000_000


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))


class Stop:
    """A request to end, made by a signal handler and seen by every loop that waits.

    `request` only sets fields and writes one byte to a pipe, so it is safe at
    any instruction.  The pipe stays readable from then on: a wait that
    includes `fileno` returns at once, now and later.
    """

    def __init__(self) -> None:
        self.signum = 0
        #: How often somebody asked; a second request means "at once".
        self.count = 0
        self._read, self._write = os.pipe()
        if os.name == 'posix':
            os.set_blocking(self._write, False)

    @property
    def is_requested(self) -> bool:
        """True once somebody asked to end."""
        return self.count > 0

    def request(self, signum: int) -> None:
        """Ask to end, naming the signal that the exit code will report."""
        self.count += 1
        self.signum = self.signum or signum
        try:
            os.write(self._write, b'!')
        except OSError:
            # The pipe is full: it is readable, which is all that matters.
            pass

    def fileno(self) -> int:
        """Return the descriptor that becomes readable with the first request."""
        return self._read

    def drain(self) -> None:
        """Make the descriptor wait for the next request instead of the ones already seen."""
        import select

        if os.name == 'posix' and select.select([self._read], [], [], 0)[0]:
            os.read(self._read, 4096)

    def close(self) -> None:
        """Give the pipe back."""
        os.close(self._read)
        os.close(self._write)


class Clock:
    """The real clock; tests hand in one that they turn by hand."""

    def now(self) -> float:
        """Return unix seconds, which a person may set back or forth at any time."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that only grow; good for durations, meaningless otherwise."""
        return time.monotonic()

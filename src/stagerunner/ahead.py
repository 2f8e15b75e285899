"""Hash large files in threads, before the run asks for them one by one.

A run looks at its tasks in one thread, and a file of a gigabyte takes most of
a second there, in which nothing is started.  With several workers the large
inputs that are going to be asked for are hashed side by side from the
beginning; `hashlib` lets other threads run meanwhile.  What comes of it is a
digest with the stat of its file and the time at which the hashing began: a
hint, which who asks has to hold against the file as it is by then.
"""

from __future__ import annotations

from stagerunner.clock import Clock
from stagerunner.errors import RunnerError
from stagerunner.files import Stat
from stagerunner.files import digest_file
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple

if TYPE_CHECKING:
    from typing import Dict
    from typing import List
    from typing import Optional
    from typing import Sequence

#: Smaller files take no longer than handing them over, in bytes.
LARGE = 8 << 20


class Found(NamedTuple):
    """What a file was when it was hashed, and when that began."""

    digest: str
    stat: Stat
    looked_ns: int


class Ahead:
    """Threads that hash files in the order given; to be closed."""

    def __init__(self, paths: Sequence[str], n_threads: int, clock: Clock):
        import threading

        self.clock = clock
        self.changed = threading.Condition()
        #: Files that nobody has begun with, files that a thread is at, and results.
        self.waiting: List[str] = list(reversed(paths))
        self.begun: Dict[str, Optional[Found]] = {}
        self.ended: Dict[str, bool] = {}
        self.is_wanted = True
        self.threads = [threading.Thread(target=self._work, name=f'hashing {number}')
                        for number in range(min(n_threads, len(paths)))]
        for thread in self.threads:
            thread.start()

    def take(self, path: str) -> Optional[Found]:
        """Return what a thread found out, waiting for one that is at it; None: ask the file.

        A file that no thread has begun with is left to the caller.
        """
        with self.changed:
            if path not in self.begun:
                if path in self.waiting:
                    self.waiting.remove(path)
                return None
            while not self.ended[path]:
                self.changed.wait()
            return self.begun[path]

    def close(self) -> None:
        """Let the threads end; what is half hashed is not wanted any more."""
        with self.changed:
            self.is_wanted = False
        for thread in self.threads:
            thread.join()

    def _work(self) -> None:
        while True:
            with self.changed:
                if not self.is_wanted or not self.waiting:
                    return
                path = self.waiting.pop()
                self.begun[path], self.ended[path] = None, False
            found = self._hashed(path)
            with self.changed:
                self.begun[path], self.ended[path] = found, True
                self.changed.notify_all()

    def _hashed(self, path: str) -> Optional[Found]:
        looked_ns = int(self.clock.now() * 1e9)
        try:
            digest, seen = digest_file(path, lambda: self.is_wanted)
        except (OSError, RunnerError):
            # Whoever asks for the file finds out for himself.
            return None
        return Found(digest, seen, looked_ns)

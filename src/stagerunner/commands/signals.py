"""How a run listens to signals: each is a request to end, in good order."""

from __future__ import annotations

import signal

from stagerunner.clock import Stop
from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import List
    from typing import Tuple

#: Signals that end a run in good order; the last one is what CTRL_BREAK is called on Windows.
_ENDING = ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGBREAK')


class Listening:
    """A context in which signals are requests to `stop`; what was before comes back after it."""

    def __init__(self, stop: Stop):
        self.stop = stop
        self.former: List[Tuple[int, Any]] = []

    def __enter__(self) -> None:
        self.former = [
            (signum, signal.signal(signum, self._request))
            for signum in (getattr(signal, name, None) for name in _ENDING)
            if signum is not None and signal.getsignal(signum) != signal.SIG_IGN]
        if hasattr(signal, 'SIGCHLD'):
            # Who started us may ignore it, and then nobody can learn how a processor ended.
            self.former.append((signal.SIGCHLD, signal.signal(signal.SIGCHLD, signal.SIG_DFL)))

    def __exit__(self, *error: Any) -> None:
        for signum, handler in self.former:
            signal.signal(signum, handler)

    def _request(self, signum: int, frame: object) -> None:
        """Ask to end; the third signal of a kind ends the runner as usual."""
        self.stop.request(signum)
        if self.stop.count > 1:
            signal.signal(signum, signal.SIG_DFL)

"""Raise the fence around this process, which is going to execute a keeper.

Used by a fork of the runner, and by an interpreter that loads nobody's
start-up file; the keeper starts inside the fence, with the variables of the
processors.
"""

from __future__ import annotations

import os

from stagerunner import isolation

#: Known to type checkers; loading `typing` would cost each keeper milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from typing import Mapping
    from typing import Tuple


def raise_fence() -> str:
    """Isolate this process and return what is in force, in the words of a keeper's report."""
    mechanisms: Tuple[str, ...] = ()
    is_enforced = False
    try:
        kernel = isolation.Kernel()
        mechanisms = isolation.fence_network(kernel)
        # The host may refuse what the probe asks for: only with a filter of ours does that count.
        is_enforced = 'seccomp' in mechanisms and kernel.refuses_sockets()
    except (ImportError, OSError, AttributeError):
        # No ctypes or no such calls: the report says that nothing is in force.
        pass
    return ','.join(('enforced' if is_enforced else '', *mechanisms))


def execute_keeper(python: str, seed: str, descriptor: int, source: str, report: str,
                   env: Mapping[Any, Any]) -> None:
    """Become the keeper that serves the channel at this descriptor."""
    os.execvpe(python, [python, seed, str(descriptor), report, source], env)


def close_inherited(descriptor: int) -> None:
    """Close all but the channel, and what every program has."""
    for name in os.listdir('/proc/self/fd'):
        if int(name) > 2 and int(name) != descriptor:
            try:
                os.close(int(name))
            except OSError:
                # The listing itself.
                continue

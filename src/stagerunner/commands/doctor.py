"""Tell what this host can promise: how processors are fenced and started here."""

from __future__ import annotations

import json
import sys
from typing import Any
from typing import Dict

from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.errors import FAILED
from stagerunner.errors import OK
from stagerunner.launch.job import Fence
from stagerunner.launch.system import make_launcher


def add_arguments(parser: Any) -> None:
    """Nothing beyond what all commands take."""


def main(arguments: Any, system: Any) -> int:
    """Print the findings; the exit code is 1 when a promise cannot be kept here."""
    findings = examine(dict(system.environment))
    if arguments.json:
        system.out.line(json.dumps(findings))
    else:
        for name, value in findings.items():
            system.out.line(f'{name}: {_text(value)}')
    return OK if findings['networkFence'] else FAILED


def examine(environment: Dict[str, str]) -> Dict[str, Any]:
    """Start what starts processors, ask it from inside what surrounds it, and end it."""
    stop = Stop()
    launcher = make_launcher(Clock(), stop)
    try:
        fence = launcher.fence(None, environment)
    except OSError:
        fence = Fence()
    finally:
        launcher.close()
        stop.close()
    return {'python': '%d.%d.%d' % sys.version_info[:3], 'interpreter': sys.executable,
            'platform': sys.platform, 'launcher': type(launcher).__name__,
            'networkFence': fence.is_enforced, 'mechanisms': list(fence.mechanisms),
            'fileFence': fence.landlock > 0, 'landlock': fence.landlock}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return ', '.join(value) or 'none' if isinstance(value, list) else str(value)

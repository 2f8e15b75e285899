"""Decide whether a failed attempt is worth another one, and when.

Everything here is pure: classes are read off exit codes and last lines, a
delay is computed, nothing waits.  `decide` is the only place where the answer
is made; the scheduler carries it out.
"""

from __future__ import annotations

import re
import signal

from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple

if TYPE_CHECKING:
    from typing import Optional
    from typing import Sequence

TRANSIENT, PERMANENT, UNKNOWN = 'transient', 'permanent', 'unknown'

#: No attempt was made: another run works on the stage.
BUSY = 'busy'

#: Exit codes with a meaning (sysexits.h; 126 and 127 are the shell's): contract, retry.
_EXIT_CLASSES = {75: TRANSIENT, 65: PERMANENT, 66: PERMANENT, 77: PERMANENT, 78: PERMANENT,
                 126: PERMANENT, 127: PERMANENT}

#: A processor that crashes in its own code will crash again.
_CRASHES = tuple(int(getattr(signal, name)) for name in ('SIGSEGV', 'SIGILL', 'SIGABRT')
                 if hasattr(signal, name))

#: By these the system says which of its limits a process met.
_LIMITS = {int(getattr(signal, name)): kind for name, kind in (
    ('SIGXCPU', 'cpu'), ('SIGXFSZ', 'file')) if hasattr(signal, name)}

#: A status code counts only beside a word that makes it one: line numbers are numbers too.
#: (`KeyError: 404` has no such word: the name of a class counts only when it is about HTTP.)
_HTTP = (r'(?:\b|_)(?:https?(?:/\d(?:\.\d)?)?|https?(?:status)?error|status(?:code)?|code|error|'
         r'response)(?:\s+(?:code|status|error))?[\s:=(\[]{0,3}\b')

_TRANSIENT_TEXT = (
    r'time(?:d)?[ -]?out|rate[ -]?limit|too many requests|quota exceeded|temporar(?:y|ily)|'
    r'try again|connection (?:\w+ )?(?:error|reset|refused|aborted|closed|timeout)|'
    r'connection\w*error|network|unreachable|broken ?pipe|service unavailable|bad gateway|'
    r'internal server error|server error|unavailable|' + _HTTP + r'(?:429|500|502|503|504)\b')

_PERMANENT_TEXT = (
    r'syntax ?error|invalid syntax|indentationerror|taberror|import ?error|'
    r'module ?not ?found|no module named|cannot import|authenticat|unauthori[sz]ed|forbidden|'
    r'invalid api key|permission ?(?:denied|error)|access denied|file ?not ?found|'
    r'no such file|not found|bad request|' + _HTTP + r'(?:400|401|403|404)\b')

#: What the system says when there is no room: another attempt meets the same disk.
#: (Compiled at first use: most runs never see an error.)
_NO_SPACE_TEXT = (
    r'no space left on device|disk quota exceeded|not enough space|\[errno 28\]')


class RetryPolicy(NamedTuple):
    """When and how often a failed task is tried again (times in seconds)."""

    max_attempts: int = 3
    base_delay_s: float = 0.5
    factor: float = 2.0
    max_delay_s: float = 60.0
    jitter: float = 0.1
    retries_unknown: bool = True
    #: No attempt begins later than this after the first one began.
    deadline_s: Optional[float] = None


class Verdict(NamedTuple):
    """`delay_s` until the next attempt, or None to give up; `why` names the cause."""

    delay_s: Optional[float]
    why: str


def classify_exit(exit_code: int, last_lines: Sequence[str]) -> str:
    """Return the class of an attempt that ended with `exit_code` (minus n: signal n).

    An exit code with a meaning decides; else the last line of stderr that has one.
    """
    if exit_code < 0:
        return PERMANENT if -exit_code in _CRASHES else TRANSIENT
    if exit_code in _EXIT_CLASSES:
        return _EXIT_CLASSES[exit_code]
    for line in reversed(last_lines):
        found = classify_text(line)
        if found != UNKNOWN:
            return found
    return UNKNOWN


def limit_of(exit_code: int) -> str:
    """Return which limit an exit code (minus n: signal n) tells of: `cpu`, `file`, or none ('').

    >>> limit_of(1)
    ''
    """
    return _LIMITS.get(-exit_code, '')


def classify_text(text: str, http_status: Optional[int] = None) -> str:
    """Return the class of an error message, or of an HTTP status where one is known.

    >>> classify_text('Connection timeout'), classify_text('File not found')
    ('transient', 'permanent')
    """
    if http_status in (429, 500, 502, 503, 504):
        return TRANSIENT
    if http_status in (400, 401, 403, 404):
        return PERMANENT
    if is_no_space(text) or _says('offline violation', text):
        return PERMANENT
    if _says(_TRANSIENT_TEXT, text):
        return TRANSIENT
    return PERMANENT if _says(_PERMANENT_TEXT, text) else UNKNOWN


def is_no_space(text: str) -> bool:
    """True when a message says that a disk or a quota is full."""
    return _says(_NO_SPACE_TEXT, text)


def _says(pattern: str, text: str) -> bool:
    return re.search(pattern, text, re.IGNORECASE) is not None


def decide(attempt: int, error_class: str, policy: RetryPolicy, spread: float = 0.0) -> Verdict:
    """Say whether attempt number `attempt`, which failed, is followed by another.

    `spread` is a random number from -1 to 1 that becomes the jitter.  Formula:
    base * factor^(n-1), plus or minus the jitter, then capped (contract, retry).

    >>> decide(1, TRANSIENT, RetryPolicy()).delay_s, decide(2, TRANSIENT, RetryPolicy()).delay_s
    (0.5, 1.0)
    >>> decide(3, TRANSIENT, RetryPolicy()).why
    'attempt 3 of 3'
    """
    if error_class == PERMANENT:
        return Verdict(None, 'permanent')
    if error_class == UNKNOWN and not policy.retries_unknown:
        return Verdict(None, 'unknown errors are not retried')
    if attempt >= policy.max_attempts:
        return Verdict(None, f'attempt {attempt} of {policy.max_attempts}')
    return Verdict(delay(attempt, policy, spread), error_class)


def delay(attempt: int, policy: RetryPolicy, spread: float) -> float:
    """Return the seconds to wait before attempt number `attempt` + 1."""
    try:
        plain = float(policy.base_delay_s * policy.factor ** (attempt - 1))
    except OverflowError:
        plain = policy.max_delay_s if policy.base_delay_s else 0.0
    return max(0.0, min(plain * (1 + policy.jitter * spread), policy.max_delay_s))

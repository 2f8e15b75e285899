"""Tell errors that may pass from errors that stay, for programs that make calls of their own."""

from __future__ import annotations

import enum
from typing import Any
from typing import Optional

from stagerunner import retry

#: Exceptions that say by their kind what they are, whatever their text.
_TRANSIENT = (TimeoutError, ConnectionError)
_PERMANENT = (SyntaxError, ImportError, PermissionError, FileNotFoundError)

#: Where the exceptions of HTTP libraries keep the status.
_STATUS_NAMES = ('status_code', 'status', 'code')


class ErrorType(enum.Enum):
    """What is known of an error: it may pass, it will not, or neither."""

    TRANSIENT = retry.TRANSIENT
    PERMANENT = retry.PERMANENT
    UNKNOWN = retry.UNKNOWN


class ErrorClassifier:
    """Classifies exceptions and messages by the rules that the runner has for its stages.

    >>> ErrorClassifier.classify_error('Connection timeout', http_status=429)
    <ErrorType.TRANSIENT: 'transient'>
    >>> ErrorClassifier.should_retry('File not found')
    False
    """

    @staticmethod
    def classify_error(error: Any, http_status: Optional[int] = None) -> ErrorType:
        """Return the type of an exception or message; a status that is known decides."""
        status = _status_of(error) if http_status is None else http_status
        if not isinstance(error, BaseException):
            return ErrorType(retry.classify_text(str(error), status))
        text = f'{type(error).__name__}: {error}'
        by_status = retry.classify_text('', status)
        if by_status != retry.UNKNOWN:
            return ErrorType(by_status)
        if retry.is_no_space(text) or isinstance(error, _PERMANENT):
            return ErrorType.PERMANENT
        if isinstance(error, _TRANSIENT):
            return ErrorType.TRANSIENT
        return ErrorType(retry.classify_text(text))

    @staticmethod
    def should_retry(error: Any, http_status: Optional[int] = None) -> bool:
        """Return True for what may pass; not for what is unknown."""
        return ErrorClassifier.classify_error(error, http_status) is ErrorType.TRANSIENT


def _status_of(error: Any) -> Optional[int]:
    """Return the HTTP status that an exception carries itself, or in its response."""
    for holder in (error, getattr(error, 'response', None)):
        for name in _STATUS_NAMES:
            value = getattr(holder, name, None)
            if isinstance(value, int) and 400 <= value < 600:
                return value
    return None

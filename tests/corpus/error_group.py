"""Fail with notes, or a group where there are such."""
import sys

if sys.version_info >= (3, 11):
    def fail(kind):
        """Fail with notes."""
        error = kind('one of many')
        error.add_note('a note\nof two lines')
        raise error

    errors = []
    for kind in (ValueError, TypeError):
        try:
            fail(kind)
        except Exception as error:
            errors.append(error)
    raise ExceptionGroup('all of them', errors)  # noqa: F821 - 3.11
raise ValueError('no groups here')

"""Fail while handling failures."""
import helper


def first():
    """Fail in another file."""
    helper.fail()


def second():
    """Fail from another failure."""
    try:
        first()
    except LookupError as error:
        raise RuntimeError('second') from error


try:
    second()
except RuntimeError:
    raise TypeError('third')  # noqa: B904 - the implicit context is what is looked at

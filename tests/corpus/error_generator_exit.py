"""Raise what is no Exception."""


class Own(BaseException):
    """Derived from the root."""


try:
    raise GeneratorExit('caught')
except BaseException as error:
    print(repr(error))
raise Own('not caught')

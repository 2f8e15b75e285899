"""Look at tracebacks of errors that are caught."""
import sys
import traceback


def fail():
    """Fail."""
    raise ValueError('caught')


try:
    fail()
except ValueError as error:
    print(traceback.format_exc())
    traceback.print_exception(type(error), error, error.__traceback__)
    print(len(traceback.extract_tb(error.__traceback__)), sys.exc_info()[1] is error)
    print([frame.f_code.co_name for frame, _ in traceback.walk_tb(error.__traceback__)])

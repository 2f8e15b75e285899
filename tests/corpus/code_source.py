"""Read the script's own source."""
import inspect
import linecache


def function():
    """Have a source."""
    return 1  # with a comment


class Thing:
    """Have a source too."""


print(inspect.getsource(function), inspect.getsource(Thing))
print(inspect.getsourcefile(function), inspect.getfile(Thing),
      inspect.getmodule(function).__name__)
print(linecache.getline(__file__, 1), __loader__.get_source('__main__').count('\n'))
print(inspect.signature(function), function.__code__.co_filename, inspect.currentframe().f_lineno)

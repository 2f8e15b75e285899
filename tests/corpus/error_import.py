"""Import what is not there."""
try:
    import nowhere.to_be_found  # noqa: F401
except ImportError as error:
    print(error, error.name, error.path)
from helper import nothing_of_that_name  # noqa: F401

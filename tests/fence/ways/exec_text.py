"""Execute program text."""

from _way import attempt
from _way import code

attempt(lambda: exec(code(), {}))

"""Use the connection that is the runner's stdin, as under inetd."""

import os

from _way import TOKEN
from _way import attempt

attempt(lambda: os.write(0, TOKEN))

"""Take a connection out of a process outside."""

import os

from _calls import call
from _way import TOKEN
from _way import attempt
from _way import port


def go():
    """Take and use."""
    process = call('pidfd_open', port('OUTSIDER'), 0)
    os.write(call('pidfd_getfd', process, port('OUTSIDER_FD'), 0), TOKEN)


attempt(go)

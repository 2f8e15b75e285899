"""Enter the network of a process outside, and go on from there."""

import os

from _calls import call
from _way import attempt
from _way import code
from _way import port

CLONE_NEWNET = 0x40000000


def go():
    """Enter, connect, send."""
    outside = os.open('/proc/%d/ns/net' % port('OUTSIDER'), os.O_RDONLY)
    call('setns', outside, CLONE_NEWNET)
    exec(code(), {})


attempt(go)

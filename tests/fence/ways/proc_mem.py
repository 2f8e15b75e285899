"""Write into the memory of a process outside through its file under /proc."""

import os

from _way import TOKEN
from _way import attempt
from _way import port


def go():
    """Open and write."""
    memory = os.open('/proc/%d/mem' % port('OUTSIDER'), os.O_RDWR)
    os.pwrite(memory, TOKEN, port('OUTSIDER_MEMORY'))


attempt(go)

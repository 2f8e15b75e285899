"""Copy into the memory of a process outside."""

import ctypes
import struct

from _calls import call
from _way import TOKEN
from _way import attempt
from _way import port


def go():
    """Copy."""
    own = ctypes.create_string_buffer(TOKEN)
    there = struct.pack('=QQ', port('OUTSIDER_MEMORY'), len(TOKEN))
    here = struct.pack('=QQ', ctypes.addressof(own), len(TOKEN))
    call('process_vm_writev', port('OUTSIDER'), here, 1, there, 1, 0)


attempt(go)

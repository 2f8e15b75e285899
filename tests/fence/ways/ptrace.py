"""Put words into the memory of a process outside, as a debugger does."""

import ctypes
import os

from _calls import call
from _way import TOKEN
from _way import attempt
from _way import port

PTRACE_POKEDATA, PTRACE_ATTACH, PTRACE_DETACH = 5, 16, 17


def go():
    """Attach, write, let go."""
    process, memory = port('OUTSIDER'), port('OUTSIDER_MEMORY')
    call('ptrace', PTRACE_ATTACH, process, 0, 0)
    os.waitpid(process, 0x40000000)
    said = TOKEN + bytes(-len(TOKEN) % 8)
    for place in range(0, len(said), 8):
        word = int.from_bytes(said[place:place + 8], 'little')
        call('ptrace', PTRACE_POKEDATA, process, memory + place, ctypes.c_ulong(word))
    call('ptrace', PTRACE_DETACH, process, 0, 0)


attempt(go)

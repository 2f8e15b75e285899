"""A process outside of the fence, of the same user: it has a connection and sends what is put
into its memory, so that whoever gets hold of it is out.

Prints one line of variables for ways and goes on until its input ends.
"""

import ctypes
import json
import os
import select
import socket
import sys

#: Let any process of this user look at us, also where Yama is strict (prctl(2)).
PR_SET_PDEATHSIG, PR_SET_PTRACER, ANYBODY = 1, 0x59616D61, ctypes.c_ulong(-1)

LOOK_AGAIN_S = 0.005


def main(port):
    """Say where the connection and the memory are; pass on what appears there."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, 9)
    libc.prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)
    connection = socket.create_connection(('127.0.0.1', port))
    connection.sendall(b'helper-of-the-test ')
    memory = ctypes.create_string_buffer(256)
    print(json.dumps({'WAY_OUTSIDER': str(os.getpid()),
                      'WAY_OUTSIDER_FD': str(connection.fileno()),
                      'WAY_OUTSIDER_MEMORY': str(ctypes.addressof(memory))}), flush=True)
    while not select.select([sys.stdin], [], [], LOOK_AGAIN_S)[0]:
        # Complete when it ends in the end of a token: it may come in words of eight bytes.
        if memory.value.endswith(b'-out'):
            connection.sendall(memory.value + b' ')
            ctypes.memset(memory, 0, len(memory))


if __name__ == '__main__':
    main(int(sys.argv[1]))

"""Become a process as a test wants it to be, then a program: python enter.py JSON PROGRAM ARG...

`port`: leave connections to that port of loopback open, as descriptor 77 and
as stdin.  `refuse`: kinds of system calls that fail from here on, for ever (see
`refusals`).  `is_capped`: live in a user namespace that may have no further one.
`env`: variables that the program gets, and this one does not.
"""

import ctypes
import json
import os
import socket
import struct
import sys

#: The descriptor that somebody forgot to close.
LEFT_OPEN = 77

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
EPERM, ENOSYS = 1, 38

AF_ALG = 38

#: Numbers of (unshare, prctl, seccomp, landlock_create_ruleset, socket).
NUMBERS = {'x86_64': (272, 157, 317, 444, 41), 'aarch64': (97, 167, 277, 444, 198)}

LOAD, EQUAL, HAS_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000


def refusals(kinds):
    """Return (number, test, value, errno) of what fails; the test is on the first argument."""
    unshare, prctl, seccomp, landlock, make_socket = NUMBERS[os.uname().machine]
    known = {
        'user namespaces': [(unshare, HAS_BIT, CLONE_NEWUSER, EPERM)],
        'network namespaces': [(unshare, HAS_BIT, CLONE_NEWNET, EPERM)],
        'seccomp': [(prctl, EQUAL, PR_SET_SECCOMP, EPERM), (seccomp, None, 0, EPERM)],
        'landlock': [(landlock, None, 0, ENOSYS)],
        'sockets of ciphers': [(make_socket, EQUAL, AF_ALG, EPERM)],
    }
    return [refusal for kind in kinds for refusal in known[kind]]


def program(refused):
    """Return a filter that lets everything pass but what is refused."""
    lines = []
    for number, test, value, errno in refused:
        lines += [(LOAD, 0, 0, 0), (EQUAL, 0, 3 if test else 1, number)]
        if test:
            lines += [(LOAD, 0, 0, 16), (test, 0, 1, value)]
        lines.append((RETURN, 0, 0, ERRNO | errno))
    lines.append((RETURN, 0, 0, ALLOW))
    return b''.join(struct.pack('HBBI', *line) for line in lines)


def install(filter_program):
    """Load a filter for ever."""
    class Program(ctypes.Structure):
        _fields_ = [('length', ctypes.c_ushort), ('filter', ctypes.c_char_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    filled = Program(len(filter_program) // 8, filter_program)
    zero = ctypes.c_ulong(0)
    if (libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), zero, zero, zero)
            or libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(2), ctypes.byref(filled), zero, zero)):
        raise OSError(ctypes.get_errno(), 'the filter of the test cannot be loaded')


def cap():
    """Enter a user namespace of our own in which no other can be made."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), 'the user namespace of the test cannot be had')
    for name, text in (('self/setgroups', 'deny'), ('self/uid_map', '%d %d 1' % (user, user)),
                       ('self/gid_map', '%d %d 1' % (group, group)),
                       ('sys/user/max_user_namespaces', '0')):
        with open('/proc/' + name, 'w') as target:
            target.write(text)


def leave_open(port):
    """Keep two connections where programs that we become will have them too."""
    for number in (0, LEFT_OPEN):
        connection = socket.create_connection(('127.0.0.1', port))
        connection.sendall(b'helper-of-the-test ')
        os.dup2(connection.fileno(), number)
        connection.close()


def main(wishes, command):
    """Do what is wished for and go."""
    if wishes.get('port'):
        leave_open(wishes['port'])
    if wishes.get('is_capped'):
        cap()
    if wishes.get('refuse'):
        install(program(refusals(wishes['refuse'])))
    os.execve(command[0], command, dict(os.environ, **wishes.get('env', {})))


if __name__ == '__main__':
    main(json.loads(sys.argv[1]), sys.argv[2:])

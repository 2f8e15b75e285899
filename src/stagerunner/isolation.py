"""The kernel's fence around processors: no network, and only declared files where asked for.

Three mechanisms, each without root and from `ctypes` alone:

- **seccomp** refuses to make a socket of any family but unix and netlink, and
  everything that would get one by another way (io_uring, system calls of a
  foreign architecture, descriptors taken out of other processes, look-ups that
  the kernel has done by somebody else);
- **namespaces** (user and network) leave a process without a network device,
  also when it is run by root; root without a user namespace gives up the
  privileges by which it would get one all the same;
- **Landlock** (4 and newer) shuts out of the memory of processes outside and of
  their sockets without a file, which namespaces do where they can be had; and
  lets a process open only the files and folders it was given, where asked for.

All of it is inherited by every process started inside, and none can be
undone.  The order matters: namespaces first (seccomp refuses to enter others),
seccomp after it, Landlock for the files of a single task last.

This module runs inside the keeper, under the interpreter of the processors:
it imports nothing of the project and loads `ctypes` only when a fence is made.
"""

from __future__ import annotations

import os
import struct
import sys

#: Known to type checkers; loading `typing` would cost each keeper milliseconds, twice.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from typing import Callable
    from typing import Iterable
    from typing import Optional
    from typing import Sequence
    from typing import Tuple

AF_UNIX, AF_INET, AF_NETLINK = 1, 2, 16
_AF_ALG, _SOCK_SEQPACKET = 38, 5

#: What is had where a process may have namespaces of its own.
BOTH_NAMESPACES = 'user+network namespace'

#: Machines whose system call numbers are known: (audit architecture, has x32,
#: refused with EPERM, refused as unknown (ENOSYS), socket, socketpair).
#: Numbers: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h.
_EPERM_X86 = (101, 308, 310, 311, 438)  # ptrace setns process_vm_readv/writev pidfd_getfd
_EPERM_ARM = (117, 268, 270, 271, 438)
_URING = (425, 426, 427)
#: request_key: for the type `dns_resolver` a program outside of the fence looks names up.
_KEY_X86, _KEY_ARM = (249,), (218,)
MACHINES = {
    'x86_64': (0xC000003E, True, _EPERM_X86, _URING + _KEY_X86, 41, 53),
    'aarch64': (0xC00000B7, False, _EPERM_ARM, _URING + _KEY_ARM, 198, 199),
}

#: Classic BPF: load a word of the system call's data; jump if equal / at least; return.
_LOAD, _JEQ, _JGE, _RETURN = 0x20, 0x15, 0x35, 0x06
_NR_AT, _ARCH_AT, _ARG0_AT = 0, 4, 16
_X32_BIT = 0x40000000
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _EINVAL, _ENOSYS = 1, 22, 38

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 22, 36, 38
_SECCOMP_MODE_FILTER = 2
_PR_CAPBSET_DROP = 24
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000

#: Privileges by which root gets at a network without a socket of its own: net admin and raw,
#: modules, raw i/o, ptrace, admin, perfmon, bpf, checkpoint/restore (capabilities(7)).
_NETWORK_CAPABILITIES = (12, 13, 16, 17, 19, 21, 38, 39, 40)
_CAPABILITY_VERSION = 0x20080522

#: Landlock: the same numbers on every architecture (landlock(7)).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_MAKE_AND_REMOVE = 0x1FF0
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_BIND_AND_CONNECT_TCP, _SCOPE_ABSTRACT_SOCKETS = 3, 1
#: Rights that exist for files; the others are only for folders.
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV


class Kernel:
    """The few calls of the kernel that Python has no name for."""

    def __init__(self) -> None:
        import ctypes

        self._ctypes = ctypes
        self._libc = ctypes.CDLL(None, use_errno=True)
        #: Made once: what is made in a fork copies pages.
        self._death_signal = [_PR_SET_PDEATHSIG, *map(ctypes.c_ulong, (9, 0, 0, 0))]

    def _checked(self, result: int, what: str) -> int:
        if result < 0:
            number = self._ctypes.get_errno()
            raise OSError(number, '%s: %s' % (what, os.strerror(number)))
        return result

    def prctl(self, option: int, *values: Any) -> int:
        """Call prctl(2) with arguments as wide as the kernel reads them."""
        wide = [value if hasattr(value, '_obj') else self._ctypes.c_ulong(value)
                for value in (list(values) + [0, 0, 0, 0])[:4]]
        return self._checked(self._libc.prctl(option, *wide), 'prctl')

    def syscall(self, number: int, *values: Any) -> int:
        """Call a system call by number."""
        return self._checked(self._libc.syscall(self._ctypes.c_long(number), *values),
                             'system call %d' % number)

    def become_subreaper(self, *, is_one: bool = True) -> None:
        """Adopt every descendant whose parent dies, however it hides; or leave them to init."""
        self.prctl(_PR_SET_CHILD_SUBREAPER, int(is_one))

    def die_with_parent(self) -> None:
        """Be killed when the thread that started this process ends."""
        self._checked(self._libc.prctl(*self._death_signal), 'prctl')

    def write_memory(self, address: int, data: bytes) -> None:
        """Overwrite bytes of this process."""
        self._ctypes.memmove(address, data, len(data))

    def leave(self, exit_code: int) -> None:
        """End this process as C does, exit(3): Python's own end comes before or not at all."""
        self._libc.exit(exit_code)

    def sync_file_system(self, descriptor: int) -> None:
        """Return when all that was written to a file system is on its disk."""
        self._checked(self._libc.syncfs(descriptor), 'syncfs')

    def unshare(self, flags: int) -> None:
        """Leave the namespaces of the parent."""
        self._checked(self._libc.unshare(self._ctypes.c_int(flags)), 'unshare')

    def load_filter(self, program: bytes) -> None:
        """Install a seccomp filter for this process and all it will start."""
        class _Program(self._ctypes.Structure):  # type: ignore[misc,name-defined]
            _fields_ = [('length', self._ctypes.c_ushort), ('filter', self._ctypes.c_char_p)]

        self.prctl(_PR_SET_NO_NEW_PRIVS, 1)
        filled = _Program(len(program) // 8, program)
        self.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._ctypes.byref(filled))

    def can_make_socket(self, family: int) -> bool:
        """True when this process gets a socket of a family."""
        descriptor = self._libc.socket(family, 1, 0)
        if descriptor < 0:
            return False
        os.close(descriptor)
        return True

    def refuses_sockets(self) -> bool:
        """True where the filter is in force: the probe inside the fence.

        It asks for a socket that needs neither rights nor a network (AF_ALG),
        so that only the filter can answer with "not permitted".
        """
        descriptor = self._libc.socket(_AF_ALG, _SOCK_SEQPACKET, 0)
        if descriptor >= 0:
            os.close(descriptor)
            return False
        return bool(self._ctypes.get_errno() == _EPERM)

    def drop_capabilities(self, numbers: Sequence[int]) -> None:
        """Give up privileges for ever, also for programs that are executed later."""
        for number in numbers:
            try:
                self.prctl(_PR_CAPBSET_DROP, number)
            except OSError as error:
                # A kernel that does not know a privilege cannot grant it.
                if error.errno != _EINVAL:
                    raise
        who = self._ctypes.create_string_buffer(struct.pack('=Ii', _CAPABILITY_VERSION, 0), 8)
        held = self._ctypes.create_string_buffer(24)
        self._checked(self._libc.capget(who, held), 'capget')
        mask = ~sum(1 << number for number in numbers)
        words = [word & (mask >> (32 if place > 2 else 0)) & 0xFFFFFFFF
                 for place, word in enumerate(struct.unpack('=6I', held.raw))]
        self._checked(self._libc.capset(who, struct.pack('=6I', *words)), 'capset')

    def landlock_version(self) -> int:
        """Return the version of Landlock's interface, 0 where there is none."""
        try:
            return self.syscall(_CREATE_RULESET, None, self._ctypes.c_size_t(0),
                                self._ctypes.c_uint(1))
        except OSError:
            return 0

    def restrict_files(self, readable: Iterable[str], writable: Iterable[str],
                       listable: Iterable[str] = ()) -> None:
        """Let this process and its children open only these files and folders, for ever.

        Folders count with all that is in them; of `listable` ones only the
        names can be read.  What does not exist is left out.
        """
        version = self.landlock_version()
        if version < 1:
            raise OSError(_ENOSYS, 'Landlock is not available')
        write = _WRITE_FILE | _MAKE_AND_REMOVE
        write |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
        read = _EXECUTE | _READ_FILE | _READ_DIR
        ruleset = self._ruleset(struct.pack('=Q', read | write))
        try:
            for path in readable:
                self._allow(ruleset, path, read)
            for path in writable:
                self._allow(ruleset, path, read | write)
            for path in listable:
                self._allow(ruleset, path, _READ_DIR)
            self._enforce(ruleset)
        finally:
            os.close(ruleset)

    def restrict_neighbours(self) -> None:
        """Shut this process and its children out of other processes, without touching files.

        Out of their memory and, from Landlock 6 on, of their abstract sockets; TCP is refused.
        """
        version = self.landlock_version()
        if version < 4:
            raise OSError(_ENOSYS, 'Landlock is not available, or only for files')
        attributes = struct.pack('=QQ', 0, _BIND_AND_CONNECT_TCP)
        ruleset = self._ruleset(attributes + struct.pack('=Q', _SCOPE_ABSTRACT_SOCKETS)
                                if version >= 6 else attributes)
        try:
            self._enforce(ruleset)
        finally:
            os.close(ruleset)

    def _ruleset(self, attributes: bytes) -> int:
        return self.syscall(_CREATE_RULESET, self._ctypes.c_char_p(attributes),
                            self._ctypes.c_size_t(len(attributes)), self._ctypes.c_uint(0))

    def _enforce(self, ruleset: int) -> None:
        self.prctl(_PR_SET_NO_NEW_PRIVS, 1)
        self.syscall(_RESTRICT_SELF, self._ctypes.c_int(ruleset), self._ctypes.c_uint(0))

    def _allow(self, ruleset: int, path: str, rights: int) -> None:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return
        try:
            if not os.path.isdir(path):
                rights &= _ON_FILES
            rule = struct.pack('=Qi', rights, descriptor)
            self.syscall(_ADD_RULE, self._ctypes.c_int(ruleset), self._ctypes.c_int(1),
                         self._ctypes.c_char_p(rule), self._ctypes.c_uint(0))
        finally:
            os.close(descriptor)


def network_filter(machine: str) -> Optional[bytes]:
    """Return the seccomp program for a machine, or None for one whose numbers are not known.

    A socket is judged by the low word of its first argument: the kernel reads
    an int and ignores what is above.
    """
    if machine not in MACHINES or sys.byteorder != 'little':
        return None
    architecture, has_x32, refused, unknown, socket, socketpair = MACHINES[machine]
    lines = [(_LOAD, _ARCH_AT, '', ''), (_JEQ, architecture, '', 'refuse'),
             (_LOAD, _NR_AT, '', '')]
    if has_x32:
        lines.append((_JGE, _X32_BIT, 'refuse', ''))
    lines += [(_JEQ, number, 'refuse', '') for number in refused]
    lines += [(_JEQ, number, 'unknown', '') for number in unknown]
    lines += [(_JEQ, socket, 'family', ''), (_JEQ, socketpair, 'family', 'allow'),
              (_LOAD, _ARG0_AT, 'family:', ''),
              (_JEQ, AF_UNIX, 'allow', ''), (_JEQ, AF_NETLINK, 'allow', ''),
              (_RETURN, _ERRNO | _EPERM, 'refuse:', ''),
              (_RETURN, _ERRNO | _ENOSYS, 'unknown:', ''), (_RETURN, _ALLOW, 'allow:', '')]
    return _assemble(lines)


def _assemble(lines: Sequence[Tuple[int, int, str, str]]) -> bytes:
    """Turn (code, value, jump if true, jump if false) into bytes; `name:` is a label."""
    places = {line[2][:-1]: number for number, line in enumerate(lines) if line[2].endswith(':')}

    def distance(number: int, name: str) -> int:
        return places[name] - number - 1 if name and not name.endswith(':') else 0

    return b''.join(
        struct.pack('HBBI', code, distance(number, if_true), distance(number, if_false), value)
        for number, (code, value, if_true, if_false) in enumerate(lines))


def leave_network(kernel: Kernel) -> str:
    """Enter a user and a network namespace of our own; return what was had, '' for nothing.

    With root every id stays what it is; without, only the own id exists
    inside.  Root falls back to a network namespace alone.
    """
    try:
        _enter_user_namespace(kernel)
        return BOTH_NAMESPACES
    except OSError:
        if os.geteuid() != 0:
            return ''
    try:
        kernel.unshare(_CLONE_NEWNET)
        return 'network namespace'
    except OSError:
        return ''


def _enter_user_namespace(kernel: Kernel) -> None:
    """Unshare, and map every id to itself; nothing changed when an `OSError` is raised."""
    if _in_a_child(lambda: _unshare_and_map(kernel)):
        raise OSError(_EPERM, 'user namespaces cannot be used here')
    _unshare_and_map(kernel)


def _unshare_and_map(kernel: Kernel) -> None:
    """Leave the namespaces of the parent; root keeps all its ids, others keep their own."""
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        kernel.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        _put('/proc/self/setgroups', 'deny')
        _put('/proc/self/uid_map', '%d %d 1' % (uid, uid))
        _put('/proc/self/gid_map', '%d %d 1' % (gid, gid))
        return
    maps = [(name, _identity('/proc/self/%s' % name)) for name in ('uid_map', 'gid_map')]
    process = os.getpid()
    ready, tell = os.pipe()

    def write_maps() -> None:
        os.close(tell)
        if os.read(ready, 1):
            for name, text in maps:
                _put('/proc/%d/%s' % (process, name), text)

    helper = _fork(write_maps)
    os.close(ready)
    try:
        kernel.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        os.write(tell, b'!')
    finally:
        os.close(tell)
        _, status = os.waitpid(helper, 0)
    if status:
        raise OSError(_EPERM, 'the id maps could not be written')


def _identity(path: str) -> str:
    """Return an id map in which every id that exists here stays what it is."""
    with open(path) as lines:
        ranges = [line.split() for line in lines]
    return '\n'.join('%s %s %s' % (first, first, count) for first, _, count in ranges)


def _in_a_child(action: Callable[[], None]) -> int:
    """Try something that cannot be undone in a process of its own; return 0 if it worked."""
    return os.waitpid(_fork(action), 0)[1]


def _fork(action: Callable[[], None]) -> int:
    """Start a child that does one thing and is gone; its exit status is 0 if that worked."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return child


def _put(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode('ascii'))
    finally:
        os.close(descriptor)


def fence_network(kernel: Kernel) -> Tuple[str, ...]:
    """Cut this process off from every network; return the mechanisms that are in force."""
    namespaces = leave_network(kernel)
    program = network_filter(os.uname().machine)
    found = [namespaces,
             'seccomp' if program and _works(lambda: kernel.load_filter(program)) else '',
             'landlock' if _works(kernel.restrict_neighbours) else '']
    if os.geteuid() == 0 and namespaces != BOTH_NAMESPACES:
        _works(lambda: kernel.drop_capabilities(_NETWORK_CAPABILITIES))
    return tuple(name for name in found if name)


def _works(action: Callable[[], object]) -> bool:
    """Do something that not every kernel can; True when it was done."""
    try:
        action()
        return True
    except OSError:
        return False

"""The fence, piece by piece: its filter evaluated without a kernel, then the real thing.

What cannot be undone is done in a process of its own: `inside` runs a few lines
there, after the fence was raised.  See `tests/fence` for programs that want out.
"""

import json
import os
import re
import shutil
import socket
import struct
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from stagerunner import isolation
from support import SOURCE
from support import run_process

# -- the filter, evaluated here --------------------------------------------------------

ALLOW, EPERM, ENOSYS = 'ALLOW', 'EPERM', 'ENOSYS'
VERDICTS = {0x7FFF0000: ALLOW, 0x00050001: EPERM, 0x00050026: ENOSYS}

X86_64, AARCH64, I386, ARM = 0xC000003E, 0xC00000B7, 0x40000003, 0x40000028
AUDIT = {'x86_64': X86_64, 'aarch64': AARCH64}

#: Numbers of x86_64 and aarch64 (asm/unistd_64.h, asm-generic/unistd.h).
NUMBERS = {
    'read': (0, 63), 'write': (1, 64), 'ioctl': (16, 29), 'connect': (42, 203), 'bind': (49, 200),
    'sendto': (44, 206), 'execve': (59, 221), 'clone': (56, 220), 'unshare': (272, 97),
    'kill': (62, 129), 'socket': (41, 198), 'socketpair': (53, 199),
    'ptrace': (101, 117), 'setns': (308, 268), 'process_vm_readv': (310, 270),
    'process_vm_writev': (311, 271), 'pidfd_getfd': (438, 438), 'request_key': (249, 218),
    'io_uring_setup': (425, 425), 'io_uring_enter': (426, 426), 'io_uring_register': (427, 427),
}

REFUSED = ('ptrace', 'setns', 'process_vm_readv', 'process_vm_writev', 'pidfd_getfd')
UNKNOWN = ('io_uring_setup', 'io_uring_enter', 'io_uring_register', 'request_key')

AF_INET, AF_INET6, AF_PACKET, AF_VSOCK = 2, 10, 17, 40

#: Where the kernel's headers for programs may be, by machine.
HEADERS = {'x86_64': '/usr/include/x86_64-linux-gnu/asm/unistd_64.h',
           'aarch64': '/usr/include/asm-generic/unistd.h'}


def number_of(machine, name):
    return NUMBERS[name][list(AUDIT).index(machine)]


def verdict(program, architecture, number, *arguments):
    """Run a filter as the kernel does (classic BPF over struct seccomp_data)."""
    data = struct.pack('<IIQ6Q', number & 0xFFFFFFFF, architecture, 0,
                       *(list(arguments) + [0] * 6)[:6])
    accumulator = position = 0
    while True:
        code, if_true, if_false, value = struct.unpack_from('<HBBI', program, position * 8)
        position += 1
        if code == 0x20:
            accumulator, = struct.unpack_from('<I', data, value)
        elif code == 0x15:
            position += if_true if accumulator == value else if_false
        elif code == 0x35:
            position += if_true if accumulator >= value else if_false
        else:
            assert code == 0x06, f'unknown instruction {code:#x}'
            return VERDICTS[value]


@pytest.fixture(params=sorted(AUDIT))
def machine(request):
    return request.param


@pytest.fixture
def judge(machine):
    """Return the verdict of the machine's filter over a system call by name."""
    program = isolation.network_filter(machine)
    return lambda name, *arguments: verdict(program, AUDIT[machine], number_of(machine, name),
                                            *arguments)


@pytest.mark.parametrize(('name', 'arguments', 'expected'), [
    pytest.param('read', (0, 0, 1), ALLOW, id='read'),
    pytest.param('write', (1, 0, 1), ALLOW, id='write'),
    pytest.param('execve', (), ALLOW, id='execve'),
    pytest.param('connect', (3, 0, 16), ALLOW, id='connect of a socket that was let pass'),
    pytest.param('unshare', (0x10000000,), ALLOW, id='unshare: it only shuts out more'),
    pytest.param('socket', (isolation.AF_UNIX, 1, 0), ALLOW, id='unix socket'),
    pytest.param('socket', (isolation.AF_NETLINK, 3, 0), ALLOW, id='netlink socket'),
    pytest.param('socketpair', (isolation.AF_UNIX, 1, 0), ALLOW, id='unix pair'),
    pytest.param('socket', (isolation.AF_UNIX | 1 << 32, 1, 0), ALLOW,
                 id='unix socket with bits that the kernel ignores'),
    pytest.param('socket', (0, 1, 0), EPERM, id='socket of no family'),
    pytest.param('socket', (AF_INET, 1, 0), EPERM, id='ipv4'),
    pytest.param('socket', (AF_INET6, 2, 0), EPERM, id='ipv6'),
    pytest.param('socket', (AF_PACKET, 3, 0), EPERM, id='packet'),
    pytest.param('socket', (AF_VSOCK, 1, 0), EPERM, id='vsock'),
    pytest.param('socketpair', (AF_INET, 1, 0), EPERM, id='ipv4 pair'),
    pytest.param('socket', (AF_INET | 0xDEAD << 32, 1, 0), EPERM,
                 id='ipv4 below bits that the kernel ignores'),
    pytest.param('socket', (isolation.AF_UNIX | 1 << 31, 1, 0), EPERM, id='negative family'),
    *[pytest.param(name, (), EPERM, id=name) for name in REFUSED],
    *[pytest.param(name, (), ENOSYS, id=name) for name in UNKNOWN],
])
def test_a_system_call_is_judged(judge, name, arguments, expected):
    assert judge(name, *arguments) == expected


def test_of_all_families_only_those_of_this_machine_pass(judge):
    passed = [family for family in range(1024) if judge('socket', family, 1, 0) == ALLOW]

    assert passed == [isolation.AF_UNIX, isolation.AF_NETLINK]


def test_no_other_call_than_those_listed_is_refused(machine):
    program = isolation.network_filter(machine)

    refused = {number for number in range(1024)
               if verdict(program, AUDIT[machine], number, isolation.AF_UNIX) != ALLOW}

    assert refused == {number_of(machine, name) for name in REFUSED + UNKNOWN}


@pytest.mark.parametrize('name', ['read', 'socket'])
@pytest.mark.parametrize(('machine', 'foreign'), [
    ('x86_64', I386), ('x86_64', AARCH64), ('aarch64', ARM), ('aarch64', X86_64)])
def test_calls_of_a_foreign_architecture_are_refused(machine, foreign, name):
    program = isolation.network_filter(machine)

    assert verdict(program, foreign, number_of(machine, name), isolation.AF_UNIX) == EPERM


@pytest.mark.parametrize('number', [0, 41, 512, 0x3FFFFFFF, 0xBFFFFFFF])
def test_calls_with_x32_numbers_are_refused(number):
    program = isolation.network_filter('x86_64')

    assert verdict(program, X86_64, 0x40000000 + number, isolation.AF_UNIX) == EPERM


def test_there_is_no_filter_for_a_machine_whose_numbers_are_not_known(monkeypatch):
    assert isolation.network_filter('riscv64') is None
    monkeypatch.setattr(sys, 'byteorder', 'big')
    assert isolation.network_filter('aarch64') is None


def test_the_numbers_are_those_of_the_kernels_headers(machine):
    if not os.path.exists(HEADERS[machine]):
        pytest.skip(f'SKIPPED: {HEADERS[machine]} is not installed')
    text = Path(HEADERS[machine]).read_text('utf-8')
    defined = dict(re.findall(r'#define __NR(?:3264)?_(\w+) (\d+)', text))

    assert {name: int(defined[name]) for name in NUMBERS if name in defined} == {
        name: number_of(machine, name) for name in NUMBERS if name in defined}
    assert len(set(NUMBERS) & set(defined)) >= 18


# -- the real thing, in children ---------------------------------------------------------

#: Before the lines of a test: what they need, and how they answer.
BEGIN = '''\
import json, os, socket, sys
sys.path.insert(0, {source!r})
from stagerunner import isolation
kernel = isolation.Kernel()
def status(name):
    with open('/proc/self/status') as lines:
        return [line.split()[1] for line in lines if line.startswith(name + ':')][0]
def refused(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return error.errno
'''
RAISE = 'mechanisms = isolation.fence_network(kernel)\n'
ANSWER = 'print(json.dumps(answer))\n'

ENTER = Path(__file__).resolve().parent / 'fence' / 'enter.py'

#: The answer of a call that is refused, by seccomp, by Landlock, and for a link by Landlock.
NOT_PERMITTED, NO_ACCESS, OTHER_DEVICE = 1, 13, 18


def run_lines(lines, folder, world=(), python=sys.executable):
    """Run lines in a new interpreter, in a world of `fence/enter.py`; return their `answer`."""
    script = folder / 'lines.py'
    script.write_text(BEGIN.format(source=str(SOURCE)) + lines + ANSWER, 'utf-8')
    command = [sys.executable, ENTER, json.dumps(dict(world))] if world else []
    done = run_process(*command, python, script, cwd=folder)
    assert done.code == 0, done.err
    return json.loads(done.out)


@pytest.fixture
def inside(tmp_path):
    """Return a function that runs lines behind the network fence and returns their `answer`."""
    need('seccomp')
    return lambda lines, **options: run_lines(RAISE + lines, tmp_path, **options)


@pytest.fixture
def child(tmp_path):
    """Return a function that runs lines in a child of its own and returns their `answer`."""
    if not sys.platform.startswith('linux'):
        pytest.skip('SKIPPED: not this kernel')
    return lambda lines, **options: run_lines(lines, tmp_path, **options)


@lru_cache(maxsize=None)
def had_here():
    """Return the mechanisms that this machine has, and its version of Landlock."""
    lines = BEGIN.format(source=str(SOURCE)) + RAISE
    done = run_process(sys.executable, '-c', lines + (
        'answer = [*mechanisms, *("landlock %d" % (number + 1)'
        ' for number in range(kernel.landlock_version()))]\n' + ANSWER), cwd=os.getcwd())
    return frozenset(json.loads(done.out)) if done.code == 0 else frozenset()


def need(*mechanisms):
    """Skip a test where this machine lacks something."""
    for name in mechanisms:
        if not sys.platform.startswith('linux') or name not in had_here():
            pytest.skip(f'SKIPPED: no {name} can be had here')


need_root = pytest.mark.skipif(not hasattr(os, 'getuid') or os.getuid() != 0,
                               reason='SKIPPED: this is what happens to root')


@pytest.mark.parametrize('family', ['AF_INET', 'AF_INET6', 'AF_PACKET'])
def test_inside_there_is_no_socket_that_reaches_a_network(inside, family):
    assert inside(f'answer = refused(socket.socket, socket.{family})\n') == NOT_PERMITTED


def test_inside_what_a_network_is_reached_by_otherwise_is_refused(inside):
    """By numbers that are the same on every machine: io_uring_setup and pidfd_getfd."""
    answer = inside('answer = [refused(kernel.syscall, 425, 1, None),'
                    ' refused(kernel.syscall, 438, 1, 1, 0)]\n')

    assert answer == [38, NOT_PERMITTED]


def test_the_probe_tells_what_can_be_done(inside):
    answer = inside('answer = [kernel.can_make_socket(isolation.AF_INET),'
                    ' kernel.can_make_socket(isolation.AF_UNIX), kernel.refuses_sockets()]\n')

    assert answer == [False, True, True]


def test_without_a_fence_the_probe_says_so(child):
    answer = child('answer = [kernel.can_make_socket(isolation.AF_INET),'
                   ' kernel.refuses_sockets()]\n')

    assert answer == [True, False]


def test_what_is_started_inside_is_inside_too(inside):
    answer = inside('import subprocess\n'
                    'answer = subprocess.call([sys.executable, "-I", "-c", """import socket\n'
                    'try:\n'
                    '    socket.socket()\n'
                    'except PermissionError:\n'
                    '    raise SystemExit(42)"""])\n')

    assert answer == 42


def test_inside_nobody_gets_new_privileges(inside):
    assert inside('answer = [status("NoNewPrivs"), status("Seccomp")]\n') == ['1', '2']


def test_inside_there_is_no_device_but_an_idle_loopback(inside):
    need('user+network namespace')

    answer = inside('answer = [line.split(":")[0].strip()'
                    ' for line in open("/proc/net/dev") if ":" in line]\n')

    assert answer == ['lo']


#: What processors do that a fence must not break; each leaves `answer`.
WORKS = {
    'unix pair': '''
one, other = socket.socketpair()
one.sendall(b'word')
answer = other.recv(9).decode()
''',
    'abstract unix socket': '''
listener = socket.socket(socket.AF_UNIX)
listener.bind('\\0stagerunner-%d' % os.getpid())
listener.listen(1)
with socket.socket(socket.AF_UNIX) as client:
    client.connect(listener.getsockname())
    listener.accept()[0].sendall(b'word')
    answer = client.recv(9).decode()
''',
    'multiprocessing.Pool': '''
import multiprocessing
with multiprocessing.get_context('fork').Pool(2) as pool:
    answer = ''.join(pool.map(chr, map(ord, 'word')))
''',
    'multiprocessing.Manager': '''
import multiprocessing
with multiprocessing.get_context('fork').Manager() as manager:
    answer = manager.list(['word'])[0]
''',
    'forkserver': '''
import multiprocessing
del sys.modules['__main__'].__file__
context = multiprocessing.get_context('forkserver')
reader, writer = context.Pipe()
process = context.Process(target=writer.send, args=('word',))
process.start()
answer = reader.recv()
process.join()
''',
    'tempfile': '''
import tempfile
with tempfile.TemporaryFile() as made, tempfile.TemporaryDirectory() as folder:
    made.write(b'word')
    made.seek(0)
    answer = made.read().decode()
''',
    'sqlite3': '''
import sqlite3
database = sqlite3.connect('inside.sqlite')
database.execute('PRAGMA journal_mode=WAL')
with database:
    database.execute('CREATE TABLE words (word)')
    database.execute('INSERT INTO words VALUES (?)', ('word',))
answer = database.execute('SELECT word FROM words').fetchone()[0]
database.close()
''',
    'threads': '''
import threading
said = []
threads = [threading.Thread(target=said.append, args=(letter,)) for letter in 'word']
for thread in threads:
    thread.start()
    thread.join()
answer = ''.join(said)
''',
    'subprocess': '''
import subprocess
answer = subprocess.check_output(['sh', '-c', 'echo word | cat']).decode().strip()
''',
    'shared memory': '''
import mmap
shared = mmap.mmap(-1, 4)
if os.fork() == 0:
    shared[:] = b'word'
    os._exit(0)
os.wait()
answer = shared[:].decode()
''',
    'rename to another folder': '''
os.mkdir('from'), os.mkdir('to')
open('from/word', 'w').close()
os.rename('from/word', 'to/word')
answer = os.listdir('to')[0]
''',
}


@pytest.mark.integration
@pytest.mark.parametrize('lines', [pytest.param(lines, id=name) for name, lines in WORKS.items()])
def test_inside_a_processor_works_as_usual(inside, lines):
    assert inside(lines) == 'word'


# -- root and others ------------------------------------------------------------------------

@need_root
def test_root_keeps_its_rights_over_files_of_others_inside(inside, tmp_path):
    need('user+network namespace')
    secret = tmp_path / 'secret'
    secret.write_text('word')
    os.chown(str(secret), 1000, 1000)
    secret.chmod(0o600)

    answer = inside('made = open("made", "w"); os.chown("made", 1000, 1001)\n'
                    'answer = [open("secret").read(), os.stat("secret").st_uid,'
                    ' os.stat("made").st_gid, os.getuid()]\n')

    assert answer == ['word', 1000, 1001, 0]


@need_root
def test_somebody_without_rights_stays_who_he_is(tmp_path):
    """The interpreter and the module have to be where everybody can read them."""
    need('user+network namespace')
    python, setpriv = '/usr/bin/python3', shutil.which('setpriv')
    if not setpriv or not os.access(python, os.X_OK):
        pytest.skip('SKIPPED: no setpriv or no system Python')
    module = (SOURCE / 'stagerunner' / 'isolation.py').read_text('utf-8')
    lines = (f'import json, os\nmodule = {{"__name__": "isolation"}}\nexec({module!r}, module)\n'
             'mechanisms = module["fence_network"](module["Kernel"]())\n'
             'print(json.dumps([os.getuid(), os.getgid(), mechanisms]))\n')

    done = run_process(setpriv, '--reuid=65534', '--regid=65534', '--clear-groups', python, '-c',
                       lines, cwd=tmp_path.anchor, is_measured=False)

    assert done.code == 0, done.err
    assert json.loads(done.out)[:2] == [65534, 65534]
    assert 'user+network namespace' in json.loads(done.out)[2]


# -- what is done where something is missing --------------------------------------------------

CAPPED = {'is_capped': True}
NO_USER_NAMESPACES = {'refuse': ['user namespaces']}
NO_NAMESPACES = {'refuse': ['user namespaces', 'network namespaces']}
NOTHING = {'refuse': ['user namespaces', 'network namespaces', 'seccomp', 'landlock']}

#: Before and after: namespaces, ids, privileges.
IDENTITY = '''
def identity():
    return [os.readlink('/proc/self/ns/user'), os.readlink('/proc/self/ns/net'), os.getuid(),
            open('/proc/self/uid_map').read(), status('CapEff'), status('Seccomp')]
'''


@pytest.mark.parametrize('world', [
    pytest.param(CAPPED, id='capped'), pytest.param(NO_USER_NAMESPACES, id='refused')])
def test_without_user_namespaces_the_filter_is_still_there(child, world):
    need('user+network namespace')

    answer = child(RAISE + 'answer = [mechanisms, kernel.can_make_socket(isolation.AF_INET)]\n',
                   world=world)

    assert 'seccomp' in answer[0] and 'user+network namespace' not in answer[0]
    assert ('network namespace' in answer[0]) == (os.getuid() == 0)
    assert answer[1] is False


@pytest.mark.parametrize('world', [
    pytest.param(NO_NAMESPACES, id='both refused'),
    pytest.param(NOTHING, id='nothing can be had')])
def test_a_process_that_cannot_leave_its_namespaces_is_unchanged(child, world):
    before, left, after = child(IDENTITY + (
        'before = identity()\nanswer = [before, isolation.leave_network(kernel), identity()]\n'),
        world=world)

    assert left == ''
    assert before == after


#: A kernel that makes the namespaces, but gives no ids in them.
NO_MAPS = '''
class Kernel(isolation.Kernel):
    def unshare(self, flags):
        isolation.Kernel.unshare(self, flags & ~0x10000000 if flags & 0x10000000 else 0)
kernel = Kernel()
'''


@need_root
def test_a_user_namespace_without_ids_is_not_entered(child):
    """It is tried in a child first: what cannot be finished must not be begun."""
    need('user+network namespace')

    before, left, after = child(NO_MAPS + IDENTITY + (
        'before = identity()\nanswer = [before, isolation.leave_network(kernel), identity()]\n'))

    assert left == 'network namespace'
    assert before == after


def test_a_process_with_threads_falls_back_and_does_not_hang(child):
    """The kernel gives no user namespace to a process with threads (unshare(2), EINVAL)."""
    need('user+network namespace')

    answer = child('import threading\n'
                   'gate = threading.Event()\n'
                   'threading.Thread(target=gate.wait).start()\n'
                   + RAISE + 'answer = mechanisms\ngate.set()\n')

    assert 'seccomp' in answer
    assert 'user+network namespace' not in answer


@need_root
def test_root_without_a_user_namespace_gives_up_what_leads_to_a_network(child):
    """Net admin, ptrace and admin go, also for programs; access to the files of others stays."""
    need('user+network namespace')

    answer = child(RAISE + 'import subprocess\n'
                   'answer = [status("CapEff"), status("CapBnd"), *subprocess.check_output('
                   '["grep", "^CapEff", "/proc/self/status"]).decode().split()[1:]]\n',
                   world=NO_NAMESPACES)

    sets = [int(held, 16) for held in answer]
    assert [[held >> number & 1 for number in (1, 12, 19, 21)] for held in sets] == [
        [1, 0, 0, 0]] * 3


def test_where_nothing_can_be_had_nothing_is_claimed(child):
    answer = child(RAISE + 'answer = [mechanisms, kernel.can_make_socket(isolation.AF_INET)]\n',
                   world=NOTHING)

    assert answer == [[], True]


# -- Landlock ----------------------------------------------------------------------------------

#: What is tried, and the answer: nothing, or the number of the error.
OUTSIDE = {
    'open("input").read()': None,
    'open("beside").read()': NO_ACCESS,
    'open("input", "a")': NO_ACCESS,
    'open("input", "w")': NO_ACCESS,
    'open("elsewhere/file")': NO_ACCESS,
    'open("elsewhere/new", "w")': NO_ACCESS,
    'os.listdir("elsewhere")': NO_ACCESS,
    'os.mkdir("elsewhere/new")': NO_ACCESS,
    'os.unlink("elsewhere/file")': NO_ACCESS,
    'os.symlink("x", "elsewhere/link")': NO_ACCESS,
    'os.truncate("elsewhere/file", 0)': NO_ACCESS,
    'os.rename("elsewhere/file", "own/file")': NO_ACCESS,
    'os.link("elsewhere/file", "own/file")': OTHER_DEVICE,
    'os.execv("elsewhere/program", ["program"])': NO_ACCESS,
    'os.listdir("names")': None,
    'open("names/file")': NO_ACCESS,
    'open("own/new", "w").write("word")': None,
    'open("own/new").read()': None,
    'os.mkdir("own/deep")': None,
    'os.rename("own/new", "own/deep/new")': None,
    'os.unlink("own/deep/new")': None,
    'open("/dev/null", "w").write("word")': None,
}


@pytest.fixture
def premises(tmp_path):
    """Make files inside and outside of what is declared below."""
    for name in ('elsewhere', 'names', 'own'):
        (tmp_path / name).mkdir()
    for name in ('input', 'beside', 'elsewhere/file', 'names/file', 'elsewhere/program'):
        (tmp_path / name).write_text('#!/bin/sh\n')
    (tmp_path / 'elsewhere' / 'program').chmod(0o755)
    return 'kernel.restrict_files(["input", "missing"], ["own", "/dev/null"], ["names"])\n'


def test_only_declared_files_can_be_used(child, premises):
    need('landlock 3')

    answer = child(premises + f'answer = [refused(eval, text) for text in {list(OUTSIDE)!r}]\n')

    assert dict(zip(OUTSIDE, answer)) == OUTSIDE


def test_who_is_started_can_use_no_other_files_either(child, premises):
    need('landlock 1')

    answer = child('import subprocess\n' + premises.replace('"input"', '"/usr", "/lib", "/lib64"')
                   + 'answer = [subprocess.call(["/usr/bin/env", "sh", "-c", text]) for text in'
                   ' ("echo word > own/file", ": > elsewhere/file")]\n')

    assert answer[0] == 0 and answer[1] != 0


def test_files_can_be_declared_behind_the_fence(inside, premises):
    """Landlock twice: once for the neighbours, once for the files of a task."""
    need('landlock 1')

    answer = inside(premises + 'answer = [refused(open, "input"), refused(open, "beside")]\n')

    assert answer == [None, NO_ACCESS]


def test_where_there_is_no_landlock_files_cannot_be_declared(child):
    answer = child('answer = [kernel.landlock_version(), refused(kernel.restrict_files, [], []),'
                   ' refused(kernel.restrict_neighbours)]\n', world={'refuse': ['landlock']})

    assert answer == [0, 38, 38]


def test_the_memory_of_a_process_outside_is_shut_and_files_are_not(child):
    """Not by namespaces: by Landlock alone, for machines that have no namespaces to give."""
    need('landlock 4')

    before, after, own = child(
        'memory = "/proc/%d/mem" % os.getppid()\n'
        'before = refused(os.open, memory, os.O_RDWR)\n'
        'kernel.restrict_neighbours()\n'
        'answer = [before, refused(os.open, memory, os.O_RDWR), refused(open, "made", "w")]\n')

    if before:
        pytest.skip('SKIPPED: this machine shuts the memory of other processes anyhow')
    assert (after, own) == (NO_ACCESS, None)


def test_an_abstract_socket_outside_cannot_be_reached(child):
    need('landlock 6')
    name = f'\0stagerunner-test-{os.getpid()}'
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen(2)

        answer = child(f'reach = lambda: socket.socket(socket.AF_UNIX).connect({name!r})\n'
                       'before = refused(reach)\n'
                       'kernel.restrict_neighbours()\n'
                       'answer = [before, refused(reach)]\n')

    assert answer == [None, NOT_PERMITTED]

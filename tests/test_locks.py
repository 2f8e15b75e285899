"""A lock has one holder, goes with its last process, and nothing that lies about can stick it."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from limited import as_nobody
from limited import needs_root
from stagerunner import locks
from stagerunner.errors import StateError
from support import PATIENCE_S
from support import SOURCE
from support import clean_environment
from support import wait_until

HOLD = '''\
import sys
sys.path.insert(0, sys.argv[1])
from stagerunner.locks import try_lock
lock = try_lock(sys.argv[2])
print('held' if lock else 'busy', flush=True)
sys.stdin.read()
'''


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / 'locks' / 'work.lock')


@pytest.fixture
def holder(path):
    """Return a process that holds the lock until its stdin is closed or it is killed."""
    with _start(HOLD, path) as process:
        assert process.stdout.readline() == 'held\n'
        yield process
        process.stdin.close()


def _start(program, *args, **options):
    return subprocess.Popen([sys.executable, '-c', program, str(SOURCE), *map(str, args)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=clean_environment(),
                            universal_newlines=True, **options)


def _take(path):
    lock = locks.try_lock(path)
    assert lock is not None
    return lock


# -- names -------------------------------------------------------------------------

def test_locks_of_stages_and_runs_lie_apart(tmp_path):
    root = str(tmp_path)

    assert locks.stage_lock(root, 'x') == os.path.join(root, 'locks', 'x.lock')
    assert locks.run_lock(root, 'x') == os.path.join(root, 'locks', '.run', 'x.lock')


def test_an_entry_of_the_queue_has_one_of_256_locks_of_its_stage(tmp_path):
    root = str(tmp_path)
    paths = [locks.entry_lock(root, 'work', f'e{number}') for number in range(5000)]

    assert len(set(paths)) == 256
    assert {os.path.dirname(path) for path in paths} == {os.path.join(root, 'locks', 'work')}
    # On some systems these two are the same file.
    assert locks.entry_lock(root, 'work', 'Paper') == locks.entry_lock(root, 'work', 'paper')


def test_locks_of_limits_and_quotas_lie_apart_whatever_their_keys_are(tmp_path):
    root = str(tmp_path)
    folder = os.path.join(root, 'locks', '.limit')

    assert locks.limit_lock(root, 'a/b', 3) == os.path.join(folder, 'a%2Fb.3.lock')
    assert locks.quota_lock(root, 'a/b') == os.path.join(folder, 'a%2Fb.quota.lock')
    keys = ['a', 'a.0', 'a.quota', 'a.0.quota', 'a.0.lock']
    made = [path for key in keys
            for path in (locks.limit_lock(root, key, 0), locks.quota_lock(root, key))]
    assert len(set(made)) == 2 * len(keys)


def test_the_permits_of_a_key_are_found_by_its_own_files_only(tmp_path):
    root = str(tmp_path)
    was_empty = locks.limit_locks(root, 'a') == []
    for path in (locks.limit_lock(root, 'a', 10), locks.limit_lock(root, 'a', 2),
                 locks.limit_lock(root, 'a.1', 5), locks.quota_lock(root, 'a'),
                 locks.limit_lock(root, 'aa', 7), locks.limit_lock(root, 'a', 2) + '.json'):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, 'w').close()

    assert was_empty and locks.limit_locks(root, 'a') == [2, 10]
    assert locks.limit_locks(root, 'a.1') == [5]


# -- one holder --------------------------------------------------------------------

def test_a_lock_is_taken_and_the_folder_for_it_is_made(path):
    lock = _take(path)

    assert os.path.isfile(path) and os.fstat(lock.descriptor)
    lock.release()


def test_what_this_process_holds_it_cannot_take_again(path):
    lock = _take(path)

    assert locks.try_lock(path) is None
    lock.release()
    _take(path).release()


@pytest.mark.skipif(os.name == 'nt', reason='Windows has no shared locks')
def test_a_shared_lock_keeps_out_who_wants_it_alone(path):
    one, other = locks.try_lock(path, is_shared=True), locks.try_lock(path, is_shared=True)

    assert one is not None and other is not None
    assert locks.try_lock(path) is None
    one.release()
    assert locks.try_lock(path) is None
    other.release()
    alone = _take(path)
    assert locks.try_lock(path, is_shared=True) is None
    alone.release()


def test_what_another_process_holds_is_busy_until_it_ends(path, holder):
    assert locks.try_lock(path) is None

    holder.stdin.close()
    holder.wait()

    _take(path).release()


def test_who_looks_whether_a_lock_is_held_changes_nothing(path):
    assert not locks.is_held(path)
    assert not os.path.exists(path)
    with _take(path):
        assert locks.is_held(path)
    assert not locks.is_held(path)
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    os.unlink(path)
    os.mkfifo(path)
    assert not locks.is_held(path)


def test_a_killed_holder_blocks_nobody(path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    _take(path).release()


def test_a_stopped_holder_is_not_overtaken(path, holder):
    holder.send_signal(signal.SIGSTOP)

    assert locks.try_lock(path) is None
    holder.send_signal(signal.SIGCONT)


def test_a_process_that_inherited_a_lock_holds_it_for_as_long_as_it_lives(path):
    lock = _take(path)
    with subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'],
                          stdin=subprocess.PIPE, pass_fds=(lock.descriptor,)) as child:
        lock.release()
        was_busy = locks.try_lock(path) is None
        child.kill()
        child.wait()

    assert was_busy
    _take(path).release()


def test_a_lock_is_inherited_only_by_whom_it_is_given_to(path):
    lock = _take(path)
    with subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'],
                          stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        # The kernel lets the parent go on just before it closes what the child does not inherit.
        wait_until(lambda: locks.try_lock(path), 'the lock').release()
        child.stdin.close()


def test_a_lock_that_is_let_go_stays_in_the_folder_and_a_discarded_one_does_not(path):
    _take(path).release()
    is_kept = os.path.exists(path)
    _take(path).discard()

    assert is_kept and os.listdir(os.path.dirname(path)) == []


def test_removing_a_lock_does_not_let_two_in(path):
    first = _take(path)
    os.unlink(path)
    second = _take(path)

    assert not os.path.samestat(os.fstat(first.descriptor), os.fstat(second.descriptor))
    first.release()
    assert locks.try_lock(path) is None
    second.release()


def test_a_lock_file_that_was_removed_before_it_was_locked_is_not_the_lock(path, monkeypatch):
    """The order of two runners is forced: one removes the file that the other has just opened."""
    import fcntl
    plain, locked = fcntl.flock, []

    def flock(descriptor, operation):
        if not locked:
            os.unlink(path)
        plain(descriptor, operation)
        locked.append(os.fstat(descriptor).st_nlink)

    monkeypatch.setattr(fcntl, 'flock', flock)
    lock = _take(path)

    assert locked == [0, 1]
    assert os.path.samestat(os.fstat(lock.descriptor), os.lstat(path))
    lock.release()


CONTEND = '''\
import os, random, sys
sys.path.insert(0, sys.argv[1])
from stagerunner.locks import try_lock
path, counter, rounds, seed = sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
rng = random.Random(seed)
while rounds:
    lock = try_lock(path)
    if lock is None:
        continue
    inside = os.open(counter + '.inside', os.O_CREAT | os.O_EXCL)
    with open(counter, 'r+') as file:
        number = int(file.read())
        file.seek(0)
        file.write(str(number + 1))
    os.close(inside)
    os.unlink(counter + '.inside')
    if rng.random() < 0.3:
        lock.discard()
    else:
        lock.release()
    rounds -= 1
'''


@pytest.mark.slow
def test_many_processes_that_release_and_discard_are_never_inside_together(path, tmp_path):
    """Two ways to find out: a file that only one may make, and a counter that loses no step."""
    counter = tmp_path / 'counter'
    counter.write_text('0')
    processes = [_start(CONTEND, path, counter, 60, seed) for seed in range(6)]

    codes = []
    for process in processes:
        with process:
            process.stdin.close()
        codes.append(process.returncode)

    assert codes == [0] * 6 and counter.read_text() == '360'


def test_threads_of_one_process_exclude_each_other_too(path, rng):
    inside, worst, done = [], [], []

    def contend(seed):
        own = random.Random(seed)
        while len(done) < 200:
            lock = locks.try_lock(path)
            if lock:
                inside.append(1)
                worst.append(len(inside))
                inside.pop()
                done.append(1)
                (lock.discard if own.random() < 0.3 else lock.release)()

    threads = [threading.Thread(target=contend, args=(rng.random(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(worst) == 1


# -- what lies about ---------------------------------------------------------------

def _link_to_precious(path):
    os.symlink(_precious(path), path)


def _precious(path):
    return os.path.join(os.path.dirname(os.path.dirname(path)), 'precious')


def _socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        # By a short name: the whole one may be too long for a socket.
        bound.bind(os.path.relpath(path))


@pytest.mark.parametrize('lay', [
    pytest.param(os.mkfifo, id='pipe'), pytest.param(os.mkdir, id='folder'),
    pytest.param(_link_to_precious, id='link'), pytest.param(_socket, id='socket'),
    pytest.param(lambda path: os.symlink('nowhere', path), id='dangling-link'),
    pytest.param(lambda path: os.symlink(path, path), id='loop'),
    pytest.param(lambda path: os.symlink('/dev/null', path), id='link-to-device')])
def test_what_is_no_plain_file_is_set_aside_and_never_followed(path, lay):
    os.makedirs(os.path.dirname(path))
    precious = Path(_precious(path))
    precious.write_text('untouched')
    lay(path)
    kind = os.lstat(path).st_mode

    lock = _take(path)

    assert os.lstat(path + '.corrupt-1').st_mode == kind
    assert locks.try_lock(path) is None
    assert precious.read_text() == 'untouched'
    lock.release()


def test_a_foreign_lock_file_is_locked_as_it_is(path):
    os.makedirs(os.path.dirname(path))
    with open(path, 'wb') as foreign:
        foreign.write(b'pid 4711\0\xff')
    os.utime(path, (0, 0))

    lock = _take(path)
    lock.note({'pid': 1})
    lock.release()

    assert Path(path).read_bytes() == b'pid 4711\0\xff' and os.stat(path).st_mtime == 0


def test_several_that_clean_up_at_once_set_aside_one_thing(path):
    """Bug: who came second raised the error of what the first one had set aside."""
    os.makedirs(os.path.dirname(path))
    for _ in range(20):
        os.symlink('nowhere', path)
        taken = []
        threads = [threading.Thread(target=lambda found: found.append(locks.try_lock(path)),
                                    args=(taken,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(taken) == 4
        winners = [lock for lock in taken if lock]
        assert len(winners) == 1 and os.path.isfile(path)
        winners[0].discard()
    assert len([name for name in os.listdir(os.path.dirname(path)) if 'corrupt' in name]) == 20


def test_a_lock_file_that_cannot_be_made_is_told_of(path):
    """Bug: nothing lies there, which was taken for somebody else's cleaning up, for ever.

    A folder that refuses a new file is out of reach of tests that run as root;
    a name that is too long for the file system is refused in the same way.
    """
    os.makedirs(os.path.dirname(path))

    with pytest.raises(StateError, match='name too long'):
        locks.try_lock(os.path.join(os.path.dirname(path), 'x' * 300))


def test_who_finds_that_another_one_cleaned_up_just_takes_the_lock(path, monkeypatch):
    """The order of two runners is forced: one cleans up while the other waits to do so."""
    import fcntl
    plain, waited = fcntl.flock, []

    def flock(descriptor, operation):
        if operation == fcntl.LOCK_EX:
            os.unlink(path)
            Path(path).write_text('fresh')
            waited.append(descriptor)
        plain(descriptor, operation)

    os.makedirs(os.path.dirname(path))
    os.symlink('nowhere', path)
    monkeypatch.setattr(fcntl, 'flock', flock)
    lock = _take(path)

    assert len(waited) == 1 and os.listdir(os.path.dirname(path)) == ['work.lock']
    lock.release()


def test_only_one_cleans_up_at_a_time(path):
    import fcntl
    os.makedirs(os.path.dirname(path))
    os.symlink('nowhere', path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    taken = []
    thread = threading.Thread(target=lambda: taken.append(locks.try_lock(path)))
    thread.start()
    thread.join(0.05)
    was_waiting = os.path.islink(path) and not taken
    os.close(folder)
    thread.join()

    assert was_waiting and os.path.isfile(path)
    taken[0].release()


def test_what_was_set_aside_is_on_the_disk_before_the_lock_is_used(path, flushed):
    os.makedirs(os.path.dirname(path))
    os.symlink('nowhere', path)

    _take(path).release()

    assert flushed == [os.path.dirname(path)]


def test_no_descriptor_is_left_open(path):
    _take(path).release()
    before = os.listdir('/proc/self/fd')
    held = _take(path)
    assert locks.try_lock(path) is None
    held.release()
    _take(path).discard()
    os.mkfifo(path)
    _take(path).discard()

    assert os.listdir('/proc/self/fd') == before


@needs_root
def test_a_lock_that_may_not_be_opened_is_a_state_error():
    os.chmod(os.curdir, 0o755)
    os.mkdir('locks')
    Path('locks/work.lock').write_text('')
    os.chmod('locks/work.lock', 0o600)
    with as_nobody(), pytest.raises(StateError, match='permission denied; check who may read'):
        locks.try_lock('locks/work.lock')
    assert os.listdir('locks') == ['work.lock']


def test_a_file_in_the_place_of_the_folder_of_locks_is_a_state_error(path, tmp_path):
    (tmp_path / 'locks').write_text('a file')

    with pytest.raises(StateError, match='not a directory'):
        locks.try_lock(path)


# -- who holds it --------------------------------------------------------------------

def test_the_holder_is_named_for_people_while_the_lock_is_held(path):
    lock = _take(path)
    lock.note({'pid': 7, 'host': 'build-3', 'since': 'noon', 'runId': 'demo1'})

    assert locks.holder_of(path) == 'held by pid 7 on build-3 since noon, run demo1'
    lock.release()
    assert locks.holder_of(path) == 'held by another process'


def test_a_note_that_cannot_be_written_is_no_trouble(path):
    lock = _take(path)
    os.chmod('locks', 0o500)
    try:
        with as_nobody():
            lock.note({'pid': 7})
    finally:
        os.chmod('locks', 0o700)

    assert locks.holder_of(path) == 'held by another process'
    lock.release()


@pytest.mark.parametrize('note', [b'', b'{', b'[]', b'{"host": "x"}', b'\xff'])
def test_a_note_that_says_nothing_is_no_trouble(path, note):
    os.makedirs(os.path.dirname(path))
    with open(path + '.json', 'wb') as file:
        file.write(note)

    assert locks.holder_of(path) == 'held by another process'


@pytest.mark.parametrize('lay', [os.mkdir, os.mkfifo, lambda path: os.symlink('/etc', path)],
                         ids=['folder', 'pipe', 'link'])
def test_a_note_that_is_no_file_is_no_trouble_either(path, lay):
    lock = _take(path)
    lay(path + '.json')

    assert locks.holder_of(path) == 'held by another process'
    lock.note({'pid': 7})
    assert locks.holder_of(path).startswith('held by pid 7')
    lock.release()


def test_a_waiting_runner_gets_the_lock_soon_after_its_holder_died(path, holder):
    holder.kill()

    lock = wait_until(lambda: locks.try_lock(path), 'the lock', timeout_s=1.0)

    lock.release()
    holder.wait()


def test_whoever_waits_gets_the_lock_when_it_is_let_go(path, holder):
    """The program beside holds it until it is killed; the one that waits is a thread."""
    taken = []

    def wait():
        with locks.take_lock(path) as lock:
            taken.append(lock.path)

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.05)
    assert taken == [] and waiting.is_alive()

    holder.kill()
    waiting.join(PATIENCE_S)

    assert taken == [path]
    _take(path).release()


def test_the_lock_of_a_journal_is_none_of_a_stage(tmp_path):
    root = str(tmp_path)

    assert locks.journal_lock(root, 'a') == os.path.join(root, 'locks', '.items', 'a.lock')


# -- turns -------------------------------------------------------------------------

TAKE_TURNS = '''\
import sys
sys.path.insert(0, sys.argv[1])
from stagerunner.locks import Turns
turns = Turns(sys.argv[2])
for _ in range(100):
    with turns:
        with open(sys.argv[3]) as file:
            number = int(file.read())
        with open(sys.argv[3], 'w') as file:
            file.write(str(number + 1))
'''


@pytest.mark.slow
def test_processes_take_turns(path, tmp_path):
    counter = tmp_path / 'counter'
    counter.write_text('0')

    processes = [_start(TAKE_TURNS, path, counter) for _ in range(3)]
    for process in processes:
        with process:
            process.stdin.close()
            assert process.wait(60) == 0

    assert counter.read_text() == '300'


def test_between_two_turns_others_have_the_lock(path):
    turns = locks.Turns(path)
    with turns:
        assert locks.try_lock(path) is None
    with _take(path):
        pass
    with turns as descriptor:
        assert os.path.samestat(os.fstat(descriptor), os.stat(path))
    turns.close()


def test_a_turn_is_taken_on_the_file_that_is_there_now(path):
    """Somebody who holds the old one, without a name, would keep nobody out."""
    turns = locks.Turns(path)
    with turns:
        pass
    os.unlink(path)
    with turns:
        assert locks.try_lock(path) is None
        turns.discard()
    assert not os.path.exists(path)
    with turns:
        assert os.path.exists(path)
    turns.close()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='POSIX')
def test_a_fork_does_not_share_the_turn_of_its_parent(path):
    """A descriptor that is inherited stands for the same lock: both would hold it."""
    turns = locks.Turns(path)
    reading, writing = os.pipe()
    with turns:
        pid = os.fork()
        if not pid:
            with turns:
                os.write(writing, b'child')
            os._exit(0)
        os.write(writing, b'parent ')
    os.waitpid(pid, 0)

    assert os.read(reading, 100) == b'parent child'
    for descriptor in (reading, writing):
        os.close(descriptor)
    turns.close()

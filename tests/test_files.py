"""Writes are whole or not at all, reads take regular files only, digests are of files at rest."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

from limited import as_nobody
from limited import needs_root
from limited import no_file_over
from stagerunner import files
from stagerunner.errors import InputChanged
from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from support import PATIENCE_S
from support import SOURCE
from support import clean_environment
from support import run_process
from support import wait_until

posix = pytest.mark.skipif(os.name != 'posix', reason='POSIX only')
linux = pytest.mark.skipif(not sys.platform.startswith('linux'), reason='needs /proc')

#: A user who may nothing.
# -- writing ----------------------------------------

@pytest.mark.parametrize('durable', [True, False])
def test_what_is_written_can_be_read_and_nothing_else_is_left(tmp_path, durable):
    path = str(tmp_path / 'x.json')

    files.write_json(path, {'a': [1, 'ü']}, durable=durable)
    files.write_json(path, {'b': 2}, durable=durable)

    assert files.read_json(path) == {'b': 2}
    assert os.listdir(str(tmp_path)) == ['x.json']


def test_a_file_of_json_is_text_for_people_too(tmp_path):
    files.write_json('x.json', {'name': 'grün', 'list': [1]}, durable=False)

    text = (tmp_path / 'x.json').read_bytes().decode('utf-8')
    assert text == '{\n "name": "grün",\n "list": [1]\n}\n'


def test_a_durable_write_in_the_current_folder_needs_no_folder_in_its_name(tmp_path):
    files.write_bytes('x', b'data', durable=True)

    assert (tmp_path / 'x').read_bytes() == b'data'


@pytest.mark.parametrize('value', [float('nan'), float('inf'), {1, 2}, object()], ids=str)
def test_what_is_not_json_is_a_mistake_and_changes_nothing(tmp_path, value):
    files.write_json('x.json', 'old', durable=False)

    with pytest.raises((ValueError, TypeError)):
        files.write_json('x.json', value, durable=False)

    assert files.read_json('x.json') == 'old' and os.listdir('.') == ['x.json']


def test_a_mistake_while_writing_leaves_the_old_file_and_no_other(tmp_path):
    files.write_bytes('x', b'old', durable=False)

    with pytest.raises(TypeError):
        files.write_bytes('x', 'text is not bytes', durable=False)

    assert (tmp_path / 'x').read_bytes() == b'old' and os.listdir('.') == ['x']


@posix
@pytest.mark.parametrize('durable', [True, False])
def test_a_disk_that_takes_only_a_part_leaves_the_old_file_and_no_other(tmp_path, durable):
    files.write_bytes('x', b'old', durable=False)

    with no_file_over(1000), pytest.raises(StateError) as caught:
        files.write_bytes('x', b'n' * 5000, durable=durable)

    assert (caught.value.path, caught.value.fault) == ('x', 'file too large')
    assert (tmp_path / 'x').read_bytes() == b'old' and os.listdir('.') == ['x']


@posix
def test_a_disk_that_takes_little_at_a_time_gets_it_all(tmp_path):
    """A write across the limit is cut short there: the rest is tried, and that is the error."""
    with no_file_over(3000):
        files.write_bytes('x', b'n' * 3000, durable=False)

    assert (tmp_path / 'x').stat().st_size == 3000


@pytest.mark.parametrize(('path', 'fault'), [
    pytest.param('missing/x', 'no such file or directory', id='no-folder'),
    pytest.param('file/x', 'not a directory', id='file-as-folder'),
    pytest.param('n' * 300, 'file name too long', id='name-too-long'),
])
def test_a_write_that_cannot_be_is_a_state_error_and_leaves_nothing(tmp_path, path, fault):
    (tmp_path / 'file').write_text('x')

    with pytest.raises(StateError) as caught:
        files.write_bytes(path, b'data', durable=True)

    assert (caught.value.path, caught.value.fault) == (path, fault)
    assert os.listdir('.') == ['file']


def test_a_folder_in_the_place_of_a_file_of_ours_is_set_aside_with_what_is_in_it(tmp_path):
    (tmp_path / 'x').mkdir()
    (tmp_path / 'x' / 'precious').write_text('p')

    files.write_bytes('x', b'data', durable=True)

    assert (tmp_path / 'x').read_bytes() == b'data'
    assert (tmp_path / 'x.corrupt-1' / 'precious').read_text() == 'p'


@needs_root
def test_a_write_without_the_right_to_it_says_what_to_check(tmp_path):
    with as_nobody(), pytest.raises(StateError) as caught:
        files.write_bytes(str(tmp_path / 'x'), b'data', durable=False)

    assert caught.value.fault == 'permission denied; check who may read and write it'


def test_a_write_through_a_link_replaces_the_link_and_not_what_it_leads_to(tmp_path):
    (tmp_path / 'target').write_bytes(b'precious')
    (tmp_path / 'x').symlink_to('target')

    files.write_bytes('x', b'new', durable=False)

    assert (tmp_path / 'target').read_bytes() == b'precious'
    assert not (tmp_path / 'x').is_symlink() and (tmp_path / 'x').read_bytes() == b'new'


def test_a_temporary_name_that_was_taken_is_not_written_through(tmp_path):
    """The next names of this process are links that somebody laid: a write refuses them."""
    files.write_bytes('x', b'', durable=False)
    number = next(files._counter) + 1
    (tmp_path / f'x.{os.getpid()}-{number}{files.TEMPORARY}').symlink_to(tmp_path / 'stolen')

    with pytest.raises(StateError, match='file exists'):
        files.write_bytes('x', b'secret', durable=False)

    assert not (tmp_path / 'stolen').exists()


def test_a_reader_sees_whole_versions_only(tmp_path):
    """A second thread replaces the file all the time while this one reads it."""
    versions = [{'n': n, 'fill': str(n) * 20_000} for n in range(2)]
    files.write_json('x.json', versions[0], durable=False)
    done = threading.Event()

    def write():
        while not done.is_set():
            for version in versions:
                files.write_json('x.json', version, durable=False)

    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    until = time.monotonic() + PATIENCE_S
    try:
        while len(seen) < 300 or {version['n'] for version in seen} != {0, 1}:
            seen.append(files.read_json('x.json'))
            assert time.monotonic() < until
    finally:
        done.set()
        writer.join()

    assert all(version in versions for version in seen)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('strace'), reason='needs strace')
def test_a_durable_write_flushes_the_file_before_its_name_and_the_name_after(tmp_path):
    program = ('import sys\n'
               'from stagerunner.files import write_json\n'
               'write_json(sys.argv[1], {}, durable=sys.argv[2] == "1")\n')

    def calls(durable):
        trace = tmp_path / 'trace'
        run_process('strace', '-qq', '-y', '-o', trace, '-e', 'trace=write,fsync,rename,renameat,'
                    'renameat2', sys.executable, '-S', '-c', program, tmp_path / 'x.json', durable,
                    cwd=tmp_path, env={'PYTHONPATH': str(SOURCE)}, is_measured=False)
        found = [line for line in trace.read_text().splitlines() if str(tmp_path) in line]
        return [re.match(r'[a-z]+', line).group() for line in found], found

    names, lines = calls(1)
    assert names == ['write', 'fsync', 'rename', 'fsync']
    assert '.tmp>' in lines[1] and f'<{tmp_path}>' in lines[3]
    assert calls(0)[0] == ['write', 'rename']


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('strace'), reason='needs strace')
@pytest.mark.parametrize(('inject', 'fault'), [
    ('fsync:error=EIO:when=1', 'input/output error'),
    ('fsync:error=ENOSPC:when=1', 'no space left on device; free some space and run again'),
    ('rename:error=EXDEV:when=1', 'invalid cross-device link'),
])
def test_a_flush_or_rename_that_fails_is_told_and_leaves_the_old_file(tmp_path, inject, fault):
    path = tmp_path / 'x.json'
    path.write_text('"old"')
    program = ('import sys\n'
               'from stagerunner.errors import StateError\n'
               'from stagerunner.files import write_json\n'
               'try:\n'
               '    write_json(sys.argv[1], {}, durable=True)\n'
               'except StateError as error:\n'
               '    print(error.fault)\n')

    done = run_process('strace', '-qq', '-o', tmp_path / 'trace', '-e', 'trace=fsync,rename',
                       '-e', f'inject={inject}', sys.executable, '-S', '-c', program, path,
                       cwd=tmp_path, env={'PYTHONPATH': str(SOURCE)}, is_measured=False)

    assert '(INJECTED)' in (tmp_path / 'trace').read_text()
    assert done.out == fault + '\n', done.err
    assert path.read_text() == '"old"' and sorted(os.listdir('.')) == ['trace', 'x.json']


# -- flushing ----------------------------------------

def test_a_file_and_a_folder_can_be_flushed(tmp_path):
    (tmp_path / 'x').write_text('x')

    assert files.sync_file('x') is None
    assert files.sync_folder('') is None


@posix
def test_what_cannot_be_flushed_is_an_error(tmp_path):
    os.mkfifo('pipe')

    with pytest.raises(OSError, match='Invalid argument'):
        files.sync_file('pipe')
    with pytest.raises(NotADirectoryError):
        files.sync_folder('pipe')


def test_flushing_follows_no_link(tmp_path):
    (tmp_path / 'x').write_text('x')
    (tmp_path / 'link').symlink_to('x')

    with pytest.raises(OSError, match='symbolic links'):
        files.sync_file('link')


def test_a_new_folder_is_on_the_disk_with_each_folder_above_it(tmp_path, flushed):
    files.make_folder(str(tmp_path / 'a' / 'b'))

    assert flushed == [str(tmp_path), str(tmp_path / 'a')]


@linux
def test_nothing_is_left_open(odd_files):
    """Neither by what works nor by what is refused."""
    def use():
        for path in ('plain', 'link', 'pipe', 'folder', 'socket', 'missing', '/proc/self/mem'):
            for call in (lambda path: files.read_bytes(path, 2), files.read_json,
                         files.digest_file, lambda path: files.read_bytes(path, 100)):
                with contextlib.suppress(Unreadable, FileNotFoundError):
                    call(path)
        for path in ('out', 'n' * 300, 'plain/x'):
            with contextlib.suppress(StateError):
                files.write_bytes(path, b'x', durable=True)
        with no_file_over(1), contextlib.suppress(StateError):
            files.write_bytes('out', b'xyz', durable=True)
        files.make_folder('new/er')
        files.remove_tree('new')
        for path in ('plain', 'pipe'):
            with contextlib.suppress(OSError):
                files.sync_file(path)

    use()
    before = os.listdir('/proc/self/fd')
    use()
    assert os.listdir('/proc/self/fd') == before


# -- folders and removal ----------------------------------------

@pytest.mark.parametrize('path', ['', 'a', 'a/b/c', 'there', 'there/d'])
def test_a_folder_is_made_with_all_above_it(tmp_path, path):
    (tmp_path / 'there').mkdir()

    files.make_folder(path)
    files.make_folder(str(tmp_path / path))

    assert (tmp_path / path).is_dir()


def test_a_file_in_the_place_of_a_folder_is_left_to_its_user(tmp_path):
    (tmp_path / 'x').write_text('precious')

    files.make_folder('x')
    with pytest.raises(NotADirectoryError):
        files.make_folder('x/y')

    assert (tmp_path / 'x').read_text() == 'precious'


def test_eight_at_once_make_the_same_folder(tmp_path):
    failed = []

    def make():
        try:
            for number in range(20):
                files.make_folder(f'deep/{number}/a/b')
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == [] and len(os.listdir('deep')) == 20


@pytest.mark.parametrize('kind', ['file', 'folder', 'link', 'dangling', 'pipe', 'missing'])
def test_whatever_is_there_is_removed_and_no_link_is_followed(tmp_path, kind):
    (tmp_path / 'kept').mkdir()
    (tmp_path / 'kept' / 'x').write_text('precious')
    make = {'file': lambda: open('gone', 'w').close(),
            'folder': lambda: os.makedirs('gone/a/b'),
            'link': lambda: os.symlink('kept', 'gone'),
            'dangling': lambda: os.symlink('nowhere', 'gone'),
            'pipe': lambda: os.mkfifo('gone'), 'missing': lambda: None}
    make[kind]()

    files.remove_tree('gone')

    assert os.listdir('.') == ['kept'] and os.listdir('kept') == ['x']


def test_a_tree_with_links_in_it_is_removed_without_what_they_lead_to(tmp_path):
    (tmp_path / 'kept').mkdir()
    (tmp_path / 'kept' / 'x').write_text('precious')
    (tmp_path / 'gone').mkdir()
    (tmp_path / 'gone' / 'link').symlink_to(tmp_path / 'kept')

    files.remove_tree('gone')

    assert os.listdir('kept') == ['x'] and not os.path.lexists('gone')


def test_an_unreadable_file_is_set_aside_under_the_next_free_number(tmp_path):
    for number, content in enumerate(['one', 'two'], 1):
        (tmp_path / 'x').write_text(content)
        assert files.quarantine('x') == f'x.corrupt-{number}'

    assert (tmp_path / 'x.corrupt-1').read_text() == 'one'
    assert (tmp_path / 'x.corrupt-2').read_text() == 'two'
    assert not (tmp_path / 'x').exists()


@needs_root
def test_what_cannot_be_set_aside_is_a_state_error(tmp_path):
    """Bug: a bare OSError went up as a bug of the runner (exit 3)."""
    tmp_path.chmod(0o555)
    (tmp_path / 'x').write_text('x')

    with as_nobody(), pytest.raises(StateError, match='permission denied; check who'):
        files.quarantine(str(tmp_path / 'x'))


def test_a_number_taken_by_a_dangling_link_is_not_free(tmp_path):
    (tmp_path / 'x').write_text('x')
    (tmp_path / 'x.corrupt-1').symlink_to('nowhere')

    assert files.quarantine('x') == 'x.corrupt-2'


def test_setting_aside_what_somebody_else_set_aside_is_no_error(tmp_path):
    assert files.quarantine('x') == 'x.corrupt-1'
    assert os.listdir('.') == []


@linux
def test_only_temporary_files_of_dead_processes_are_leftovers(tmp_path):
    with subprocess.Popen([sys.executable, '-c', ''], env=clean_environment()) as dead:
        pass
    names = [f'x.json.{dead.pid}-0.tmp', f'x.json.{os.getpid()}-0.tmp', 'x.json.1-5.tmp',
             'x.tmp', 'x.a-1.tmp', f'{dead.pid}-0.tmp', f'x.{dead.pid}.tmp', 'x.json', 'x-1.tmp',
             f'x.json.{dead.pid}-0.tmp.json']
    for name in names:
        (tmp_path / name).write_text('')
    wait_until(lambda: not os.path.exists(f'/proc/{dead.pid}'))

    found = sorted(os.path.basename(path) for path in files.leftovers(str(tmp_path)))

    assert found == sorted([f'x.json.{dead.pid}-0.tmp', f'{dead.pid}-0.tmp'])


# -- reading ----------------------------------------

@pytest.fixture
def odd_files(tmp_path):
    """Lay out one of every kind of thing that is no plain readable file."""
    (tmp_path / 'folder').mkdir()
    os.mkfifo('pipe')
    (tmp_path / 'plain').write_text('"x"')
    (tmp_path / 'link').symlink_to('plain')
    (tmp_path / 'link-to-folder').symlink_to('folder')
    (tmp_path / 'link-to-pipe').symlink_to('pipe')
    (tmp_path / 'dangling').symlink_to('nowhere')
    (tmp_path / 'loop').symlink_to('loop')
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind('socket')
    return tmp_path


@posix
@pytest.mark.parametrize(('path', 'fault'), [
    pytest.param('folder', 'is a folder, not a file', id='folder'),
    pytest.param('pipe', 'is not a regular file', id='pipe'),
    pytest.param('socket', 'no such device or address', id='socket'),
    pytest.param('/dev/zero', 'is not a regular file', id='device'),
    pytest.param('link', 'too many levels of symbolic links', id='link'),
    pytest.param('link-to-folder', 'is a folder, not a file', id='link-to-folder'),
    pytest.param('dangling', 'too many levels of symbolic links', id='dangling'),
    pytest.param('loop', 'too many levels of symbolic links', id='loop'),
    pytest.param('n' * 300, 'file name too long', id='long-name'),
    pytest.param('a\0b', 'cannot be the name of a file', id='nul-in-name'),
    pytest.param('a\ud800b', 'cannot be the name of a file', id='half-of-a-pair-in-name'),
])
def test_a_file_of_ours_that_is_no_plain_file_is_unreadable_and_not_waited_for(
        odd_files, path, fault):
    with pytest.raises(Unreadable) as caught:
        files.read_json(path)

    assert (caught.value.path, caught.value.fault) == (path, fault)


@pytest.mark.parametrize('path', ['missing', 'missing/x', 'plain/x'])
def test_a_file_of_ours_that_is_not_there_reads_as_nothing(odd_files, path):
    assert files.read_json(path) is None


@pytest.mark.parametrize(('path', 'fault'), [
    ('folder', 'is a folder, not a file'), ('link-to-folder', 'is a folder, not a file'),
    ('link-to-pipe', 'is not a regular file'), ('pipe', 'is not a regular file')])
def test_a_file_of_the_user_may_be_a_link_but_only_to_a_plain_file(odd_files, path, fault):
    assert files.read_bytes('link', 100) == b'"x"'

    with pytest.raises(Unreadable, match=fault):
        files.read_bytes(path, 100)


@pytest.mark.parametrize('path', ['dangling', 'missing', 'plain/x'])
def test_a_missing_file_of_the_user_is_told_as_such(odd_files, path):
    with pytest.raises(FileNotFoundError, match='No such file'):
        files.read_bytes(path, 100)


def test_a_file_over_the_limit_is_not_read(tmp_path):
    (tmp_path / 'x').write_bytes(b'n' * (2 * 1024 * 1024))

    assert len(files.read_bytes('x', 2 * 1024 * 1024)) == 2 * 1024 * 1024
    with pytest.raises(Unreadable, match='is larger than 1 MiB'):
        files.read_bytes('x', 2 * 1024 * 1024 - 1)


def test_json_over_16_mib_is_refused(tmp_path):
    with open('x.json', 'wb') as big:
        big.truncate(files.MAX_JSON_BYTES + 1)

    with pytest.raises(Unreadable, match='is larger than 16 MiB'):
        files.read_json('x.json')


@linux
def test_an_error_in_the_middle_of_reading_is_told():
    """The kernel lets nobody read address 0 of a process, though the file opens."""
    with pytest.raises(Unreadable, match='input/output error'):
        files.read_bytes('/proc/self/mem', 100)
    with pytest.raises(Unreadable, match='input/output error'):
        files.digest_file('/proc/self/mem')


@needs_root
def test_a_file_that_may_not_be_read_says_what_to_check(tmp_path):
    (tmp_path / 'x').write_text('secret')

    with as_nobody():
        for read in (lambda path: files.read_bytes(path, 100), files.digest_file):
            with pytest.raises(Unreadable, match='permission denied; check who may read'):
                read(str(tmp_path / 'x'))


@pytest.mark.parametrize(('data', 'fault'), [
    (b'', 'is empty'), (b'{', 'not valid JSON at line 1 column 2: '), (b'1e400', '1e400 is too'),
    (b'\xff', 'not UTF-8 at byte 0'), (b'[' * 65 + b']' * 65, 'nested deeper than 64')])
def test_json_of_ours_is_read_strictly(tmp_path, data, fault):
    (tmp_path / 'x.json').write_bytes(data)

    with pytest.raises(Unreadable) as caught:
        files.read_json('x.json')

    assert caught.value.path == 'x.json' and caught.value.fault.startswith(fault)


def test_the_text_of_a_file_is_named_by_the_one_who_read_it():
    assert files.parse_json(b'{"a": 1}', 'pipeline.json') == {'a': 1}
    with pytest.raises(Unreadable, match=r'^pipeline\.json: is empty$'):
        files.parse_json(b'', 'pipeline.json')


# -- digests ----------------------------------------

BLOCK = files._BLOCK


@pytest.mark.parametrize('size', [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 7])
def test_a_digest_is_the_sha_256_of_all_bytes(tmp_path, rng, size):
    data = bytes(rng.getrandbits(8) for _ in range(1000)) * (size // 1000 + 1)
    (tmp_path / 'x').write_bytes(data[:size])

    digest, seen = files.digest_file('x')

    assert digest == hashlib.sha256(data[:size]).hexdigest() == files.digest_bytes(data[:size])
    assert seen == files.stat_of(os.stat('x')) and seen.size == size


@pytest.mark.parametrize(('path', 'error'), [
    ('missing', FileNotFoundError), ('dangling', FileNotFoundError), ('folder', Unreadable),
    ('plain/x', Unreadable), ('pipe', Unreadable), ('link-to-pipe', Unreadable),
    ('socket', Unreadable), ('loop', Unreadable)])
def test_only_plain_files_have_a_digest(odd_files, path, error):
    with pytest.raises(error):
        files.digest_file(path)


def _big_file(size=32 * 1024 * 1024):
    with open('big', 'wb') as big:
        big.truncate(size)


def test_a_file_that_does_not_hold_still_has_no_digest(tmp_path):
    """Another thread sets its times all the time, thousands of times during each read."""
    _big_file()
    done = threading.Event()

    def disturb():
        number = 0
        while not done.is_set():
            number += 1
            os.utime('big', ns=(number, number))

    disturber = threading.Thread(target=disturb)
    disturber.start()
    try:
        with pytest.raises(InputChanged) as caught:
            files.digest_file('big')
    finally:
        done.set()
        disturber.join()
    assert (caught.value.path, caught.value.when) == ('big', 'it was read')


@linux
def test_a_file_that_changed_once_is_read_again(tmp_path):
    _big_file()
    changed = []

    def change_while_it_is_read():
        wait_until(lambda: _is_open(tmp_path / 'big'))
        with open('big', 'r+b') as big:
            big.write(b'new')
        changed.append(True)

    writer = threading.Thread(target=change_while_it_is_read)
    writer.start()
    digest, seen = files.digest_file('big')
    writer.join()

    assert changed and seen == files.stat_of(os.stat('big'))
    assert digest == hashlib.sha256((tmp_path / 'big').read_bytes()).hexdigest()


@linux
def test_a_file_that_goes_away_while_it_is_read_is_missing(tmp_path):
    _big_file(64 * 1024 * 1024)

    def remove_while_it_is_read():
        wait_until(lambda: _is_open(tmp_path / 'big'))
        os.unlink('big')

    remover = threading.Thread(target=remove_while_it_is_read)
    remover.start()
    with pytest.raises(FileNotFoundError):
        files.digest_file('big')
    remover.join()


def _is_open(path):
    for number in os.listdir('/proc/self/fd'):
        try:
            if os.readlink(f'/proc/self/fd/{number}') == str(path):
                return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize(('path', 'is_there'), [
    ('plain', True), ('folder', True), ('link', True), ('missing', False), ('dangling', False),
    ('a\0b', False), ('n' * 300, False)])
def test_a_stat_of_nothing_is_none(odd_files, path, is_there):
    assert (files.try_stat(path) is not None) == is_there


def test_a_name_that_is_no_text_is_told_from_one_that_is():
    assert files.is_text('grün \U0001f600') and not files.is_text('caf\udce9')


def test_what_write_json_wrote_is_what_read_json_reads(tmp_path, rng):
    for _ in range(50):
        value = {str(n): [rng.random(), rng.getrandbits(200), chr(rng.randrange(1, 0xd800))]
                 for n in range(rng.randrange(20))}
        files.write_json('x.json', value, durable=False)

        assert files.read_json('x.json') == value
        assert json.loads((tmp_path / 'x.json').read_text('utf-8')) == value


@pytest.mark.parametrize(('name', 'stays'), [
    ('a', True), ('a/b.c', True), ('./a', True), ('..a/b..', True), ('', True),
    ('/a', False), ('..', False), ('a/../b', False), ('../a', False), ('a/..', False)])
def test_a_name_that_leads_out_of_its_folder_is_told(name, stays):
    assert files.stays_below(name) is stays


@pytest.mark.parametrize(('names', 'spelling'), [
    (('a/b', './a/b', 'a//b', 'a/./b', 'a/b/', 'a/c/../b'), 'a/b'), (('A/b',), 'A/b')])
@posix
def test_the_names_of_one_file_have_one_spelling(names, spelling):
    assert {files.one_spelling(name) for name in names} == {spelling}

"""The journal of items keeps every acknowledged success, whatever happens to its end."""

import os
import re
import subprocess
import sys

import pytest

from limited import no_file_over
from stagerunner import files
from stagerunner.errors import StateError
from stagerunner.state.items import ItemJournal
from stagerunner.state.lines import is_sealed
from stagerunner.state.lines import seal
from stagerunner.state.marker import Marker
from stagerunner.state.marker import Output
from stagerunner.state.names import StateNames
from support import PATIENCE_S
from support import SOURCE

pytestmark = pytest.mark.unit

AT = '2025-12-01T10:00:00.000000+00:00'


@pytest.fixture
def names(tmp_path):
    (tmp_path / 'state').mkdir()
    return StateNames(str(tmp_path))


@pytest.fixture
def journal(names):
    """Return a journal that was loaded from nothing."""
    made = ItemJournal(names, 'ocr')
    assert made.load() == ''
    yield made
    made.close()


@pytest.fixture
def again(names):
    """Return a function that loads the journal as another process would."""
    opened = []

    def load(**keys):
        opened.append(ItemJournal(names, 'ocr', **keys))
        opened[-1].load()
        return opened[-1]

    yield load
    for one in opened:
        one.close()


def marker(number=1, key='k', **parts):
    """Return the marker of an item; `parts` are what its key has beside inputs."""
    name = f'ocr[doi%3A{number}]'
    return Marker(name, f'{key}{number}', 'run1', AT, 0.25, True, dict({
        'format': 1, 'inputs': [[f'in/{number}', f'd{number}']], 'processor': ['bin/a.py', 'pp'],
        'helpers': [], 'params': {'ü': [1, None, 2.5]}, 'env': {}, 'python': '3.11'}, **parts),
        (Output(f'{number}.txt', number, f'o{number}'), Output('l', 0, 'x', '../t')))


def state_of(journal):
    """Return all that a journal answers."""
    return ({task: journal.get(task) for task in journal.tasks()}, journal.is_complete)


# -- what is kept ------------------------------------------------------------------

def test_a_journal_that_is_not_there_is_empty_and_loading_makes_nothing(journal, tmp_path):
    assert state_of(journal) == ({}, False) and journal.failure('ocr[x]') is None
    assert journal.get('ocr[x]') is None
    assert os.listdir(str(tmp_path)) == ['state'] and os.listdir(str(tmp_path / 'state')) == []


def test_markers_come_back_as_they_were(journal, again):
    every = [marker(1), marker(2), marker(3, params={'own': 3}), marker(1, key='new')]

    journal.append(every[:2])
    journal.append(every[2:])

    expected = {one.task: one for one in every[1:]}
    assert state_of(journal) == state_of(again()) == (expected, False)


def test_what_tasks_have_in_common_stands_once(journal, names):
    journal.append([marker(number) for number in range(50)])
    journal.append([marker(number, params={}) for number in range(2)])

    with open(names.items('ocr'), 'rb') as file:
        lines = file.read().splitlines()
    assert [line[:9] for line in lines if not line.startswith(b'{"task":')] == [b'{"format"'] * 3
    assert len(lines) == 55 and all(is_sealed(line) for line in lines)


def test_what_is_forgotten_is_known_no_longer_until_it_succeeds_again(journal, again):
    journal.append([marker(number) for number in (1, 2, 3)])
    journal.append_failure('ocr[doi%3A2]', AT, 'permanent', 'x', 1)
    journal.forget(['ocr[doi%3A1]', 'ocr[doi%3A2]', 'ocr[never]'])

    for one in (journal, again(), again(compact_bytes=1)):
        assert list(one.tasks()) == ['ocr[doi%3A3]'] and one.failure('ocr[doi%3A2]') is None
    journal.append([marker(1)])
    assert again().get('ocr[doi%3A1]') == marker(1)


def test_where_outputs_lie_and_that_they_were_adopted_comes_back(journal, again):
    one = marker(1)._replace(output_dir='data/ocr', is_adopted=True)
    journal.append([one])

    assert again().get(one.task) == one


def test_a_failure_is_known_until_the_next_success(journal, again):
    journal.append([marker(1)])
    journal.append_failure('ocr[doi%3A1]', AT, 'permanent', 'exit 65 "x"', 2)
    journal.append_failure('ocr[other]', AT, 'unknown', 'é', 1)

    for one in (journal, again()):
        assert one.failure('ocr[doi%3A1]') == {
            'failed': 'ocr[doi%3A1]', 'at': AT, 'class': 'permanent', 'error': 'exit 65 "x"',
            'attempts': 2}
        assert one.failure('ocr[other]')['error'] == 'é'
        assert one.get('ocr[doi%3A1]') == marker(1) and one.get('ocr[other]') is None

    journal.append([marker(1)])
    assert journal.failure('ocr[doi%3A1]') is None and again().failure('ocr[doi%3A1]') is None


def test_a_complete_journal_stays_so_until_it_is_reset(journal, again):
    journal.append([marker(1)])
    assert not again().is_complete

    journal.complete('run1', AT, 'key', 1)
    journal.append([marker(2)])
    assert journal.is_complete and again().is_complete

    journal.reset()
    journal.append([marker(3)])
    assert state_of(journal) == state_of(again()) == ({marker(3).task: marker(3)}, False)


def test_a_closed_journal_can_be_loaded_again(journal):
    journal.append([marker(1)])

    journal.close()
    assert list(journal.tasks()) == []
    assert journal.load() == '' and journal.get(marker(1).task) == marker(1)


def test_nothing_to_append_writes_nothing(journal, names):
    journal.append([])

    assert not os.path.exists(names.items('ocr'))


def test_a_journal_needs_no_loading_before_it_is_appended_to(names, again):
    for number in (1, 2):
        one = ItemJournal(names, 'ocr')
        one.append([marker(number)])
        one.close()

    assert sorted(again().tasks()) == [marker(1).task, marker(2).task]


# -- what can happen to the file ---------------------------------------------------

@pytest.mark.slow
def test_a_torn_end_is_ignored_and_cut_before_the_next_append(journal, names, again):
    """At every byte: what was whole stays, the rest is as if it had never been."""
    path = names.items('ocr')
    ends = {}
    for number in range(3):
        journal.append([marker(number)])
        ends[os.path.getsize(path)] = number + 1
    with open(path, 'rb') as file:
        whole = file.read()
    added = 0

    for size in range(len(whole) + 1):
        with open(path, 'wb') as file:
            file.write(whole[:size])
        kept = max([count for end, count in ends.items() if end <= size], default=0)
        one = again()
        assert (one.fault, len(list(one.tasks()))) == ('', kept), size
        if size % 23 == 0 or size in ends:
            one.append([marker(9)])
            after = again()
            assert (after.fault, len(list(after.tasks()))) == ('', kept + 1), size
            assert after.get(marker(9).task) == marker(9)
            added += 1
        one.close()
    assert added > 50


@pytest.mark.slow
def test_a_damaged_line_between_good_ones_starts_the_journal_anew(journal, names, again):
    journal.append([marker(number) for number in range(3)])
    path = names.items('ocr')
    with open(path, 'rb') as file:
        whole = file.read()
    last = whole.rindex(b'\n', 0, -1)

    for place in range(0, last, 31):
        data = bytearray(whole)
        data[place] ^= 1
        with open(path, 'wb') as file:
            file.write(data)
        one = again()
        assert re.fullmatch(r'is damaged at byte \d+', one.fault), place
        assert state_of(one) == ({}, False)
        one.append([marker(5)])
        assert again().get(marker(5).task) == marker(5)
        one.close()
        aside = [name for name in os.listdir(names.folder) if '.corrupt-' in name]
        with open(os.path.join(names.folder, aside[0]), 'rb') as file:
            assert file.read() == bytes(data)
        os.unlink(os.path.join(names.folder, aside[0]))


def test_damage_that_an_append_meets_is_told_too(journal, names, again):
    journal.append([marker(1)])
    other = again()
    with open(names.items('ocr'), 'ab') as file:
        file.write(b'junk\n' + seal({'task': 'ocr[x]'}))

    other.append([marker(2)])

    assert other.fault.startswith('is damaged at byte ')
    assert list(other.tasks()) == list(again().tasks()) == [marker(2).task]


def test_a_journal_of_another_stage_is_set_aside(journal, names):
    journal.append([marker(1)])
    os.rename(names.items('ocr'), names.items('other'))

    other = ItemJournal(names, 'other')
    assert other.load() == 'is damaged at byte 0' and list(other.tasks()) == []
    other.close()


def test_loading_changes_nothing_not_even_what_is_damaged(journal, names, again, tmp_path):
    """Bug: a plan set the journal aside, which is for a run to do."""
    journal.append([marker(1)])
    with open(names.items('ocr'), 'ab') as file:
        file.write(b'junk\n' + seal({'task': 'ocr[x]'}))
    before = sorted(tmp_path.rglob('*'))

    told = [again().load() for _ in range(2)]

    assert told[0] == told[1] and told[0].startswith('is damaged at byte ')
    assert sorted(tmp_path.rglob('*')) == before


@pytest.mark.parametrize('rest', [None, 5, []])
def test_two_journals_in_one_file_are_damage(journal, names, again, rest):
    """Bug: the second beginning was a traceback."""
    journal.append([marker(1)])
    with open(names.items('ocr'), 'ab') as file:
        file.write(seal(dict({'format': 1, 'stage': 'ocr'}, **{'rest': rest} if rest else {}))
                   + seal({'task': 'ocr[x]'}))

    assert again().load().startswith('is damaged at byte ')


@pytest.mark.parametrize('line', [
    pytest.param(seal({'format': 2, 'stage': 'ocr'}), id='sealed'),
    pytest.param(b'{"format":12}\n', id='other-seal'),
    pytest.param(b'{"format": 3, "anything": []}\n', id='no-seal'),
])
@pytest.mark.parametrize('is_first', [True, False])
def test_a_newer_format_is_refused_and_left_alone(journal, names, line, is_first):
    if not is_first:
        journal.append([marker(1)])
    with open(names.items('ocr'), 'ab') as file:
        file.write(line)
    with open(names.items('ocr'), 'rb') as file:
        before = file.read()

    for act in (journal.load, lambda: journal.append([marker(2)])):
        with pytest.raises(StateError, match='has format [0-9]+, this version reads 1; use the'):
            act()

    with open(names.items('ocr'), 'rb') as file:
        assert file.read() == before
    assert os.listdir(names.folder) == ['items_ocr.jsonl']


@pytest.mark.skipif(os.name != 'posix', reason='links and pipes')
@pytest.mark.parametrize('make', [
    pytest.param(lambda path: os.symlink('/etc/passwd', path), id='link'),
    pytest.param(lambda path: os.symlink('nowhere', path), id='dangling'),
    pytest.param(os.mkdir, id='folder'), pytest.param(os.mkfifo, id='pipe'),
])
@pytest.mark.parametrize('is_loaded', [True, False])
def test_what_is_no_file_is_set_aside(names, make, is_loaded):
    make(names.items('ocr'))
    one = ItemJournal(names, 'ocr')

    fault = one.load() if is_loaded else ''
    one.append([marker(1)])

    assert 'is not a regular file' in (fault, one.fault)
    assert list(one.tasks()) == [marker(1).task] and os.path.isfile(names.items('ocr'))
    one.close()


@pytest.mark.skipif(os.name != 'posix', reason='pipes')
def test_a_pipe_that_somebody_reads_is_set_aside_too(names):
    """Bug: opening it to write succeeds, and the lock that was held was waited for."""
    os.mkfifo(names.items('ocr'))
    reader = os.open(names.items('ocr'), os.O_RDONLY | os.O_NONBLOCK)
    one = ItemJournal(names, 'ocr')

    one.append([marker(1)])

    os.close(reader)
    assert one.fault == 'is not a regular file' and list(one.tasks()) == [marker(1).task]
    one.close()


def test_a_line_with_a_good_seal_and_a_bad_shape_is_void(journal, names, again):
    journal.append([marker(1)])
    with open(names.items('ocr'), 'ab') as file:
        for task, extra in (('a', {}), ('b', {'rest': 'none'}), ('c', {'rest': 3, 'key': []})):
            file.write(seal(dict({'task': task}, **extra)))

    assert [again().get(task) for task in 'abc'] == [None] * 3
    assert again().get(marker(1).task) == marker(1)


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='a full device')
def test_a_write_that_fails_is_told_and_leaves_no_trace(journal, names, again):
    """The limit on the size of files stands for a full disk: a part of the write succeeds."""
    journal.append([marker(1)])
    size = os.path.getsize(names.items('ocr'))
    with no_file_over(size + 40), pytest.raises(StateError, match='file too large'):
        journal.append([marker(2, params={'other': 1})])

    assert os.path.getsize(names.items('ocr')) == size
    journal.append([marker(3, params={'other': 1})])
    assert state_of(journal) == state_of(again()) == (
        {one.task: one for one in (marker(1), marker(3, params={'other': 1}))}, False)


# -- compaction --------------------------------------------------------------------

def test_a_journal_of_mostly_dead_lines_is_compacted(names, again):
    one = ItemJournal(names, 'ocr', compact_bytes=4000)
    sizes = []
    one.append_failure('ocr[bad]', AT, 'permanent', 'x', 1)
    one.complete('run1', AT, 'key', 3)
    for turn in range(40):
        one.append([marker(number, key=f'{turn}.') for number in range(3)])
        sizes.append(os.path.getsize(names.items('ocr')))

    assert max(sizes) < 8000 and sum(b < a for a, b in zip(sizes, sizes[1:])) > 2
    expected = {marker(n).task: marker(n, key='39.') for n in range(3)}
    assert state_of(one) == state_of(again()) == (expected, True)
    assert one.failure('ocr[bad]') == again().failure('ocr[bad]') != {}
    one.close()


def test_a_reader_goes_on_after_another_one_compacted(names, again):
    reader = again()
    writer = again(compact_bytes=2000)
    reader.append([marker(1), marker(2)])
    before = os.stat(names.items('ocr')).st_ino
    for turn in range(20):
        writer.append([marker(1, key=f'{turn}.')])
    assert os.stat(names.items('ocr')).st_ino != before

    assert reader.get(marker(2).task) == marker(2)
    reader.append([marker(3)])

    assert reader.get(marker(1).task) == marker(1, key='19.')
    assert sorted(reader.tasks()) == sorted(again().tasks()) == [
        marker(number).task for number in (1, 2, 3)]


def test_a_compaction_without_room_changes_nothing(names, again):
    """A temporary file cannot be made while there is something with its name."""
    one = again(compact_bytes=2000)
    number = next(files._counter)
    blocks = [f'{names.items("ocr")}.{os.getpid()}-{number + n}.tmp' for n in range(1, 3)]
    for block in blocks:
        os.mkdir(block)
    sizes = []

    for turn in range(40):
        one.append([marker(1, key=f'{turn}.')])
        sizes.append(os.path.getsize(names.items('ocr')))

    tried = next(files._counter) - number - 1
    assert tried > 2 and sizes[-1] < max(sizes)
    assert one.get(marker(1).task) == again().get(marker(1).task) == marker(1, key='39.')


# -- several processes ---------------------------------------------------------------

WRITER = '''\
import sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from test_state_items import ItemJournal, StateNames, marker
journal = ItemJournal(StateNames(sys.argv[3]), 'ocr', compact_bytes=3000)
for turn in range(60):
    journal.append([marker(int(sys.argv[4]) + number, key=str(turn)) for number in range(2)])
    print(turn, flush=True)
journal.close()
'''


def start_writer(tmp_path, first):
    return subprocess.Popen([sys.executable, '-c', WRITER, str(SOURCE), os.path.dirname(__file__),
                             str(tmp_path), str(first)], stdout=subprocess.PIPE)


@pytest.mark.slow
@pytest.mark.integration
def test_processes_that_append_at_once_lose_nothing(tmp_path, again):
    (tmp_path / 'state').mkdir(exist_ok=True)
    writers = [start_writer(tmp_path, first) for first in (10, 20, 30)]
    for writer in writers:
        assert writer.communicate(timeout=PATIENCE_S)[0].split()[-1] == b'59'

    found = again()

    assert found.fault == ''
    assert state_of(found)[0] == {
        marker(first + n).task: marker(first + n, key='59') for first in (10, 20, 30)
        for n in range(2)}


@pytest.mark.slow
@pytest.mark.integration
def test_what_was_acknowledged_survives_a_kill(tmp_path, again):
    (tmp_path / 'state').mkdir(exist_ok=True)
    for wanted in (0, 1, 7, 20, 33):
        with start_writer(tmp_path, 10) as writer:
            last = [int(writer.stdout.readline()) for _ in range(wanted + 1)][-1]
            writer.kill()
            rest = writer.stdout.read().split()
        assert writer.returncode == -9
        last = int(rest[-1]) if rest else last

        found = again()
        keys = {found.get(marker(10 + number).task).key for number in range(2)}

        assert found.fault == ''
        turns = {int(key[:-2]) for key in keys}
        assert turns in ({last}, {last + 1}), (turns, last)


# -- looking again -------------------------------------------------------------------

def test_what_others_wrote_meanwhile_is_taken_in_without_reading_all_of_it_again(
        journal, again, monkeypatch):
    journal.append([marker(number) for number in range(200)])
    other = again()
    size = os.path.getsize(journal.path)
    journal.append([marker(200)])
    n_read = []
    plain = os.read
    monkeypatch.setattr(os, 'read', lambda fd, n: n_read.append(plain(fd, n)) or n_read[-1])

    assert other.load() == ''

    assert sum(map(len, n_read)) == os.path.getsize(journal.path) - size
    monkeypatch.undo()
    assert state_of(other) == state_of(journal)


@pytest.mark.parametrize('happens', ['compacted', 'removed', 'set aside'])
def test_a_journal_that_is_another_one_meanwhile_is_read_anew(journal, again, happens):
    journal.append([marker(1)])
    other = again()
    if happens == 'compacted':
        journal.compact_bytes = 0
        for _ in range(9):
            journal.append([marker(2)])
    else:
        os.unlink(journal.path)
    if happens == 'set aside':
        again().append([marker(3)])

    assert other.load() == ''

    assert sorted(other.tasks()) == {
        'compacted': [marker(1).task, marker(2).task], 'removed': [],
        'set aside': [marker(3).task]}[happens]

"""Every event of a run is a record, chained to the one before; runs are chained to each other."""

import json
import os
import signal

import pytest

from engine import Engine
from fakes import Ending
from fakes import FakeLauncher
from stagerunner.errors import StateError
from stagerunner.events import RunEnded
from stagerunner.events import TasksSkipped
from stagerunner.events import Warned
from stagerunner.files import digest_bytes
from stagerunner.locks import run_lock
from stagerunner.locks import try_lock
from stagerunner.report.audit import Audit
from stagerunner.report.chain import START
from stagerunner.report.chain import Key
from stagerunner.report.chain import Row
from stagerunner.report.chain import encode
from stagerunner.report.chain import seal
from stagerunner.report.chain import unseal
from stagerunner.report.trail import Trail
from stagerunner.selection import Wanted
from stagerunner.state.names import StateNames
from support import Workspace
from support import stage
from support import wait_until


@pytest.fixture
def names(tmp_path):
    (tmp_path / 'state').mkdir()
    return StateNames(str(tmp_path))


@pytest.fixture
def engine(tmp_path):
    found = Engine(Workspace(tmp_path).simple(), FakeLauncher())
    yield found
    found.close()


def lines(path):
    with open(path, 'rb') as file:
        return file.readlines()


def records(path):
    return [json.loads(line.decode('ascii')) for line in lines(path)]


def heads(names):
    return records(names.audit_head())


def begin(names, run_id='r1', clock=None, key=None):
    """Return the audit of a run that is at work, with one record in it."""
    audit = Audit(names, run_id, clock or FakeLauncher().clock, key)
    audit.prepare()
    audit.receive(Warned('', 'it began'))
    return audit


def finish(audit):
    head = audit.end(RunEnded(audit.run_id, 'then', 1.5, 'completed'))
    audit.close()
    return head


def die(audit, tail=b''):
    """Leave an audit as a kill does, in the middle of a record."""
    os.write(audit.descriptor, tail)
    os.close(audit.descriptor)
    audit.descriptor = -1


# -- lines -------------------------------------------------------------------------------

def test_a_line_is_sealed_with_the_hash_of_all_before_the_hash():
    line, digest = seal('{"schema":1,"seq":1', START, None)

    data, _, _ = line.partition(b',"hash"')
    assert digest == digest_bytes(data) == json.loads(line.decode())['hash']
    assert unseal(line)[0] == (json.loads(line.decode()), START, digest, False)


@pytest.mark.parametrize('place', range(0, 300, 7))
def test_a_line_with_one_byte_changed_is_found(place):
    line, _ = seal('{"schema":1,"seq":1,"runId":"r1","text":"\\u00e9 or anything"', 'a' * 64,
                   Key(b'secret'))
    changed = bytearray(line)
    changed[place % len(line)] ^= 1

    assert unseal(bytes(changed))[0] is None


@pytest.mark.parametrize(('line', 'fault'), [
    (b'', 'is cut off'),
    (b'{"schema":1', 'is cut off'),
    (b'\n', 'is no record of an audit'),
    (b'\xff\n', 'is no record of an audit'),
    (seal('{"schema":2', START, None)[0], 'has schema 2, this version reads 1'),
    (seal('{"seq":2', START, None)[0], 'is no record of an audit'),
    (seal('["schema"', START, None)[0], 'is no record of an audit'),
    (seal('{"schema":1', START, Key(b'other'))[0], 'was not written with this key'),
])
def test_what_is_no_line_of_ours_is_said(line, fault):
    assert unseal(line, Key(b'mine')) == (None, fault)


def rows(*fields, start=START):
    """Return lines, each chained to the one before."""
    found, prev = [], start
    for more in fields:
        line, prev = seal(encode(dict({'schema': 1, 'runId': 'r1'}, **more))[:-1], prev, None)
        found.append(line)
    return found


@pytest.mark.parametrize(('change', 'n_good', 'fault'), [
    (lambda a, b, c: [a, b, c], 3, ''),
    (lambda a, b, c: [b, c], 0, 'is record 2: record 1 is missing before it'),
    (lambda a, b, c: [c], 0, 'is record 3: records 1 to 2 are missing before it'),
    (lambda a, b, c: [a, c], 1, 'is record 3: record 2 is missing before it'),
    (lambda a, b, c: [a, c, b], 1, 'is record 3: record 2 is missing before it'),
    (lambda a, b, c: [a, b, b, c], 2, 'is record 2 where record 3 should be'),
    (lambda a, b, c: [a, *rows({'seq': 2})], 1, 'does not follow from what comes before it'),
    (lambda a, b, c: rows({'seq': 1, 'runId': 'x'}), 0, "belongs to run 'x'"),
    (lambda a, b, c: rows({'seq': True}), 0, 'is record True where record 1 should be'),
    (lambda a, b, c: [a, b, c[:-9]], 2, 'is cut off'),
])
def test_the_first_line_out_of_place_is_named(tmp_path, change, n_good, fault):
    path = tmp_path / 'lines'
    path.write_bytes(b''.join(change(*rows({'seq': 1}, {'seq': 2}, {'seq': 3}))))

    with open(str(path), 'rb') as source:
        row = Row(source, START, 'r1')
        assert len(list(row)) == row.n_lines == n_good

    assert row.fault == fault
    assert (row.tail != b'') == (fault == 'is cut off')


# -- the records of a run -------------------------------------------------------------------

def test_every_event_of_a_run_is_a_record_in_order(engine, names):
    engine.launcher.will('work', Ending(exit_code=75))
    engine.run('r1')

    found = records(names.audit('r1'))
    assert [record['event'] for record in found] == [
        'run_started', 'task_started', 'attempt_ended', 'task_retrying', 'task_started',
        'attempt_ended', 'task_done', 'run_ended']
    assert [record['seq'] for record in found] == list(range(1, 9))
    assert {(record['schema'], record['runId']) for record in found} == {(1, 'r1')}
    assert all('T' in record['at'] for record in found)
    assert found[6]['key'] and found[-1]['state'] == 'completed'


def test_records_are_those_of_json_beside_the_links(tmp_path):
    workspace = Workspace(tmp_path).simple()
    done = workspace.run('--json', '--run-id', 'r1')

    told = [json.loads(line) for line in done.lines]
    kept = records(str(tmp_path / 'state' / 'audit_r1.jsonl'))
    links = {'schema', 'seq', 'runId', 'at', 'prev', 'hash', 'auditHead'}
    assert [{name: value for name, value in record.items() if name not in links}
            for record in kept] == [
        {name: value for name, value in event.items() if name not in links} for event in told]


def test_a_run_begins_and_ends_with_an_entry_in_the_journal_of_heads(engine, names):
    engine.run('r1')
    engine.run('r2')

    first, second, *_ = heads(names)
    found = records(names.audit('r1'))
    assert [(entry['event'], entry['runId'], entry['open']) for entry in heads(names)] == [
        ('run_opened', 'r1', ['r1']), ('run_closed', 'r1', []),
        ('run_opened', 'r2', ['r2']), ('run_closed', 'r2', [])]
    assert found[0]['prev'] == first['hash']
    assert (second['last'], second['records'], second['size'], second['ended']) == (
        found[-1]['hash'], len(found), os.path.getsize(names.audit('r1')), 'completed')
    assert records(names.audit('r2'))[0]['prev'] == heads(names)[2]['hash']
    assert [entry['prev'] for entry in heads(names)] == [
        START, *(entry['hash'] for entry in heads(names)[:-1])]


def test_record_and_figures_have_the_head(engine, names):
    engine.run('r1')

    head = heads(names)[-1]['hash']
    assert engine.workspace.json('state/run_r1.json')['auditHead'] == head
    assert engine.workspace.json('state/metrics_r1.json')['auditHead'] == head


def test_a_run_id_that_is_used_again_goes_on_in_its_file(engine, names):
    engine.run('r1')
    before = lines(names.audit('r1'))
    engine.run('r1')

    after = lines(names.audit('r1'))
    assert after[:len(before)] == before
    assert [record['seq'] for record in records(names.audit('r1'))][len(before)] == 1
    assert heads(names)[2]['offset'] == len(b''.join(before))


def test_a_run_that_was_refused_leaves_no_audit(engine, names):
    engine.workspace.pipeline(stage(outputs=['x']), stage('other'))
    with pytest.raises(Exception, match='there is no stage'):
        engine.run('r1', wanted=Wanted(only=('nowhere',)))

    assert names.audited_runs() == []
    assert not os.path.exists(names.audit_head())


def test_old_runs_keep_their_audit(engine, names):
    engine.workspace.pipeline(stage(), keepRuns=1)
    for number in range(3):
        engine.run(f'r{number}')

    assert names.finished_runs() == ['r2']
    assert names.audited_runs() == ['r0', 'r1', 'r2']


def test_a_run_may_be_called_like_the_journal_of_heads(engine, names):
    engine.run('head')

    assert names.audited_runs() == ['head']
    assert [entry['runId'] for entry in heads(names)] == ['head', 'head']
    assert Trail(names, 'head').path != names.audit_head()


def test_many_skips_in_one_event_are_one_record(names):
    audit = begin(names)
    tasks = [f'stage_{number}' for number in range(10_000)]
    audit.receive_skips(TasksSkipped(tasks, 'now', 'matched', ['key'] * 10_000, ['then'] * 10_000))
    finish(audit)

    assert [record['event'] for record in records(names.audit('r1'))] == [
        'warned', 'tasks_skipped', 'run_ended']
    assert records(names.audit('r1'))[1]['tasks'] == tasks
    told = list(Trail(names, 'r1').read())[1:-1]
    assert [record['task'] for record in told] == tasks
    assert (told[0]['event'], told[0]['key'], told[0]['doneAt']) == ('task_skipped', 'key', 'then')


def test_names_of_any_bytes_are_recorded(names):
    audit = begin(names)
    audit.receive(Warned('', 'caf\udce9 \u2028 "\\\n'))
    finish(audit)

    assert records(names.audit('r1'))[1]['message'] == 'caf\udce9 \u2028 "\\\n'


def test_the_end_of_a_run_is_on_the_disk_before_its_entry_is(names, flushed):
    audit = begin(names)
    del flushed[:]
    finish(audit)

    assert flushed == [names.audit('r1'), names.audit_head()]


@pytest.mark.parametrize('make', [os.mkdir, lambda path: os.symlink('elsewhere', path),
                                  os.mkfifo], ids=['folder', 'link', 'pipe'])
@pytest.mark.parametrize('which', ['audit', 'heads'])
def test_what_is_no_file_is_refused_and_left_alone(names, make, which):
    path = names.audit('r1') if which == 'audit' else names.audit_head()
    make(path)

    with pytest.raises(StateError, match='state/audit_'):
        begin(names)
    assert os.path.lexists(path)


def test_a_record_that_cannot_be_written_ends_the_run_with_5(engine, names):
    os.mkdir(names.audit('r1'))

    with pytest.raises(StateError):
        engine.run('r1')


# -- several at once, and those that die --------------------------------------------------------

def test_two_runs_at_once_have_a_chain_each_and_one_journal(names):
    one, other = begin(names, 'one'), begin(names, 'other')
    with try_lock(run_lock(os.path.dirname(names.folder), 'one')):
        finish(other)
        third = begin(names, 'third')
    finish(one)
    finish(third)

    assert [(entry['runId'], entry['event'], entry['open']) for entry in heads(names)] == [
        ('one', 'run_opened', ['one']),
        # Nobody held the lock of `one` when `other` began.
        ('one', 'run_closed', []), ('other', 'run_opened', ['other']),
        ('other', 'run_closed', []), ('third', 'run_opened', ['third']),
        ('one', 'run_closed', ['third']), ('third', 'run_closed', [])]


def test_a_live_run_stays_open_when_another_begins(names):
    with try_lock(run_lock(os.path.dirname(names.folder), 'one')):
        one, other = begin(names, 'one'), begin(names, 'other')
    finish(other)
    finish(one)

    assert [(entry['runId'], entry['open']) for entry in heads(names)] == [
        ('one', ['one']), ('other', ['one', 'other']), ('other', ['one']), ('one', [])]


@pytest.mark.parametrize('again', ['r1', 'r2'])
@pytest.mark.parametrize('tail', [b'', b'{"schema":1,"se', b'\0\0\0', b'\0}\n{"x":1}\n'])
def test_a_run_that_died_is_closed_by_the_next_one(names, again, tail):
    die(begin(names), tail)
    whole = lines(names.audit('r1'))[0]

    finish(begin(names, again))

    closed = heads(names)[1]
    assert (closed['event'], closed['runId'], closed['ended'], closed['records'],
            closed['size']) == ('run_closed', 'r1', 'crashed', 1, len(whole))
    assert lines(names.audit('r1'))[0] == whole
    assert len(lines(names.audit('r1'))) == (3 if again == 'r1' else 1)
    assert heads(names)[2]['prev'] == closed['hash']


def test_a_run_whose_file_is_gone_is_closed_as_lost(names):
    die(begin(names))
    os.unlink(names.audit('r1'))

    finish(begin(names, 'r2'))

    assert (heads(names)[1]['ended'], heads(names)[1]['records']) == ('lost', 0)


def test_damage_in_a_dead_run_is_left_for_whoever_verifies(names):
    audit = begin(names)
    audit.receive(Warned('', 'second'))
    audit.receive(Warned('', 'third'))
    die(audit)
    before = [line.replace(b'second', b'SECOND') for line in lines(names.audit('r1'))]
    with open(names.audit('r1'), 'wb') as file:
        file.write(b''.join(before))

    finish(begin(names, 'r2'))

    assert heads(names)[1]['records'] == 1
    assert lines(names.audit('r1')) == before


@pytest.mark.parametrize('cut', [1, 2, 30, 200])
def test_an_entry_that_a_crash_cut_off_is_repaired_by_the_next_run(names, cut):
    finish(begin(names))
    whole = lines(names.audit_head())
    os.truncate(names.audit_head(), len(b''.join(whole)) - cut)

    finish(begin(names, 'r2'))

    found = heads(names)
    assert [entry['prev'] for entry in found] == [START, *(entry['hash'] for entry in found[:-1])]
    assert (found[1]['ended'], found[1]['records']) == (
        ('completed', 2) if cut == 1 else ('crashed', 2))


def test_a_damaged_entry_stays_and_the_chain_goes_on_from_its_bytes(names):
    finish(begin(names))
    damaged = lines(names.audit_head())
    damaged[-1] = damaged[-1].replace(b'completed', b'COMPLETED')
    with open(names.audit_head(), 'wb') as file:
        file.write(b''.join(damaged))

    finish(begin(names, 'r2'))

    assert lines(names.audit_head())[:2] == damaged
    assert [(entry['seq'], entry['runId']) for entry in heads(names)[2:]] == [(3, 'r2'), (4, 'r2')]
    assert heads(names)[2]['prev'] == digest_bytes(damaged[-1])


def test_a_journal_of_a_newer_version_is_refused(names):
    with open(names.audit_head(), 'wb') as file:
        file.write(seal('{"schema":2,"seq":1', START, None)[0])

    with pytest.raises(StateError, match='has schema 2, this version reads 1; use the newer'):
        begin(names)


@pytest.mark.slow
def test_a_long_last_entry_is_found(names):
    """Longer than what is read of the journal's end at first."""
    root = os.path.dirname(names.folder)
    ids = [f'r{number}-{"x" * 90}' for number in range(45)]
    locks = [try_lock(run_lock(root, run_id)) for run_id in ids]
    for audit in [begin(names, run_id) for run_id in ids]:
        finish(audit)
    for lock in locks:
        lock.release()

    assert [entry['seq'] for entry in heads(names)] == list(range(1, 91))
    assert max(len(line) for line in lines(names.audit_head())) > 4096
    assert heads(names)[-1]['open'] == []


# -- with a key -------------------------------------------------------------------------------

def test_with_a_key_every_line_is_authenticated_and_the_key_is_nowhere(names):
    finish(begin(names, key=Key(b'a very secret key')))

    for path in (names.audit('r1'), names.audit_head()):
        for line in lines(path):
            assert unseal(line, Key(b'a very secret key'))[0].has_mac
            assert unseal(line, Key(b'another'))[1] == 'was not written with this key'
            assert unseal(line)[0] is not None
            assert b'secret' not in line


# -- reading --------------------------------------------------------------------------------

def test_a_trail_yields_what_is_new_and_whole(names):
    audit = begin(names)
    trail = Trail(names, 'r1')

    assert [record['message'] for record in trail.read()] == ['it began']
    assert list(trail.read()) == []
    audit.receive(Warned('', 'more'))
    os.write(audit.descriptor, b'{"half')
    assert [record['message'] for record in trail.read()] == ['more']
    assert list(trail.read()) == []
    die(audit)


def test_a_trail_begins_with_the_last_start_of_a_run(engine, names):
    engine.run('r1')
    engine.run('r1')

    assert [record['event'] for record in Trail(names, 'r1').read()] == [
        'run_started', 'task_skipped', 'run_ended']
    assert len(list(Trail(names, 'r1', has_former=True).read())) == 8


def test_a_trail_leaves_out_what_is_no_record(names):
    audit = begin(names)
    os.write(audit.descriptor, b'\xff\n[]\n{"event":1}\n\n{"event":"tasks_skipped","tasks":3}\n'
             + b'[' * 100_000 + b'\n')
    die(audit)

    assert [record['event'] for record in Trail(names, 'r1').read()] == [
        'warned', 'tasks_skipped']


def test_a_trail_of_what_is_no_file_is_an_error(names):
    os.mkdir(names.audit('r1'))

    with pytest.raises(StateError, match='is not a regular file'):
        Trail(names, 'r1')


@pytest.mark.slow
@pytest.mark.integration
def test_after_a_kill_what_was_printed_is_in_the_audit(tmp_path):
    workspace = Workspace(tmp_path).simple()
    workspace.processor('import time\ntime.sleep(60)\n', 'bin/slow.py')
    workspace.pipeline(stage(), stage('slow', processor='bin/slow.py'))
    names = StateNames(str(tmp_path))
    out = tmp_path / 'printed'
    with open(str(out), 'wb') as stdout, workspace.start('--run-id', 'r1',
                                                         stdout=stdout) as process:
        wait_until(lambda: b'[RUN] slow' in out.read_bytes(), 'the second stage')
        process.send_signal(signal.SIGKILL)
        process.wait()
        told = list(Trail(names, 'r1').read())

    assert [(record['event'], record['task']) for record in told if 'task' in record] == [
        ('task_started', 'work'), ('attempt_ended', 'work'), ('task_done', 'work'),
        ('task_started', 'slow')]

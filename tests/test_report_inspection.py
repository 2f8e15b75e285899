"""Whatever was done to an audit is found and placed; what a crash leaves is no fault."""

import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from fakes import FakeClock
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import TaskDone
from stagerunner.events import TaskStarted
from stagerunner.files import write_json
from stagerunner.locks import run_lock
from stagerunner.locks import try_lock
from stagerunner.report.audit import Audit
from stagerunner.report.chain import START
from stagerunner.report.chain import Key
from stagerunner.report.chain import seal
from stagerunner.report.inspection import inspect
from stagerunner.state.names import StateNames
from support import Workspace
from support import run_cli
from support import stage

KEY = Key(b'sixteen bytes or more')


@pytest.fixture
def names(tmp_path):
    (tmp_path / 'state').mkdir()
    return StateNames(str(tmp_path))


def tell(audit, *events):
    audit.prepare()
    for event in events:
        audit.receive(event)


def events_of(run_id, n=3):
    return [RunStarted(run_id, 'demo', 'begin', ('a',)),
            *(event for number in range(n) for event in (
                TaskStarted(f'a[{number}]', 'now', 1, ()),
                TaskDone(f'a[{number}]', 'now', 0.25, 1, 'f' * 64)))]


def run(names, run_id='r1', n=3, key=None):
    """Leave the audit, and the record, of a run that was completed; return the head."""
    audit = Audit(names, run_id, FakeClock(), key)
    tell(audit, *events_of(run_id, n))
    head = audit.end(RunEnded(run_id, 'end', 1.5, 'completed'))
    audit.close()
    write_json(names.run(run_id), {'state': 'completed', 'auditHead': head}, durable=False)
    return head


def crash(names, run_id='r1', tail=b''):
    """Leave the audit of a run that was killed."""
    audit = Audit(names, run_id, FakeClock())
    tell(audit, *events_of(run_id))
    os.write(audit.descriptor, tail)
    os.close(audit.descriptor)


def change(path, how):
    """Put `how(lines)` in place of the lines of a file."""
    file = Path(path)
    file.write_bytes(b''.join(how(file.read_bytes().splitlines(True))))


def faults(names, **asked):
    return [str(finding) for finding in inspect(names, **asked).findings]


# -- sound ---------------------------------------------------------------------------

def test_where_nothing_ran_all_is_sound(names):
    assert inspect(names) == ((), (), START, 0, False, False)


def test_an_audit_that_nobody_touched_is_sound(names):
    run(names)
    run(names, 'r2')
    run(names)
    head = run(names, 'r3', n=0)

    found = inspect(names)
    assert (found.findings, found.head) == ((), head)
    assert [(start.run_id, start.state, start.n_records) for start in found.starts] == [
        ('r1', 'completed', 8), ('r1', 'completed', 8), ('r2', 'completed', 8),
        ('r3', 'completed', 2)]


def test_of_one_run_only_its_own_file_is_read(names):
    run(names)
    run(names, 'r2')
    os.unlink(names.audit('r2'))

    assert faults(names, run_id='r1') == []
    assert faults(names, run_id='r2') == ['state/audit_r2.jsonl: is missing']


def test_to_verify_changes_nothing(names, tmp_path):
    run(names)
    crash(names, 'r2', b'{"half')
    before = Workspace(tmp_path).tree()

    assert not inspect(names).findings
    assert Workspace(tmp_path).tree() == before


# -- a crash is no fault ----------------------------------------------------------------

@pytest.mark.parametrize('tail', [b'', b'{"schema":1,"seq":9,"ru', b'\0\0\0\0', b'\xff',
                                  b'\0\0}\n{"whole":1}\n'])
def test_a_run_that_died_is_told_as_crashed(names, tail):
    run(names, 'r0')
    crash(names, tail=tail)

    found = inspect(names)
    assert found.findings == ()
    assert found.starts[-1] == ('r1', 'crashed', 7, len(tail))


def test_a_run_that_died_and_was_closed_stays_crashed(names):
    crash(names, tail=b'{"half')
    run(names, 'r2')

    assert faults(names) == []
    assert [start.state for start in inspect(names).starts] == ['crashed', 'completed']


def test_a_run_that_is_alive_is_running(names):
    crash(names)
    with try_lock(run_lock(os.path.dirname(names.folder), 'r1')):
        assert inspect(names).starts == (('r1', 'running', 7, 0),)


@pytest.mark.parametrize('cut', [1, 40, 200])
def test_a_crash_in_the_middle_of_an_entry_is_told_as_one(names, cut):
    crash(names)
    change(names.audit_head(), lambda lines: [*lines, lines[0][:-cut]])

    found = inspect(names)
    assert (found.findings, found.torn > 0) == ((), True)


def test_a_run_that_was_killed_before_its_first_record_is_no_fault(names):
    run(names)
    Audit(names, 'r2', FakeClock()).prepare()

    assert faults(names) == []


# -- what was done on purpose -----------------------------------------------------------

@pytest.mark.parametrize(('how', 'fault'), [
    (lambda a: [*a[:4], a[4].replace(b'a[1]', b'a[7]'), *a[5:]],
     ':5: was changed: its hash is not that of its bytes'),
    (lambda a: [*a[:4], *a[5:]], ':5: is record 6: record 5 is missing before it'),
    (lambda a: a[3:], ':1: is record 4: records 1 to 3 are missing before it'),
    (lambda a: [*a[:4], a[5], a[4], *a[6:]], ':5: is record 6: record 5 is missing before it'),
    (lambda a: [*a[:4], a[2], *a[4:]], ':5: is record 3 where record 5 should be'),
    (lambda a: [*a, a[0]], ':9: was added after the run had ended'),
    (lambda a: a[:6], ':7: the file ends here, and 2 of 8 records are missing'),
    (lambda a: [], ':1: the file ends here, and 8 of 8 records are missing'),
    (lambda a: [*a[:7], a[7][:-1]], ':8: is cut off'),
    (lambda a: [*a[:7], a[7][:50]], ':8: is cut off'),
    (lambda a: [*a[:7], a[7].rstrip() + b' '], ':8: is cut off'),
    (lambda a: [b'something else\n'], ':1: is no record of an audit'),
    (lambda a: [seal('{"schema":1,"seq":1,"runId":"r1"', START, None)[0]],
     ':1: does not follow from what comes before it'),
])
def test_the_first_bad_record_is_named(names, how, fault):
    run(names)
    change(names.audit('r1'), how)

    assert faults(names) == [f'state/audit_r1.jsonl{fault}']


def test_the_file_of_another_run_in_its_place_is_found(names):
    run(names)
    run(names, 'r2')
    change(names.audit('r2'), lambda _: [Path(names.audit('r1')).read_bytes()])

    assert faults(names) == ["state/audit_r2.jsonl:1: belongs to run 'r1'"]


def test_a_chain_that_was_written_anew_does_not_end_as_it_should(names):
    """Who can write can hash: but the journal of heads has the old end."""
    run(names)
    lines, prev = [], json.loads(Path(names.audit('r1')).read_text().splitlines()[0])['prev']
    for number in range(1, 9):
        line, prev = seal(f'{{"schema":1,"seq":{number},"runId":"r1","event":"x"', prev, None)
        lines.append(line)
    change(names.audit('r1'), lambda _: lines)

    assert len(faults(names)) == 1


def test_a_start_that_is_not_where_it_should_be_is_found(names):
    run(names)
    run(names)
    change(names.audit('r1'), lambda lines: [*lines[:8], b'x\n', *lines[8:]])

    assert faults(names) == [
        'state/audit_r1.jsonl:9: is no record of an audit']


def test_a_file_that_nobody_knows_is_found(names):
    run(names)
    change(names.audit('r1'), lambda lines: lines)
    Path(names.audit('evil')).write_bytes(Path(names.audit('r1')).read_bytes())

    assert faults(names) == [
        'state/audit_evil.jsonl:1: state/audit_head.jsonl has no entry for this run: it was put '
        'there, or the journal was cut off']


def test_a_file_that_is_gone_is_found(names):
    run(names)
    crash(names, 'r2')
    os.unlink(names.audit('r1'))
    os.unlink(names.audit('r2'))

    assert faults(names) == [f'state/audit_{run_id}.jsonl: is missing' for run_id in ('r1', 'r2')]


@pytest.mark.parametrize('following', ['r1', 'r2'])
def test_a_file_that_was_gone_when_the_next_run_began_stays_a_fault(names, following):
    crash(names)
    os.unlink(names.audit('r1'))
    run(names, following)
    run(names, 'r1')

    assert faults(names) == [
        'state/audit_r1.jsonl:1: the file was gone when the next run began']


def test_damage_in_a_run_that_died_is_found_after_it_was_closed(names):
    crash(names)
    change(names.audit('r1'), lambda a: [*a[:3], a[3].replace(b'now', b'NOW'), *a[4:]])
    run(names, 'r2')

    assert faults(names) == [
        'state/audit_r1.jsonl:4: was changed: its hash is not that of its bytes']


@pytest.mark.parametrize(('how', 'fault'), [
    (lambda a: [*a[:2], a[2].replace(b'r2', b'r3'), *a[3:]],
     ':3: was changed: its hash is not that of its bytes'),
    (lambda a: [a[0], *a[2:]], ':2: is record 3: record 2 is missing before it'),
    (lambda a: a[:1], ':2: the entry '),
    (lambda a: a[:3], ':4: the entry '),
    (lambda a: [*a[:3], a[3][:-20]], ':4: the entry '),
])
def test_what_was_done_to_the_journal_of_heads_is_found(names, how, fault):
    run(names)
    run(names, 'r2')
    change(names.audit_head(), how)

    assert faults(names)[0].startswith(f'state/audit_head.jsonl{fault}')


def changed(lines, *numbers):
    return [line.replace(b'schema', b'Schema') if number in numbers else line
            for number, line in enumerate(lines, 1)]


@pytest.mark.parametrize(('how', 'numbers'), [
    (lambda a: changed(a, 2, 5), [2, 5]),
    (lambda a: [a[0], b'x\n', *a[1:4], b'y\n', *a[4:]], [2, 6]),
    (lambda a: [*a[1:4], *a[5:]], [1, 4]),
    (lambda a: [*changed(a, 2)[:2], a[3], a[2], *a[4:]], [2, 4, 5]),
    (lambda a: [*changed(a, 2), a[0][:-9]], [2]),
], ids=['changed', 'added', 'removed', 'swapped', 'torn'])
def test_every_bad_line_of_the_journal_of_heads_is_named(names, how, numbers):
    """It holds all runs: who repairs, or accuses, needs the whole extent."""
    for run_id in ('r1', 'r2', 'r3'):
        run(names, run_id)
    change(names.audit_head(), how)

    assert [finding.line for finding in inspect(names).findings
            if finding.file == 'state/audit_head.jsonl'] == numbers


def test_of_very_many_bad_lines_the_first_are_named_and_the_others_counted(names):
    run(names)
    change(names.audit_head(), lambda lines: [*lines, *[b'x\n'] * 50])

    found = inspect(names).findings
    assert [finding.line for finding in found] == [*range(3, 23), 0]
    assert str(found[-1]) == 'state/audit_head.jsonl: 30 more lines are bad'


def test_without_the_journal_no_run_is_known(names):
    run(names)
    os.unlink(names.audit_head())

    assert [found.partition(': ')[0] for found in faults(names)] == [
        'state/audit_head.jsonl:1', 'state/audit_r1.jsonl:1']


@pytest.mark.parametrize('body', [
    '"event":"run_closed","runId":"r1"', '"event":"run_opened","runId":"r1"',
    '"event":"run_opened","runId":"r1","offset":"x"', '"event":"other","runId":"r1"'])
def test_an_entry_that_makes_no_sense_is_found(names, body):
    change_to, _ = seal(f'{{"schema":1,"seq":1,{body}', START, None)
    Path(names.audit_head()).write_bytes(change_to)

    assert len(faults(names)) == 1


@pytest.mark.parametrize('which', ['audit_head', 'audit'])
def test_what_is_no_file_is_a_fault(names, which):
    run(names)
    path = names.audit_head() if which == 'audit_head' else names.audit('r1')
    os.unlink(path)
    os.mkdir(path)

    assert f'{names.relative(path)}: is not a regular file' in faults(names)


def test_an_expected_head_has_to_be_there(names):
    """Cutting off the newest runs everywhere is found by nothing else."""
    first = run(names)
    second = run(names, 'r2')
    assert faults(names, expected=first) == faults(names, expected=second) == []

    change(names.audit_head(), lambda lines: lines[:2])
    os.unlink(names.audit('r2'))
    os.unlink(names.run('r2'))
    assert faults(names) == faults(names, expected=first) == []
    assert faults(names, expected=second) == [
        'state/audit_head.jsonl:3: no entry up to here has the head that was expected']


# -- with a key ----------------------------------------------------------------------------

def test_with_the_key_all_is_sound_and_without_it_the_rest_is_checked(names):
    run(names)
    run(names, 'r2', key=KEY)

    assert faults(names, key=KEY) == faults(names) == []
    assert inspect(names).is_unchecked and not inspect(names, key=KEY).is_unchecked
    assert faults(names, key=Key(b'another key, also long')) == [
        f'state/audit_head.jsonl:{line}: was not written with this key' for line in (3, 4)]


def test_who_has_no_key_cannot_write_anything_anew(names):
    run(names, key=KEY)
    values = json.loads(Path(names.audit('r1')).read_text().splitlines()[7])
    forged, _ = seal('{"schema":1,"seq":8,"runId":"r1","event":"x"', values['prev'], None)
    change(names.audit('r1'), lambda lines: [*lines[:7], forged])

    assert faults(names, key=KEY) == ['state/audit_r1.jsonl:8: was written without the key']


def test_after_the_first_entry_with_a_key_there_is_none_without(names):
    run(names, key=KEY)
    run(names, 'r2')

    assert faults(names) == []
    assert faults(names, key=KEY) == [
        f'state/audit_head.jsonl:{line}: was written without the key' for line in (3, 4)]


def test_an_audit_without_any_code_is_not_sound_for_who_has_the_key(names):
    run(names)

    assert faults(names, key=KEY) == [
        'state/audit_head.jsonl:1: was written without a key, and so was all after it']


# -- campaigns -------------------------------------------------------------------------------

def mutate(rng, lines):
    """Return lines with one thing done to them, and what that was."""
    lines, at = list(lines), rng.randrange(len(lines))
    kind = rng.choice(['flip', 'delete', 'insert', 'swap', 'truncate', 'replace'])
    data = b''.join(lines)
    if kind == 'flip':
        place = rng.randrange(len(data))
        return kind, data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1:]
    if kind == 'truncate':
        return kind, data[:rng.randrange(len(data))]
    if kind == 'delete':
        del lines[at]
    elif kind == 'insert':
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
    elif kind == 'swap':
        other = rng.choice([place for place in range(len(lines)) if place != at])
        lines[at], lines[other] = lines[other], lines[at]
    else:
        lines[at] = seal(f'{{"schema":1,"seq":{at + 1},"runId":"r1","event":"forged"',
                         json.loads(lines[at].decode())['prev'], None)[0]
    return kind, b''.join(lines)


@pytest.mark.parametrize('size', [
    pytest.param(150, id='sample'),
    pytest.param(5000, id='campaign', marks=pytest.mark.campaign)])
@pytest.mark.parametrize('which', ['r1', 'head'])
@pytest.mark.parametrize('key', [None, KEY], ids=['plain', 'key'])
def test_every_mutation_is_detected(names, which, size, key):
    """The newest run's file too, and one of a run that used its id twice."""
    run(names, key=key)
    run(names, 'r2', key=key)
    run(names, key=key)
    path = names.audit('r1') if which == 'r1' else names.audit_head()
    good = Path(path).read_bytes()
    assert not faults(names, key=key)
    rng, missed = random.Random(size), []
    for number in range(size):
        kind, data = mutate(rng, good.splitlines(True))
        Path(path).write_bytes(data)
        if data != good and not faults(names):
            missed.append((number, kind))

    assert missed == []


@pytest.mark.parametrize('step', [
    pytest.param(37, id='sample'), pytest.param(1, id='campaign', marks=pytest.mark.campaign)])
def test_a_file_that_is_cut_off_anywhere_is_detected(names, step):
    run(names)
    good = Path(names.audit('r1')).read_bytes()

    for length in range(0, len(good), step):
        Path(names.audit('r1')).write_bytes(good[:length])
        assert len(faults(names)) == 1, length


@pytest.mark.parametrize('n', [
    pytest.param(12, id='sample'), pytest.param(100, id='campaign', marks=pytest.mark.campaign)])
def test_crashes_in_the_middle_of_an_append_are_told_and_the_chain_goes_on(names, n):
    rng, torn = random.Random(n), 0
    for number in range(n):
        run_id = f'r{rng.randrange(5)}'
        line = seal('{"schema":1,"seq":8,"runId":"r"', START, None)[0]
        crash(names, run_id, line[:rng.randrange(1, len(line))])
        found = inspect(names)
        assert found.findings == ()
        assert (found.starts[-1].state if len(found.starts) == 1 else 'crashed') == 'crashed'
        torn += sum(start.torn > 0 for start in found.starts)
        if number % 3 == 0:
            run(names, f'ok{number}')

    assert torn == n
    assert [start.state for start in inspect(names).starts].count('crashed') == n


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize('n', [
    pytest.param(3, id='sample'), pytest.param(50, id='campaign', marks=pytest.mark.campaign)])
def test_after_a_kill_at_any_moment_every_line_but_the_last_is_whole(tmp_path, n):
    workspace = Workspace(tmp_path)
    workspace.write('data/input/in.txt', 'x')
    workspace.processor()
    workspace.pipeline(*(stage(f's{number}', idempotency={'enabled': False})
                         for number in range(20)))
    rng = random.Random(n)
    for number in range(n):
        with workspace.start('--run-id', f'r{number}', stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL) as process:
            try:
                process.wait(timeout=rng.uniform(0.05, 0.5))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        for path in (tmp_path / 'state').glob('*.jsonl'):
            for line in path.read_bytes().split(b'\n')[:-1]:
                json.loads(line.decode('ascii'))
        assert faults(StateNames(str(tmp_path))) == []


# -- the command -------------------------------------------------------------------------------

@pytest.fixture
def kept(tmp_path):
    """Return a workspace with two runs."""
    workspace = Workspace(tmp_path).simple()
    assert workspace.run('--run-id', 'r1').code == workspace.run('--run-id', 'r2').code == 0
    return workspace


def verify(workspace, *args, **options):
    return run_cli('audit', 'verify', *args, cwd=workspace.root, **options)


@pytest.mark.slow
@pytest.mark.integration
def test_the_command_tells_what_it_found(kept):
    head = kept.json('state/run_r2.json')['auditHead']
    sound = verify(kept)
    assert (sound.code, sound.out, sound.err) == (
        0, f'audit sound: 2 runs, 8 records, head {head}\n', '')
    assert verify(kept, 'r2', '--expect-head', head).lines[0] == 'run r2: completed, 3 records'

    text = kept.read('state/audit_r1.jsonl')
    kept.write('state/audit_r1.jsonl', text.replace('task_done', 'task_lost'))
    bad = verify(kept)
    assert (bad.code, bad.err) == (1, '')
    assert bad.lines == [
        'state/audit_r1.jsonl:4: was changed: its hash is not that of its bytes',
        f'audit NOT sound: 2 runs, 6 records, head {head}']
    assert [json.loads(line) for line in verify(kept, '--json').lines][0] == {
        'file': 'state/audit_r1.jsonl', 'line': 4,
        'fault': 'was changed: its hash is not that of its bytes'}


@pytest.mark.slow
@pytest.mark.integration
def test_a_key_comes_from_a_flag_a_variable_or_the_config(tmp_path):
    workspace = Workspace(tmp_path / 'w').simple()
    (tmp_path / 'key').write_bytes(b'0123456789abcdef\n')
    workspace.write('pipeline_config.json', '{"audit_key_file": "../key"}')
    assert workspace.run('--run-id', 'r1').code == 0
    assert b'"mac":"' in workspace.read_bytes('state/audit_r1.jsonl')
    assert not [name for name, data in workspace.contents('.').items() if b'0123456789a' in data]

    (tmp_path / 'other').write_bytes(b'another key that is long')
    last = [json.loads(line) for line in verify(workspace, '--json').lines][-1]
    assert (last['sound'], last['keyed'], last['keyChecked']) == (True, True, True)
    assert verify(workspace, '--key', tmp_path / 'other').code == 1
    assert verify(workspace, env={'PIPELINE_AUDIT_KEY_FILE': str(tmp_path / 'other')}).code == 1
    (tmp_path / 'key').write_bytes(b'short')
    assert workspace.run().err == (f'{workspace.root / "../key"}: expected a key of at least 16 '
                                   'bytes, got 5\n')
    (tmp_path / 'key').unlink()
    assert 'there is no such file' in workspace.run().err


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize(('args', 'message'), [
    (['nix'], "there is no audit of run 'nix'; `status` lists the runs\n"),
    (['--expect-head', 'x'], "--expect-head: expected 64 hex digits, got 'x'\n"),
    (['--pipeline', 'nowhere/pipeline.json'],
     'nowhere/pipeline.json: there is no such file; name one with --pipeline\n')])
def test_what_cannot_be_asked_is_refused(tmp_path, args, message):
    refused = verify(Workspace(tmp_path).simple(), *args)

    assert (refused.code, refused.out, refused.err) == (2, '', message)

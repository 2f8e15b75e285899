"""`logs` shows what processors printed, in order, also while they do."""

import json
import os
import threading

import pytest

from fakes import Ending
from stagerunner.launch.capture import HEAD_BYTES
from stagerunner.launch.capture import SEAM
from stagerunner.launch.capture import TAIL_BYTES
from stagerunner.launch.capture import Log
from stagerunner.locks import run_lock
from stagerunner.locks import try_lock
from stagerunner.report.printed import Follower
from stagerunner.selection import Wanted
from support import stage
from support import start_cli
from support import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def logs(workspace, main):
    """Return a function that asks for logs in this process."""
    def call(*args):
        return main('logs', '--pipeline', workspace.pipeline_file, *args)
    return call


@pytest.fixture
def ran(engine, workspace):
    """Return a workspace in which `work` failed once and then printed, and `jobs` printed too."""
    workspace.simple(retry={'baseDelaySec': 0})
    engine.launcher.will('work', Ending(75, ('first try',)), Ending(0, ('a\tb\x1b[2J', 'last')))
    engine.run('r1')
    return workspace


def test_the_log_of_a_task_is_that_of_its_last_attempt(ran, logs):
    assert logs('work') == (0, 'a\tb\x1b[2J\nlast\n', '')
    assert logs('work', '--attempt', '1') == (0, 'first try\n', '')


def test_without_a_task_the_logs_are_listed_with_what_became_of_the_attempts(ran, logs):
    assert [line.split() for line in logs().lines] == [
        ['work', 'attempt', '1', '10', 'bytes', 'failed', 'state/logs/r1/work.1.log'],
        ['work', 'attempt', '2', '13', 'bytes', 'ok', 'state/logs/r1/work.2.log']]


def test_as_json_there_is_an_object_per_log_or_line(ran, logs):
    assert [json.loads(line) for line in logs('--json').lines][1] == {
        'runId': 'r1', 'task': 'work', 'attempt': 2, 'sizeBytes': 13, 'status': 'ok',
        'path': 'state/logs/r1/work.2.log'}
    assert [json.loads(line) for line in logs('work', '--json').lines] == [
        {'task': 'work', 'attempt': 2, 'line': 'a\tb\x1b[2J'},
        {'task': 'work', 'attempt': 2, 'line': 'last'}]


def test_the_latest_run_counts_unless_another_is_named(ran, engine, logs):
    engine.run('r2', wanted=Wanted(force=('work',)))

    assert logs('work') == (0, '', "note: 'work' printed nothing in run r2\n")
    assert logs() == (0, '', 'note: nothing was printed in run r2\n')
    assert logs('work', '--run', 'r1', '--attempt', '1').out == 'first try\n'


def test_a_stage_with_jobs_has_a_list_and_each_job_a_log(engine, workspace, logs):
    workspace.simple(jobs=[{'name': name, 'outputDir': f'data/{name}'} for name in 'xy'])
    engine.launcher.otherwise = engine.launcher.otherwise._replace(stdout=('hello',))
    engine.run('r1')

    assert [line.split()[0] for line in logs('work').lines] == ['work[x]', 'work[y]']
    assert logs('work[x]').out == 'hello\n'


@pytest.mark.parametrize(('args', 'said'), [
    (('wrok',), "run 'r1' has no task 'wrok', did you mean 'work'?"),
    (('r1',), "run 'r1' has no task 'r1'; the logs of that run are those of --run r1"),
    (('work', '--attempt', '3'), "run 'r1' has no attempt 3 of 'work'"),
    (('--attempt', '9'), "run 'r1' has no attempt 9"),
    (('work', '--run', 'r7'), "there is no run 'r7'; the last one is r1"),
])
def test_what_there_is_not_is_a_mistake_of_the_caller(ran, logs, args, said):
    assert logs(*args) == (2, '', f'{said}\n')


def test_before_the_first_run_there_is_nothing_to_show(workspace, logs):
    workspace.simple()

    assert logs() == (2, '', 'nothing has run yet\n')


def test_nothing_is_changed_by_looking(ran, logs):
    before = ran.tree()
    for args in ((), ('work',), ('--follow',), ('work', '--json')):
        assert logs(*args).code == 0

    assert ran.tree() == before


def test_following_what_has_ended_prints_it_and_ends(ran, logs):
    assert logs('work', '--follow').out == 'a\tb\x1b[2J\nlast\n'
    assert logs('--follow').out == '==> work attempt 2 <==\na\tb\x1b[2J\nlast\n'
    assert logs('work', '--attempt', '1', '--follow').out == 'first try\n'


def test_what_is_no_log_of_ours_is_not_listed(ran, logs):
    ran.write('state/logs/r1/notes.txt')
    ran.write('state/logs/r1/x.y.log')
    os.symlink('work.1.log', str(ran.path('state/logs/r1/work.9.log')))

    assert len(logs().lines) == 2


# -- following ----------------------------------------

def test_what_is_printed_later_is_shown_later_up_to_the_end_of_the_run(ran, logs):
    """The run is one whose lock this test holds; a thread goes on with its log, then lets go."""
    record = ran.json('state/run_r1.json')
    ran.write('state/run_r1.json', json.dumps(dict(record, state='running', endedAt=None)))
    ran.write('state/audit_r1.jsonl', '')
    path = ran.path('state/logs/r1/work.2.log')
    lock = try_lock(run_lock(str(ran.root), 'r1'))
    began = threading.Event()

    def go_on():
        began.wait(30)
        with path.open('ab') as log:
            log.write(b'more\nand no end')
        ran.write('state/logs/r1/work.3.log', 'third\n')
        lock.release()

    thread = threading.Thread(target=go_on)
    thread.start()
    began.set()
    shown = logs('--follow', '--json')
    thread.join()

    lines = [json.loads(line) for line in shown.lines]
    assert [line['line'] for line in lines if line['attempt'] == 3] == ['third']
    assert [line['line'] for line in lines if line['attempt'] == 2] in (
        [], ['a\tb\x1b[2J', 'last', 'more', 'and no end'])


@pytest.mark.slow
@pytest.mark.parametrize('at_a_time', [3_000_017, 9_000_000])
def test_a_ring_is_followed_in_the_order_in_which_it_was_printed(tmp_path, at_a_time):
    """Until more than the whole ring is printed between two looks nothing is lost."""
    line = b'%07d' + b'x' * 92 + b'\n'
    data = b''.join(line % number for number in range(300_000))
    log, follower = Log('log'), Follower('log')
    assert follower.news() == b''
    seen = []
    for start in range(0, len(data), at_a_time):
        log.write(data[start:start + at_a_time])
        seen.append(follower.news())
    log.close()
    seen.append(follower.news())

    assert b''.join(seen) == data
    assert follower.news() == b''


@pytest.mark.slow
def test_who_comes_late_sees_the_beginning_and_the_end(tmp_path):
    data = bytes(range(256)) * 50_000
    log, follower = Log('log'), Follower('log')
    log.write(data)
    first = follower.news()
    log.write(b'the end')
    log.close()

    assert first == data[:HEAD_BYTES] + b'\n... lines cut ...\n' + data[-TAIL_BYTES:]
    assert follower.news() == b'the end'


def test_a_killed_run_leaves_a_ring_that_is_shown_in_order(ran, logs):
    path = ran.path('state/logs/r1/work.2.log')
    log = Log(str(path))
    for number in range(13):
        log.write(b'%02d' % number + b'x' * (1 << 20) + b'\n')
    size = path.stat().st_size
    shown = logs('work').out
    log.close()

    assert size == HEAD_BYTES + TAIL_BYTES + len(SEAM)
    assert shown.startswith('00x') and shown.endswith('x\n')
    assert [line[:2] for line in shown.splitlines() if line[:2].isdigit()][-8:] == [
        f'{number:02d}' for number in range(5, 13)]


@pytest.mark.slow
def test_the_log_of_a_stage_is_followed_across_its_attempts(workspace):
    """A second process follows a run that tries twice, and ends with it."""
    workspace.simple('import os, sys, time\n'
                     'print("attempt", os.environ["PIPELINE_ATTEMPT"], flush=True)\n'
                     'while not os.path.exists("gate" + os.environ["PIPELINE_ATTEMPT"]):\n'
                     '    time.sleep(0.01)\n'
                     'sys.exit(0 if os.environ["PIPELINE_ATTEMPT"] == "2" else 75)\n',
                     retry={'baseDelaySec': 0.01})
    workspace.pipeline(stage(retry={'baseDelaySec': 0.01}))

    with workspace.start('--run-id', 'r1') as runner:
        try:
            wait_until(workspace.path('state/logs/r1/work.1.log').exists, 'the first line')
            with start_cli('logs', 'work', '--follow', '--pipeline', workspace.pipeline_file,
                           cwd=workspace.root) as follower:
                first = follower.stdout.readline()
                workspace.write('gate1')
                title, second = follower.stdout.readline(), follower.stdout.readline()
                workspace.write('gate2')
                rest, err = follower.communicate(timeout=60)
        finally:
            workspace.write('gate1')
            workspace.write('gate2')
            runner.communicate()

    assert [first, title, second, rest, err] == [
        b'attempt 1\n', b'==> work attempt 2 <==\n', b'attempt 2\n', b'', b'']
    assert follower.returncode == 0

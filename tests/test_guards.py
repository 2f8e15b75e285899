"""The guards around the tests bite, the fakes keep their word, the fixtures do what they say."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import guards
from fakes import Ending
from fakes import FakeClock
from fakes import FakeLauncher
from fakes import FakePerformer
from fakes import writes
from stagerunner.clock import Stop
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from support import CHECKOUT
from support import COPY
from support import FRONT_DOOR
from support import clean_environment
from support import is_alive
from support import processes_below
from support import run_process
from support import wait_until

audited = pytest.mark.skipif(not guards.HAS_AUDIT, reason='no audit events before Python 3.8')


# -- no network ----------------------------------------

@audited
@pytest.mark.parametrize('reach', [
    pytest.param(lambda s: s.connect(('127.0.0.1', 9)), id='connect'),
    pytest.param(lambda s: s.bind(('127.0.0.1', 0)), id='bind'),
    pytest.param(lambda s: socket.getaddrinfo('localhost', 9), id='look-up'),
])
def test_the_network_is_refused_and_noted(reach, watch):
    with socket.socket(socket.AF_INET) as reached, pytest.raises(guards.Trespass):
        reach(reached)

    assert watch.refused.pop().startswith('socket.')


@audited
def test_sockets_within_this_machine_are_not_the_network(tmp_path):
    with socket.socket(socket.AF_UNIX) as local:
        local.bind('local.socket')

    assert (tmp_path / 'local.socket').exists()


# -- no writing outside ----------------------------------------

@audited
@pytest.mark.parametrize('trespass', [
    pytest.param(lambda path: open(path, 'w'), id='open'),
    pytest.param(lambda path: os.open(path, os.O_CREAT | os.O_RDWR), id='os.open'),
    pytest.param(os.mkdir, id='mkdir'),
    pytest.param(lambda path: os.replace('own', path), id='replace'),
    pytest.param(os.unlink, id='unlink'),
    pytest.param(lambda path: os.symlink('own', path), id='symlink'),
])
@pytest.mark.parametrize('where', [CHECKOUT, CHECKOUT / 'tests', Path(os.sep) / 'usr'])
def test_writing_outside_is_refused_and_noted(trespass, where, watch):
    open('own', 'w').close()

    with pytest.raises(guards.Trespass):
        trespass(str(where / 'made-by-a-test'))

    assert 'made-by-a-test' in watch.refused.pop()
    assert not (where / 'made-by-a-test').exists()


@audited
def test_a_link_into_the_checkout_is_no_way_around(watch):
    os.symlink(str(CHECKOUT), 'way')

    with pytest.raises(guards.Trespass):
        open('way/made-by-a-test', 'w')

    assert watch.refused.pop()


def test_a_test_may_write_into_its_own_folder_and_read_the_checkout(tmp_path):
    with open('made', 'w') as made, open(str(FRONT_DOOR)) as source:
        made.write(source.read())

    assert (tmp_path / 'made').read_text() == FRONT_DOOR.read_text()


@pytest.mark.slow
def test_a_refusal_that_was_swallowed_fails_its_test_all_the_same(tmp_path):
    """A whole inner pytest run: the guards sit in fixtures, whose verdict only a run shows."""
    (tmp_path / 'conftest.py').write_bytes((CHECKOUT / 'tests' / 'conftest.py').read_bytes())
    (tmp_path / 'test_inner.py').write_text(
        'import socket, subprocess, threading\n'
        'def test_net():\n'
        '    with socket.socket() as s:\n'
        '        try:\n'
        '            s.connect(("127.0.0.1", 9))\n'
        '        except BaseException:\n'
        '            pass\n'
        'def test_child():\n'
        '    global child\n'
        '    child = subprocess.Popen(["sleep", "60"])\n'
        '    child.returncode = 0\n'
        'def test_thread(request):\n'
        '    import guards\n'
        '    guards.GRACE_S = 0.1\n'
        '    global gate\n'
        '    gate = threading.Event()\n'
        '    threading.Thread(target=gate.wait, daemon=True).start()\n'
        'def test_nothing():\n'
        '    gate.set()\n')

    done = run_process(sys.executable, '-m', 'pytest', '-p', 'no:cacheprovider',
                       '--rootdir', tmp_path, tmp_path, cwd=tmp_path,
                       is_measured=False, env={'PYTHONPATH': os.pathsep.join(
                           [str(CHECKOUT / 'src'), str(CHECKOUT / 'tests')])})

    assert ('refused: socket.connect' in done.out) == guards.HAS_AUDIT
    assert 'left behind: sleep 60' in done.out
    assert 'left behind: <Thread' in done.out
    assert f'4 passed, {3 if guards.HAS_AUDIT else 2} errors' in done.out
    assert 'random seed' in done.out


# -- nothing left behind ----------------------------------------

def test_a_child_that_nobody_waited_for_is_found_and_ended():
    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])

    left = guards.leaked_children()
    child.wait()

    assert len(left) == 1 and f'pid {child.pid}' in left[0]
    assert guards.leaked_children() == []


def test_a_process_that_works_in_the_folder_of_a_test_is_found(tmp_path):
    with subprocess.Popen(['sleep', '600'], cwd=str(tmp_path)) as child:
        wait_until(lambda: processes_below(tmp_path))

        assert processes_below(tmp_path) == [child.pid]
        assert is_alive(child.pid)
        child.kill()
    assert processes_below(tmp_path) == []
    assert not is_alive(child.pid)


def test_a_thread_that_goes_on_is_found(monkeypatch):
    monkeypatch.setattr(guards, 'GRACE_S', 0.05)
    before = threading.enumerate()
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()

    assert guards.new_threads(before) == [thread]
    gate.set()
    thread.join()
    assert guards.new_threads(before) == []


# -- fakes ----------------------------------------

def make_job(tmp_path, task='work', **fields):
    out = tmp_path / 'out'
    out.mkdir(exist_ok=True)
    return Job(**dict({'task': task, 'argv': ('bin/work.py',), 'cwd': str(tmp_path),
                       'env': {'PIPELINE_OUTPUT_DIR': str(out)}, 'python': sys.executable,
                       'log_path': str(tmp_path / 'logs' / 'work.log')}, **fields))


def test_a_faked_job_writes_ends_and_leaves_a_log(launcher, tmp_path):
    launcher.will('work', Ending(75, stderr=('busy',), after_s=3, does=writes({'a/b': 'text'})))

    assert launcher.start(make_job(tmp_path)) is None
    ended, = launcher.wait(None)

    assert (tmp_path / 'out' / 'a' / 'b').read_text() == 'text'
    assert ended == Exit('work', 75, 3.0, ('busy',), ('busy',), str(tmp_path / 'logs/work.log'),
                         printed_bytes=5)
    assert (tmp_path / 'logs' / 'work.log').read_text() == 'busy\n'


def test_a_faked_job_without_a_script_succeeds_at_once(launcher, clock, tmp_path):
    launcher.start(make_job(tmp_path))

    assert launcher.wait(None) == [Exit('work', 0, 0.0, (), (), '')]
    assert clock.monotonic() == FakeClock().monotonic()


def test_a_faked_job_that_cannot_start_says_so(launcher, tmp_path):
    launcher.will('work', Ending(start_error='no such file'))

    assert launcher.start(make_job(tmp_path)).start_error == 'no such file'
    assert launcher.running == {} and len(launcher.jobs_of('work')) == 1


@pytest.mark.parametrize(('ignores_stop', 'code', 'duration'), [(False, -15, 7), (True, -9, 9)])
def test_a_faked_job_runs_into_its_time_out(launcher, tmp_path, ignores_stop, code, duration):
    launcher.will('work', Ending(after_s=60, ignores_stop=ignores_stop))
    launcher.start(make_job(tmp_path, timeout_s=7, grace_s=2))

    ended = launcher.wait(None) or launcher.wait(None)

    assert ended == [Exit('work', code, duration, (), (), '', stopped='timed out')]


@pytest.mark.parametrize(('at_once', 'ignores_stop', 'code', 'duration'), [
    (False, False, -15, 4), (False, True, -9, 9), (True, True, -9, 4)])
def test_a_faked_job_is_stopped(launcher, tmp_path, at_once, ignores_stop, code, duration):
    launcher.will('work', Ending(after_s=60, ignores_stop=ignores_stop))
    launcher.start(make_job(tmp_path, grace_s=5))
    launcher.later(4, lambda: launcher.stop_all('interrupted', at_once=at_once))

    ended = launcher.wait(None) or launcher.wait(None)

    assert ended == [Exit('work', code, duration, (), (), '', stopped='interrupted')]
    assert launcher.stops == [('interrupted', at_once)]


def test_waiting_turns_the_clock_and_no_further_than_asked(launcher, clock):
    began = clock.monotonic()

    assert launcher.wait(2.5) == []

    assert clock.monotonic() == began + 2.5


def test_waiting_for_nothing_for_ever_is_a_mistake():
    with pytest.raises(AssertionError, match='nothing runs'):
        FakeLauncher().wait(None)
    with pytest.raises(AssertionError, match='nothing is under way'):
        FakePerformer().wait(None)


class AnyTask:
    """A task as far as a faked performer looks at it."""

    name = 'work'


def test_a_faked_performer_gives_the_scripted_results(clock):
    performer = FakePerformer(clock).will('work', {'status': 'failed', 'duration_s': 2})
    began = clock.monotonic()

    assert performer.start(AnyTask(), 1) is None
    first, = performer.wait(None)
    performer.start(AnyTask(), 2)
    performer.stop(at_once=False)
    second, = performer.wait(None)

    assert (first.status, second.status) == ('failed', 'interrupted')
    assert performer.started == [('work', 1), ('work', 2)] and performer.stops == [False]
    assert clock.monotonic() == began + 2


def test_a_hand_turned_clock_keeps_durations_when_the_wall_clock_is_set(clock):
    began = clock.monotonic()

    clock.set_wall(0)
    clock.advance(3)

    assert (clock.now(), clock.monotonic() - began) == (3, 3)


def test_a_list_sink_can_be_told_to_fail(sink):
    sink.fails_on, sink.error = Exit, OSError('full')

    with pytest.raises(OSError, match='full'):
        sink(Exit('work', 0, 0.0, (), (), ''))

    assert sink.kinds() == ['Exit'] and len(sink.of(Exit)) == 1


# -- fixtures ----------------------------------------

def test_a_simple_workspace_runs_in_this_process_and_as_a_process(workspace, main):
    workspace.simple(COPY)

    first = main('--pipeline', workspace.pipeline_file, '--run-id', 'one')
    second = workspace.run('--run-id', 'two')

    assert first.code == 0, first.err
    assert second.lines == ['[SKIP] work (idempotent key matched)', 'Run two state: completed']
    assert workspace.contents('data/work')['in.txt'] == b'one\ntwo\n'
    assert workspace.json('state/metrics_two.json')['skippedStages'] == 1


def test_a_run_in_a_process_can_be_watched(workspace):
    workspace.simple('import time\nopen("begun", "w").close()\ntime.sleep(600)\n')

    with workspace.start('--run-id', 'one') as runner:
        wait_until((workspace.root / 'begun').exists)
        assert runner.pid in processes_below(workspace.root)
        runner.terminate()
        _, said = runner.communicate()

    assert runner.returncode == 143, said


def test_the_environment_of_a_process_is_clean(monkeypatch):
    monkeypatch.setenv('PIPELINE_RUN_ID', 'old')
    monkeypatch.setenv('COVERAGE_PROCESS_START', 'file')
    monkeypatch.setenv('COV_CORE_SOURCE', 'src')

    assert 'PIPELINE_RUN_ID' not in clean_environment()
    assert 'COVERAGE_PROCESS_START' in clean_environment()
    assert not [name for name in clean_environment(is_measured=False) if name.startswith('COV')]
    assert clean_environment(EXTRA='1')['EXTRA'] == '1'


def test_a_condition_that_stays_false_is_named():
    with pytest.raises(AssertionError, match='the moon did not come true'):
        wait_until(lambda: False, 'the moon', timeout_s=0.01)


def test_a_stop_is_a_happening_that_ends_a_wait(launcher, clock):
    stop = Stop()
    began = clock.monotonic()
    launcher.later(3, lambda: stop.request(15))

    assert launcher.wait(60) == []

    assert stop.is_requested and clock.monotonic() == began + 3
    stop.close()

"""Tests of `stagerunner.task`: one attempt of one task, under its lock."""

from __future__ import annotations

import errno
import json
import os
from typing import Any
from typing import Dict
from typing import Optional

import pytest

from engine import Engine
from fakes import Ending
from fakes import FakeLauncher
from fakes import ListSink
from fakes import writes
from stagerunner.events import TaskRestarted
from stagerunner.events import TaskResumed
from stagerunner.events import TaskStarted
from stagerunner.events import Warned
from stagerunner.facts import Observer
from stagerunner.fingerprint import Digests
from stagerunner.holds import Holds
from stagerunner.launch.job import INTERRUPTED
from stagerunner.launch.job import TIMED_OUT
from stagerunner.launch.job import Exit
from stagerunner.launch.job import Job
from stagerunner.ledger import Ledger
from stagerunner.locks import stage_lock
from stagerunner.locks import try_lock
from stagerunner.permits import Permits
from stagerunner.permits import Rates
from stagerunner.result import BROKEN
from stagerunner.result import BUSY
from stagerunner.result import DONE
from stagerunner.result import SKIPPED
from stagerunner.result import STOPPED
from stagerunner.result import Result
from stagerunner.result import error_of
from stagerunner.resume import LEFT_OVER
from stagerunner.retry import PERMANENT
from stagerunner.retry import TRANSIENT
from stagerunner.retry import UNKNOWN
from stagerunner.task import Attempts
from stagerunner.task import Setting
from stagerunner.tasks import make_groups
from stagerunner.tasks import make_tasks
from stagerunner.workspace import load
from support import Workspace
from support import stage

pytestmark = pytest.mark.unit

CHECKPOINT = {'checkpoint': {'enabled': True, 'lineInterval': 7}}


class Bench:
    """Attempts at the one stage of a workspace, with a launcher that starts no process."""

    def __init__(self, workspace: Workspace, launcher: FakeLauncher, sink: ListSink):
        self.workspace = workspace
        self.launcher = launcher
        self.sink = sink
        self.lock_path = stage_lock(str(workspace.root), 'work')

    def make(self) -> Attempts:
        """Return new attempts, as a new run has them; `self.task` is their task."""
        root = str(self.workspace.root)
        groups = make_groups(load(str(self.workspace.pipeline_file)))
        self.group = groups[0]
        self.task = self.group.task(0)
        digests = Digests(os.path.join(root, 'state', 'index.json'), self.launcher.clock)
        return Attempts(
            Setting(root, 'r1', '/usr/bin/python9', {'HOME': '/h'}, {'pid': 7, 'runId': 'r1'}),
            Observer(root, digests, '3.9', {}, Ledger(root)), self.launcher,
            self.launcher.clock, self.sink, groups,
            Holds(root, Permits(root, self.launcher.clock, Rates()), self.launcher.clock,
                  {'pid': 7, 'runId': 'r1'}))

    def attempt(self, ending: Optional[Ending] = None, number: int = 1) -> Result:
        """Make one attempt, of which the process ends like this."""
        attempts = self.make()
        if ending:
            self.launcher.will('work', ending)
        try:
            result = attempts.start(self.task, number)
            while result is None:
                result = next(iter(attempts.wait(None)), None)
            attempts.finish(self.group, is_ok=result.status in (DONE, SKIPPED))
            return result
        finally:
            attempts.close()

    def is_free(self) -> bool:
        """True when nobody holds the lock of the stage."""
        lock = try_lock(self.lock_path)
        if lock:
            lock.release()
        return lock is not None

    def warnings(self):
        return [event.message for event in self.sink.of(Warned)]

    def published(self) -> Dict[str, bytes]:
        return self.workspace.contents('data/work')


@pytest.fixture
def bench(workspace: Workspace, launcher: FakeLauncher, sink: ListSink) -> Bench:
    return Bench(workspace.simple(), launcher, sink)


WRITES = Ending(does=writes({'out.txt': 'made'}), after_s=2.5)


# -- success ----------------------------------------

def test_a_success_is_published_and_told_in_full(bench):
    result = bench.attempt(WRITES, number=2)

    assert (result.status, result.attempt, result.code, result.duration_s) == (DONE, 2, 0, 2.5)
    assert result.started_at == '2023-11-14T22:13:20.000000+00:00'
    assert result.done_at == '2023-11-14T22:13:22.500000+00:00'
    assert [str(reason) for reason in result.reasons] == ['never ran']
    assert bench.workspace.read('data/work/out.txt') == 'made'
    assert sorted(bench.published()) == ['.work.done', 'out.txt']


def test_the_marker_says_what_was_made_of_what(bench):
    result = bench.attempt(WRITES)

    marker = bench.workspace.json('data/work/.work.done')
    assert marker['outputDir'] == 'data/work'
    assert (marker['task'], marker['key'], marker['runId'], marker['doneAt'], marker['staged'],
            marker['durationSec']) == ('work', result.key, 'r1', result.done_at, True, 2.5)
    assert [(entry['path'], entry['size']) for entry in marker['outputs']] == [('out.txt', 4)]


def test_the_job_is_told_all_that_the_contract_promises(bench):
    bench.workspace.simple(timeoutSec=60, graceSec=3, params={'b': 1}, env={'MINE': 'x'})
    result = bench.attempt(WRITES)

    job = bench.launcher.jobs[0]
    root = str(bench.workspace.root)
    assert job.argv == ('bin/work.py', 'data/input/in.txt') and job.cwd == root
    assert (job.python, job.timeout_s, job.grace_s) == ('/usr/bin/python9', 60, 3)
    assert [path for path, _ in job.pinned] == [f'{root}/bin/work.py']
    assert job.log_path == f'{root}/state/logs/r1/work.1.log'
    assert job.env['HOME'] == '/h' and job.env['MINE'] == 'x'
    assert {name: value for name, value in job.env.items() if name.startswith('PIPELINE_')} == {
        'PIPELINE_RUN_ID': 'r1', 'PIPELINE_STAGE_NAME': 'work', 'PIPELINE_ATTEMPT': '1',
        'PIPELINE_OUTPUT_DIR': f'{root}/data/work/.work.partial',
        'PIPELINE_PUBLISHED_DIR': f'{root}/data/work', 'PIPELINE_LINE_OFFSET': '0',
        'PIPELINE_LINE_INTERVAL': '50', 'PIPELINE_PARAMS': '{"b": 1}', 'PIPELINE_ROOT': root,
        'PIPELINE_PROGRESS_PATH': f'{root}/state/progress_work.json',
        'PIPELINE_RETRY_PATH': f'{root}/state/retry_work.json',
        'PIPELINE_IDEMPOTENCY_KEY': result.key}


def test_a_program_is_started_without_an_interpreter(bench):
    bench.workspace.simple(processor='bin/work.sh')
    bench.workspace.processor('#!/bin/sh\n', 'bin/work.sh')

    bench.attempt()

    assert bench.launcher.jobs[0].python is None


def test_the_lock_is_handed_down_noted_and_given_back(bench):
    seen: Dict[str, Any] = {}

    def look(job: Job) -> None:
        seen['inherited'] = os.fstat(job.inherited[0]).st_ino
        seen['free'] = bench.is_free()

    bench.launcher.later(0.5, lambda: seen.update(
        note=bench.workspace.json('locks/work.lock.json')))
    bench.attempt(Ending(does=look, after_s=1))

    assert seen['inherited'] == os.stat(bench.lock_path).st_ino
    assert seen['free'] is False and bench.is_free()
    assert seen['note'] == {'pid': 7, 'runId': 'r1', 'task': 'work',
                            'since': '2023-11-14T22:13:20.000000+00:00'}


# -- skip and busy ----------------------------------------

def test_what_is_done_is_skipped_without_a_launch(bench):
    done = bench.attempt(WRITES)

    result = bench.attempt()

    assert (result.status, result.key, result.done_at) == (SKIPPED, done.key, done.done_at)
    assert len(bench.launcher.jobs) == 1 and bench.is_free()


def test_a_skip_clears_away_what_a_killed_attempt_left(bench):
    bench.attempt(WRITES)
    bench.workspace.write('data/work/.work.partial/left')

    assert bench.attempt().status == SKIPPED
    assert sorted(bench.published()) == ['.work.done', 'out.txt']


def test_where_nothing_that_starts_processors_can_be_started_the_attempt_fails_and_says_why(bench):
    """Bug: without /dev/null, as in a bare chroot, a run ended as a bug of the runner."""
    bench.launcher.no_fence = FileNotFoundError(
        errno.ENOENT, 'No such file or directory', os.devnull)

    result = bench.attempt()

    assert (result.status, result.exit_code, result.error_class) == (BROKEN, 1, 'permanent')
    assert result.error == (f'bin/work.py cannot be started: {os.devnull}, the stdin of '
                            'processors, cannot be opened (no such file or directory)')
    assert not bench.published()


def test_a_locked_stage_is_busy_and_the_holder_is_named(bench):
    holder = try_lock(bench.lock_path)
    holder.note({'pid': 4121, 'host': 'build-3', 'since': 'noon', 'runId': 'r0'})
    try:
        result = bench.attempt()
    finally:
        holder.release()

    assert result.status == BUSY and not bench.launcher.jobs
    assert result.error == 'held by pid 4121 on build-3 since noon, run r0'


def test_a_locked_stage_that_is_done_is_skipped_all_the_same(bench):
    bench.attempt(WRITES)
    holder = try_lock(bench.lock_path)
    try:
        assert bench.attempt().status == SKIPPED
    finally:
        holder.release()


# -- before the launch ----------------------------------------

def test_a_forbidden_import_fails_without_a_launch(bench):
    bench.workspace.processor('import socket\n')

    result = bench.attempt()

    assert (result.status, result.error_class, result.code) == (BROKEN, PERMANENT, None)
    assert result.error == "Offline violation: forbidden import 'socket' (bin/work.py:1)"
    assert not bench.launcher.jobs and bench.sink.events == [] and bench.is_free()


def test_a_glob_without_matches_is_one_warning_and_no_argument(bench):
    bench.workspace.simple(inputs=['data/none/*'])

    bench.attempt()

    assert bench.warnings() == ["input 'data/none/*' matches no file"]
    assert bench.launcher.jobs[0].argv == ('bin/work.py',)


def test_unreadable_state_is_set_aside_and_the_work_is_done_again(bench):
    bench.workspace.simple(**CHECKPOINT)
    for name in ('data/work/.work.done', 'state/progress_work.json',
                 'state/checkpoint_work.json'):
        bench.workspace.write(name, 'not json')

    assert bench.attempt(WRITES).status == DONE

    said = 'not valid JSON at line 1 column 1: Expecting value; it was set aside as '
    assert sorted(bench.warnings()) == [
        f'data/work/.work.done: {said}.work.done.corrupt-1 and the work is done again',
        f'state/checkpoint_work.json: {said}checkpoint_work.json.corrupt-1 and the work is '
        f'done again',
        f'state/progress_work.json: {said}progress_work.json.corrupt-1 and the work is '
        f'done again']
    for name in ('data/work/.work.done', 'state/progress_work.json',
                 'state/checkpoint_work.json'):
        assert bench.workspace.read(f'{name}.corrupt-1') == 'not json'


def test_a_marker_that_was_set_aside_is_no_output(bench):
    """Its time of change made it look like something that the processor wrote directly."""
    bench.workspace.write('data/work/.work.done', 'not json')

    bench.attempt(Ending())

    assert len(bench.warnings()) == 1
    assert bench.workspace.json('data/work/.work.done')['outputs'] == []


def test_an_error_before_the_launch_gives_the_lock_back(bench):
    bench.sink.fails_on, bench.sink.error = TaskStarted, ValueError('a bug')

    with pytest.raises(ValueError):
        bench.attempt()

    assert bench.is_free()


# -- failure ----------------------------------------

def half(job: Job) -> None:
    """Write half an output."""
    writes({'out.txt': 'half', 'new.txt': 'x'})(job)


FAILURES = [
    pytest.param(Ending(exit_code=3, does=half), 'exit code 3', UNKNOWN, id='exit code'),
    pytest.param(Ending(exit_code=75, does=half), 'exit code 75', TRANSIENT, id='transient'),
    pytest.param(Ending(exit_code=65, does=half), 'exit code 65', PERMANENT, id='permanent'),
    pytest.param(Ending(exit_code=-9, does=half), 'killed by signal 9', TRANSIENT, id='killed'),
    pytest.param(Ending(exit_code=-11, does=half), 'killed by signal 11', PERMANENT,
                 id='crashed'),
    pytest.param(Ending(exit_code=1, stderr=('a', 'connection reset'), does=half),
                 'exit code 1\na\nconnection reset', TRANSIENT, id='last lines decide'),
    pytest.param(Ending(start_error='no such file or directory'),
                 'bin/work.py cannot be started: no such file or directory', PERMANENT,
                 id='not started'),
    pytest.param(Ending(does=lambda job: os.mkfifo(job.env['PIPELINE_OUTPUT_DIR'] + '/out.txt')),
                 "output 'out.txt' is not a file", PERMANENT, id='a pipe'),
    pytest.param(Ending(does=writes({'.work.done': '{}'})),
                 "output '.work.done' has a name that belongs to the runner", PERMANENT,
                 id='a name of the runner'),
    pytest.param(Ending(does=writes({'out.txt/x': ''})),
                 "output 'out.txt/x' needs a folder where 'out.txt' is a file", PERMANENT,
                 id='no room'),
    pytest.param(Ending(does=writes({'other.txt': ''})),
                 "exited with 0 but did not write its output 'out.txt'", PERMANENT,
                 id='declared output missing'),
]


@pytest.mark.parametrize('ending, error, error_class', FAILURES)
def test_a_failure_leaves_the_output_folder_as_it_was(bench, ending, error, error_class):
    bench.workspace.simple(outputs=['out.txt'])
    assert bench.attempt(WRITES).status == DONE
    bench.workspace.write('data/input/in.txt', 'changed')
    before = bench.workspace.tree('data/work')

    result = bench.attempt(ending)

    assert (result.status, result.error, result.error_class) == (BROKEN, error, error_class)
    assert bench.workspace.tree('data/work') == before and bench.is_free()


def test_a_failure_names_its_log_and_keeps_its_last_lines(bench):
    result = bench.attempt(Ending(exit_code=1, stdout=('so far',), stderr=('boom',)))

    assert result.log == 'state/logs/r1/work.1.log' and result.tail == ('so far', 'boom')
    assert bench.workspace.read(result.log) == 'so far\nboom\n'


def test_silence_leaves_no_log(bench):
    assert bench.attempt(Ending(exit_code=1)).log == ''
    assert not bench.workspace.path('state/logs').exists()


def test_a_time_out_is_transient_and_says_after_how_long(bench):
    bench.workspace.simple(timeoutSec=2.5)

    result = bench.attempt(Ending(after_s=60, stderr=('working',)))

    assert (result.error, result.error_class) == ('timed out after 2.5s\nworking', TRANSIENT)
    assert result.duration_s == 2.5


def test_a_full_disk_is_a_matter_of_the_operator(bench):
    result = bench.attempt(Ending(exit_code=1, stderr=(
        'OSError: [Errno 28] No space left on device',)))

    assert result.exit_code == 5 and result.status == BROKEN


def test_an_attempt_that_was_asked_to_end_is_interrupted(bench):
    attempts = bench.make()
    bench.launcher.will('work', Ending(after_s=60, does=half))
    assert attempts.start(bench.task, 1) is None

    attempts.stop(at_once=False)
    result = attempts.wait(None)[0]
    attempts.finish(bench.group, is_ok=False)

    assert bench.launcher.stops == [(INTERRUPTED, False)]
    assert (result.status, result.error, result.code) == (STOPPED, 'interrupted', -15)
    assert bench.published() == {} and bench.is_free()


def test_a_marker_that_cannot_take_its_place_is_a_fault_of_the_state(bench):
    def in_the_way(job: Job) -> None:
        half(job)
        os.mkdir(os.path.join(job.env['PIPELINE_PUBLISHED_DIR'], '.work.done'))

    result = bench.attempt(Ending(does=in_the_way))

    assert (result.status, result.exit_code, result.error_class) == (BROKEN, 5, PERMANENT)
    assert '.work.done: is a directory' in result.error


class Meddler(ListSink):
    """Changes an output between two looks at it: when the warning about it is told."""

    def __init__(self, change: Any):
        super().__init__()
        self.change = change

    def receive(self, event: Any) -> None:
        super().receive(event)
        if isinstance(event, Warned):
            self.change()


@pytest.mark.parametrize('makes_pipe, error, error_class', [
    (True, 'data/work/out.txt: is not a regular file', PERMANENT),
    (False, 'data/work/out.txt vanished while it was being published', TRANSIENT)])
def test_an_output_that_somebody_takes_away_is_an_ordinary_failure(
        workspace, launcher, makes_pipe, error, error_class):
    """That a file vanished was once reported as a bug of the runner."""
    out = workspace.path('data/work/out.txt')

    def meddle() -> None:
        out.unlink()
        if makes_pipe:
            os.mkfifo(str(out))

    bench = Bench(workspace.simple(), launcher, Meddler(meddle))
    result = bench.attempt(Ending(does=lambda job: out.write_text('x') and None))

    assert len(bench.warnings()) == 1
    assert (result.status, result.error_class) == (BROKEN, error_class)
    assert result.error.endswith(error)


# -- inputs that do not hold still ----------------------------------------

def edit(job: Job) -> None:
    """Rewrite the input and put it back as it was: only its time of change tells."""
    path = os.path.join(job.cwd, 'data/input/in.txt')
    before = os.stat(path)
    for content in (b'other bytes', b'one\ntwo\n'):
        with open(path, 'wb') as rewritten:
            rewritten.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    writes({'out.txt': 'from who knows what'})(job)


def test_what_came_from_an_input_that_changed_is_not_published(bench):
    result = bench.attempt(Ending(does=edit))

    assert (result.status, result.error_class) == (BROKEN, TRANSIENT)
    assert result.error == ('input data/input/in.txt changed while its stage ran; '
                            'stop what writes it or give the stage a copy')
    assert bench.published() == {}


def commits(line: int, text: str):
    """Return work that commits a line and the bytes it became."""
    def work(job: Job) -> None:
        writes({'r.txt': text})(job)
        with open(job.env['PIPELINE_PROGRESS_PATH'], 'w') as progress:
            json.dump({'lineOffset': line, 'outputs': {'r.txt': len(text)}}, progress)
    return work


@pytest.mark.parametrize('exit_code', [0, 75])
def test_partial_outputs_of_an_input_that_changed_are_not_resumed(bench, exit_code):
    """The input was put back, so the key is the same: they once went into the next result."""
    def work(job: Job) -> None:
        commits(1, 'wrong')(job)
        edit(job)

    bench.workspace.simple(**CHECKPOINT)
    assert bench.attempt(Ending(exit_code=exit_code, does=work)).status == BROKEN

    assert bench.attempt(WRITES).status == DONE

    assert [job.env['PIPELINE_LINE_OFFSET'] for job in bench.launcher.jobs] == ['0', '0']
    assert sorted(bench.published()) == ['.work.done', 'out.txt']


# -- going on ----------------------------------------

@pytest.fixture
def stopped(bench: Bench) -> Bench:
    """Return a bench whose stage was stopped after line 150, with 4 bytes committed."""
    bench.workspace.simple(**CHECKPOINT)
    bench.attempt(Ending(exit_code=75, does=commits(150, 'abcd')))
    with open(str(bench.workspace.path('data/work/.work.partial/r.txt')), 'a') as partial:
        partial.write(' not committed')
    del bench.sink.events[:]
    return bench


def test_the_next_attempt_goes_on_with_outputs_cut_back(stopped):
    seen: Dict[str, Any] = {}

    def look(job: Job) -> None:
        seen.update(stopped.workspace.contents('data/work/.work.partial'))
        seen['record'] = stopped.workspace.json('state/checkpoint_work.json')

    result = stopped.attempt(Ending(does=look), number=2)

    job = stopped.launcher.jobs[-1]
    assert job.env['PIPELINE_LINE_OFFSET'] == '150' and job.env['PIPELINE_LINE_INTERVAL'] == '7'
    record = seen.pop('record')
    assert len(record.pop('inputs')) == 64
    assert record == {
        'format': 1, 'lineOffset': 150, 'key': result.key, 'attempt': 2, 'runId': 'r1',
        'privateDir': 'data/work/.work.partial', 'finished': False}
    assert seen == {'r.txt': b'abcd'}
    assert stopped.sink.of(TaskResumed) == [TaskResumed('work', 150, '')]
    assert (result.status, result.line_offset, result.is_verified) == (DONE, 150, True)


def test_going_on_without_lengths_is_told_and_recorded(stopped):
    stopped.workspace.write('state/progress_work.json', '{"lineOffset": 150}')

    result = stopped.attempt()

    assert stopped.sink.of(TaskResumed) == [
        TaskResumed('work', 150, "outputs not verified: progress has no 'outputs'")]
    assert result.is_verified is False
    assert stopped.workspace.read('data/work/r.txt') == 'abcd not committed'


def test_outputs_without_lengths_are_not_gone_on_with_once_they_began_to_move(stopped):
    """Nobody could tell which of them are in their place already."""
    def in_the_way(job: Job) -> None:
        os.mkdir(os.path.join(job.env['PIPELINE_PUBLISHED_DIR'], '.work.done'))

    stopped.workspace.write('state/progress_work.json', '{"lineOffset": 150}')
    assert stopped.attempt(Ending(does=in_the_way)).exit_code == 5
    del stopped.sink.events[:]

    stopped.attempt()

    assert stopped.sink.of(TaskRestarted) == [TaskRestarted('work', LEFT_OVER)]
    assert stopped.launcher.jobs[-1].env['PIPELINE_LINE_OFFSET'] == '0'


def test_who_was_done_and_runs_again_starts_anew_without_a_word(stopped):
    """Bug: at every ordinary re-run a note said that there was something left over."""
    stopped.attempt(Ending(does=commits(300, 'abcdefgh')))
    stopped.workspace.write('data/input/in.txt', 'other')

    stopped.attempt()

    assert stopped.launcher.jobs[-1].env['PIPELINE_LINE_OFFSET'] == '0'
    assert not stopped.sink.of(TaskRestarted)


def test_who_removes_the_marker_is_told_that_there_is_nothing_to_go_on_with(stopped):
    stopped.attempt(Ending(does=commits(300, 'abcdefgh')))
    stopped.workspace.path('data/work/.work.done').unlink()

    stopped.attempt()

    assert stopped.sink.of(TaskRestarted) == [TaskRestarted('work', LEFT_OVER)]


def test_after_a_success_the_record_keeps_the_total(stopped):
    result = stopped.attempt(Ending(does=commits(300, 'abcdefgh')))

    record = stopped.workspace.json('state/checkpoint_work.json')
    assert (record['lineOffset'], record['finished'], result.total_lines) == (300, True, 300)


def test_what_cannot_be_gone_on_with_restarts_and_says_why(stopped):
    stopped.workspace.write('data/input/in.txt', 'other')

    stopped.attempt()

    why = 'its inputs, processor or parameters changed since its progress was made'
    assert stopped.sink.of(TaskRestarted) == [TaskRestarted('work', why)]
    assert stopped.launcher.jobs[-1].env['PIPELINE_LINE_OFFSET'] == '0'
    assert 'r.txt' not in stopped.published()


def test_an_interrupted_attempt_can_be_gone_on_with(bench):
    bench.workspace.simple(**CHECKPOINT)
    attempts = bench.make()
    bench.launcher.will('work', Ending(after_s=60, does=commits(7, 'x')))
    attempts.start(bench.task, 1)
    attempts.stop(at_once=True)
    assert attempts.wait(None)[0].status == STOPPED
    attempts.close()

    assert bench.attempt().line_offset == 7


def test_without_checkpointing_a_failure_leaves_nothing_to_go_on_with(bench):
    bench.attempt(Ending(exit_code=75, does=commits(150, 'abcd')))

    assert not bench.workspace.path('data/work/.work.partial').exists()


# -- what an end means ----------------------------------------

@pytest.mark.parametrize('ended, expected', [
    pytest.param(Exit('work', 0, 1.0, ('warning',), (), ''), ('', ''), id='success'),
    pytest.param(Exit('work', 0, 1.0, (), (), '', stopped=TIMED_OUT),
                 ('timed out after 7200s', TRANSIENT), id='exit 0 when asked after its time'),
    pytest.param(Exit('work', 127, 0.0, (), (), '', start_error='too long'),
                 ('bin/work.py cannot be started: too long', PERMANENT), id='not started'),
    pytest.param(Exit('work', 2, 1.0, ('a', 'b'), (), ''), ('exit code 2\na\nb', UNKNOWN),
                 id='lines at the end'),
    pytest.param(Exit('work', -15, 1.0, (), (), ''), ('killed by signal 15', TRANSIENT),
                 id='signal'),
])
def test_the_end_of_a_process_becomes_an_error_and_its_class(workspace, ended, expected):
    workspace.simple(timeoutSec=7200)
    task = make_tasks(load(str(workspace.pipeline_file)))[0]

    assert error_of(task, ended) == expected


# -- what was just published ----------------------------------------

def test_a_link_that_was_just_published_is_read_for_what_it_leads_to(engine: Engine):
    """Its target's name was once taken for its content, and the next stage skipped wrongly."""
    def makes(content: str):
        def work(job: Job) -> None:
            writes({'v1': content})(job)
            os.symlink('v1', os.path.join(job.env['PIPELINE_OUTPUT_DIR'], 'latest'))
        return Ending(does=work)

    workspace = engine.workspace.simple()
    workspace.pipeline(stage('first'), stage('second', inputs=['data/first/latest']))
    engine.launcher.will('first', makes('1'), makes('2'))
    engine.run()
    assert workspace.read('data/second/latest') == '1'

    workspace.write('data/input/in.txt', 'changed')
    engine.run()
    assert workspace.read('data/second/latest') == '2'

    engine.run()
    assert engine.skipped() == ['first', 'second']

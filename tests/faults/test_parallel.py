"""Many tasks at once: killed, edited, failing, in part, beside one another; nothing is lost."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any
from typing import Dict
from typing import List

import pytest

from engine import Engine
from engine import copies
from fakes import Ending
from fakes import FakeLauncher
from fakes import writes
from faults.graphs import Graph
from faults.graphs import differences
from faults.graphs import edits
from faults.graphs import work
from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import kill
from faults.harness import kill_all
from faults.harness import leftovers
from faults.harness import need_linux
from faults.harness import sizes
from faults.harness import unparsable
from stagerunner.events import TaskBlocked
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import Warned
from stagerunner.launch.job import Job
from stagerunner.selection import Wanted
from support import PATIENCE_S
from support import Finished
from support import Workspace
from support import processes_below

#: Writes what it read behind its own name; leaves one line in `executed` for each time it ran.
STEP = '''\
import os
import sys

env = os.environ
lines = []
for path in sys.argv[1:]:
    with open(path) as file:
        lines += file.read().splitlines()
if 'bad' in lines:
    print('this one is bad', file=sys.stderr)
    sys.exit(65)
name = env.get('PIPELINE_ITEM_ID', env['PIPELINE_STAGE_NAME'] + '.txt')
with open(os.path.join(env['PIPELINE_OUTPUT_DIR'], name), 'w') as out:
    for line in lines:
        out.write(env['PIPELINE_STAGE_NAME'] + ' ' + line + '\\n')
log = os.open(os.path.join(env['PIPELINE_ROOT'], 'executed'),
              os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
task = env['PIPELINE_STAGE_NAME'] + ' ' + env.get('PIPELINE_ITEM_ID', '')
os.write(log, (task.strip() + '\\n').encode())
os.close(log)
'''


def make_papers(root: Path, n_items: int, **keys: Any) -> Workspace:
    """Make a workspace of so many papers, three stages for each, and one that gathers."""
    workspace = Workspace(root)
    workspace.processor(STEP, 'bin/step.py')
    for number in range(n_items):
        workspace.write(paper(number), f'text {number}\n')

    def stage(name: str, source: str, **more: Any) -> Dict[str, Any]:
        return dict({'name': name, 'processor': 'bin/step.py', 'inputs': [source],
                     'outputDir': f'data/{name}'}, **more)

    workspace.pipeline(
        stage('clean', '{item.path}', forEach='papers', **keys),
        stage('score', 'data/clean/{item.id}', forEach='papers', **keys),
        stage('judge', 'data/score/{item.id}', forEach='papers', **keys),
        stage('gather', 'data/judge/*.txt'),
        items={'papers': {'glob': 'data/input/*.txt'}})
    return workspace


def paper(number: int) -> str:
    """Return the path of a paper."""
    return f'data/input/p{number:04}.txt'


def published(workspace: Workspace) -> Dict[str, bytes]:
    """Return what people see below `data`."""
    return {name: data for name, data in workspace.contents('data').items()
            if '/.' not in name}


def executed(workspace: Workspace) -> List[str]:
    """Return what was executed to its end since last asked, sorted: `stage item`."""
    log = workspace.path('executed')
    lines = sorted(log.read_text().splitlines()) if log.exists() else []
    log.write_text('')
    return lines


def events(done: Finished, kind: str) -> List[Dict[str, Any]]:
    """Return the events of one kind of a run with `--json`."""
    return [event for event in map(json.loads, done.lines) if event['event'] == kind]


def metrics(workspace: Workspace, run_id: str) -> Dict[str, Any]:
    """Return the rows of the metrics of a run, by stage."""
    rows = workspace.json(f'state/metrics_{run_id}.json')['stages']
    return {row['stage']: row for row in rows}


def check_all_done(install: Install, workspace: Workspace) -> None:
    """Assert that one more run starts nothing, warns of nothing, and repairs nothing."""
    executed(workspace)
    again = install.run(workspace, '--json')
    assert again.code == 0 and again.err == '', again
    assert not events(again, 'task_started') and executed(workspace) == []
    assert not leftovers(workspace), leftovers(workspace)


# -- kill -9 ---------------------------------------------------------------------------

@sizes(2, 50)
@pytest.mark.integration
def test_a_killed_run_of_many_goes_on_where_it_was(size: int, tmp_path: Path,
                                                   install: Install) -> None:
    """A round starts from nothing, is killed one to four times, and is then left in peace."""
    need_linux()
    rng = random.Random(f'{SEED} parallel')
    tally = Tally('kill-parallel', SEED)
    n_items = 200 if size == 50 else 5
    sequential = make_papers(tmp_path / 'sequential', n_items)
    assert install.run(sequential).code == 0
    golden = published(sequential)
    workspace = make_papers(tmp_path / 'w', n_items)
    began = time.monotonic()
    assert install.run(workspace, '--max-workers', 4).code == 0
    duration_s = time.monotonic() - began
    assert published(workspace) == golden
    while tally.n < size:
        for name in ('state', 'locks', 'data/clean', 'data/score', 'data/judge', 'data/gather'):
            shutil.rmtree(str(workspace.path(name)), ignore_errors=True)
        for _ in range(rng.randint(1, 4)):
            _kill_once(install, workspace, rng.uniform(0.1, 0.9) * duration_s, tally, golden)
            if tally.n == size:
                break
        done = install.run(workspace, '--max-workers', 4)
        assert (done.code, done.err) == (0, ''), done
        assert published(workspace) == golden
        check_all_done(install, workspace)
    tally.conclude()


def _kill_once(install: Install, workspace: Workspace, after_s: float, tally: Tally,
               golden: Dict[str, bytes]) -> None:
    """Kill a run after a while; whatever is there then is whole, and the journals can be read."""
    process = install.start(workspace, '--max-workers', 4)
    # A moment by the clock: whatever is going on then is what gets killed.
    time.sleep(after_s)
    pids = [process.pid, *processes_below(workspace.root)]
    random.Random(after_s).shuffle(pids)
    for pid in pids:
        kill(pid)
    process.wait(PATIENCE_S)
    kill_all(workspace)
    if process.returncode >= 0:
        return
    with tally.trial(f'kill {tally.n + 1}') as trial:
        trial.fired()
        for name, data in published(workspace).items():
            assert data == golden[name], f'{name} is not whole'
        assert not unparsable(workspace)
        for journal in workspace.path('state').glob('items_*.jsonl'):
            for line in journal.read_bytes().split(b'\n')[:-1]:
                json.loads(line.decode('ascii'))


# -- plan and run ----------------------------------------------------------------------

@sizes(6, 200)
def test_what_a_plan_announces_is_what_a_run_does(size: int, tmp_path: Path) -> None:
    """What is `maybe` may run or not; a plan after the run says that all is done."""
    tally = Tally('graphs', SEED)
    tally.notes['runs'] = tally.notes['maybe'] = 0
    for number in range(size):
        rng = random.Random(f'{SEED} graph {number}')
        graph = Graph(Workspace(tmp_path / f'g{number}'), rng)
        graph.make()
        engine = Engine(graph.workspace, FakeLauncher())
        engine.launcher.otherwise = Ending(does=work)
        with tally.trial(f'graph {number}') as trial:
            trial.fired()
            _check_plan(engine, 'first', tally, rng)
            for _ in range(4):
                _edit_and_check(engine, graph, tally)
        engine.close()
    tally.conclude()


def _edit_and_check(engine: Engine, graph: Graph, tally: Tally) -> None:
    known = edits(graph)
    names = graph.rng.sample(sorted(known), graph.rng.randint(1, 3))
    for name in names:
        known[name]()
    if graph.rng.random() < 0.4:
        _fail_some(engine, tally, graph.rng)
    _check_plan(engine, ', '.join(names), tally, graph.rng)


def _fail_some(engine: Engine, tally: Tally, rng: random.Random) -> None:
    """Let some tasks fail and go on: each task is done, failed or blocked, none is left out."""
    engine.plan()
    pending = sorted(task for task, decision in engine.planned().items()
                     if decision != 'skip' and not task.endswith('[*]'))
    bad = rng.sample(pending, min(len(pending), 2))
    for task in bad:
        engine.launcher.will(task, Ending(exit_code=65))
    workers = rng.choice([1, 3])

    code = engine.run(workers=workers, keeps_going=True)

    engine.launcher.script.clear()
    failed = [event.task for event in engine.sink.of(TaskFailed)]
    done = {event.task for event in engine.sink.of(TaskDone)}
    blocked = {event.task for event in engine.sink.of(TaskBlocked)}
    assert code == (1 if failed else 0) and set(failed) <= set(bad), (code, failed, bad, workers)
    assert bool(blocked) <= bool(failed) and not engine.sink.of(TaskCancelled)
    assert sorted([*failed, *done]) == sorted(engine.ran())
    assert not blocked & {*engine.ran(), *engine.skipped()}
    tally.notes['failed'] = tally.notes.get('failed', 0) + len(failed)


def _check_plan(engine: Engine, what: str, tally: Tally, rng: random.Random) -> None:
    engine.plan()
    planned = engine.planned()
    workers = rng.choice([1, 3])

    code = engine.run(workers=workers)

    found = differences(planned, engine.ran(), engine.skipped())
    assert (code, found) == (0, []), (what, workers, code, found, planned, engine.ran(),
                                      engine.sink.events[-4:])
    tally.notes['runs'] += len(engine.ran())
    tally.notes['maybe'] += sum(decision == 'maybe' for decision in planned.values())
    engine.plan()
    left = {task: decision for task, decision in engine.planned().items() if decision != 'skip'}
    assert not left, (what, workers, left)


# -- failures --------------------------------------------------------------------------

@sizes(5, 500)
@pytest.mark.integration
def test_of_many_items_one_fails_and_is_the_only_one_that_is_done_again(
        size: int, tmp_path: Path, install: Install) -> None:
    workspace = make_papers(tmp_path / 'w', size)
    bad = 37 if size == 500 else 3
    workspace.write(paper(bad), 'bad\n')
    ids = [paper(number).rpartition('/')[2] for number in range(size)]
    stages = ['clean', 'score', 'judge']
    flags = ['--keep-going', '--max-workers', 4, '--json']

    done = install.run(workspace, *flags, '--run-id', 'r1')

    assert done.code == 1
    rows = metrics(workspace, 'r1')
    assert rows['clean']['tasks'] == {'total': size, 'ok': size - 1, 'failed': 1}
    assert rows['score']['tasks'] == {'total': size, 'ok': size - 1, 'blocked': 1}
    assert rows['judge']['tasks'] == {'total': size, 'ok': size - 1, 'blocked': 1}
    assert [row['status'] for row in rows.values()] == ['failed'] + ['blocked'] * 3
    assert executed(workspace) == sorted(f'{stage} {name}' for stage in stages for name in ids
                                         if name != ids[bad])
    assert workspace.json('state/run_r1.json')['state'] == 'failed'

    again = install.run(workspace, *flags)

    assert again.code == 1 and executed(workspace) == []
    assert [event['task'] for event in events(again, 'task_started')] == [f'clean[{ids[bad]}]']

    for content in ('mended\n', 'edited\n'):
        workspace.write(paper(bad), content)
        assert install.run(workspace, *flags).code == 0
        assert executed(workspace) == sorted(
            ['gather', *(f'{stage} {ids[bad]}' for stage in stages)])
    check_all_done(install, workspace)


@pytest.mark.slow
@pytest.mark.integration
def test_a_failed_run_of_many_ends_with_its_first_failure(tmp_path: Path,
                                                          install: Install) -> None:
    workspace = make_papers(tmp_path / 'w', 3)
    workspace.write(paper(1), 'bad\n')

    done = install.run(workspace, '--keep-going', '--max-workers', 4, '--run-id', 'r1')

    assert done.code == 1
    assert done.err.splitlines() == ['first failure: clean[p0001.txt]: exit code 65',
                                     'log: state/logs/r1/clean[p0001.txt].1.log',
                                     '  | this one is bad']
    assert done.lines[-1] == 'Run r1 state: failed'
    assert '[BLOCKED] gather (judge[p0001.txt] did not succeed)' in done.lines


@pytest.fixture
def papers(tmp_path: Path) -> Any:
    """Return a maker of engines over eight papers, the fourth of which fails once."""
    engines = []

    def make(**keys: Any) -> Engine:
        engine = Engine(make_papers(tmp_path / 'w', 8, **keys), FakeLauncher())
        engines.append(engine)
        engine.launcher.otherwise = Ending(does=copies, after_s=1.0)
        engine.launcher.will('clean[p0003.txt]', Ending(exit_code=65))
        return engine
    yield make
    for engine in engines:
        engine.close()


@pytest.mark.parametrize('workers', [1, 4])
def test_after_a_failure_the_rest_is_cancelled_and_the_next_run_goes_on(papers, workers):
    engine = papers()
    everything = {f'{stage}[p{number:04}.txt]' for stage in ('clean', 'score', 'judge')
                  for number in range(8)} | {'gather'}

    assert engine.run('r1', workers=workers) == 1
    done = {event.task for event in engine.sink.of(TaskDone)}
    cancelled = {event.task for event in engine.sink.of(TaskCancelled)}
    rows = metrics(engine.workspace, 'r1')

    assert done and 'clean[p0007.txt]' in cancelled and not done & cancelled
    assert rows['clean']['tasks']['failed'] == 1 and rows['gather']['status'] == 'cancelled'
    assert rows['clean']['tasks']['ok'] == len({task for task in done if 'clean' in task})
    assert {name.rpartition('/')[2] for name in published(engine.workspace)
            if name.startswith('clean/')} == {task[6:-1] for task in done if 'clean' in task}

    assert engine.run('r2', workers=workers) == 0
    assert set(engine.ran()) == everything - done
    assert set(engine.skipped()) == done


@pytest.mark.parametrize('workers', [1, 4])
def test_a_stage_that_does_not_stop_on_failure_does_what_it_can(papers, workers):
    engine = papers(stopOnFailure=False)

    assert engine.run('r1', workers=workers) == 1
    rows = metrics(engine.workspace, 'r1')

    assert rows['clean']['tasks'] == {'total': 8, 'ok': 7, 'failed': 1}
    assert rows['judge']['tasks'] == {'total': 8, 'ok': 7, 'blocked': 1}
    assert rows['gather']['status'] == 'blocked'
    assert not engine.sink.of(TaskCancelled)
    assert engine.run('r2', workers=workers) == 0
    assert engine.ran() == [f'{stage}[p0003.txt]' for stage in ('clean', 'score', 'judge')] + [
        'gather']


# -- parts of a diamond ------------------------------------------------------------------

@pytest.fixture
def diamond(tmp_path: Path) -> Any:
    """Return an engine over `a`, from it `b` and `c`, from both `d`, then `e`; `f` from `c`."""
    workspace = Workspace(tmp_path / 'w')
    workspace.processor()
    workspace.write('data/input/out.txt', 'text')

    def joins(job: Job) -> None:
        parts = [Path(job.cwd, name).read_text() for name in job.argv[1:]]
        Path(job.env['PIPELINE_OUTPUT_DIR'], 'out.txt').write_text(f'{job.task} of {parts}')

    def stage(name: str, *sources: str) -> Dict[str, Any]:
        return {'name': name, 'processor': 'bin/work.py', 'outputDir': f'data/{name}',
                'inputs': [f'data/{source}/out.txt' for source in sources]}

    workspace.pipeline(stage('a', 'input'), stage('b', 'a'), stage('c', 'a'),
                       stage('d', 'b', 'c'), stage('e', 'd'), stage('f', 'c'))
    engine = Engine(workspace, FakeLauncher())
    engine.launcher.otherwise = Ending(does=joins)
    yield engine
    engine.close()


@pytest.mark.parametrize('workers', [1, 3])
@pytest.mark.parametrize('wanted, expected', [
    (Wanted(until=('d',)), 'abcd'),
    (Wanted(until=('f',)), 'acf'),
    (Wanted(until=('b', 'f')), 'abcf'),
    (Wanted(only=('a',)), 'a'),
    (Wanted(), 'abcdef'),
])
def test_a_part_of_a_diamond_runs_alone(diamond, wanted, expected, workers):
    assert diamond.run(wanted=wanted, workers=workers) == 0
    assert sorted(diamond.ran()) == list(expected)
    assert diamond.warnings() == []


@pytest.mark.parametrize('wanted, expected', [
    (Wanted(force=('c',)), 'c'),
    (Wanted(resume_from='c'), 'cdef'),
    (Wanted(resume_from='d', until=('d',)), 'd'),
    (Wanted(only=('b',), force=('b',)), 'b'),
    (Wanted(only=('b',)), ''),
])
def test_what_is_done_is_done_again_where_that_is_asked_for(diamond, wanted, expected):
    """What comes after a forced stage is skipped: its outputs have the bytes they had."""
    diamond.run()

    assert diamond.run(wanted=wanted) == 0
    assert sorted(diamond.ran()) == list(expected)
    assert diamond.warnings() == []


def test_what_changed_outputs_of_a_forced_stage_touch_follows(diamond):
    diamond.run()
    diamond.launcher.will('c', Ending(does=writes({'out.txt': 'new'})))

    diamond.run(wanted=Wanted(force=('c',)))

    assert sorted(diamond.ran()) == ['c', 'd', 'e', 'f'] and diamond.skipped() == ['a', 'b']


def test_a_stale_stage_before_and_after_is_told(diamond):
    diamond.run()
    diamond.workspace.write('data/input/out.txt', 'edited')

    assert diamond.run(wanted=Wanted(only=('b',))) == 0
    assert diamond.ran() == [] and diamond.warnings() == [
        'is taken as it is, but is stale (input changed: data/input/out.txt)']

    assert diamond.run(wanted=Wanted(until=('b',))) == 0
    assert diamond.ran() == ['a', 'b']
    assert [(event.task, event.message) for event in diamond.sink.of(Warned)] == [
        ('c', 'is stale now (input changed: data/a/out.txt); it takes no part in this run'),
        ('d', 'is stale now (input changed: data/b/out.txt); it takes no part in this run'),
        ('e', 'is stale now (upstream is stale: d); it takes no part in this run'),
        ('f', 'is stale now (upstream is stale: c); it takes no part in this run')]


def test_what_lies_before_the_first_stage_that_runs_is_taken_although_stale(diamond):
    diamond.run()
    diamond.workspace.write('data/input/out.txt', 'edited')

    assert diamond.run(wanted=Wanted(resume_from='e')) == 0
    assert diamond.ran() == ['e', 'f']
    assert [event.task for event in diamond.sink.of(Warned)] == ['a']


@pytest.mark.parametrize('flags, expected', [
    (('--resume-from', 'c'), "--resume-from: stage 'a' before it has no marker, so it cannot be "
                             'taken as it is; run it first (--until a)'),
    (('--only', 'x'), "--only: there is no stage 'x'; the stages are a, b, c, d, e, f"),
    (('--until', 'x'), "--until: there is no stage 'x'; the stages are a, b, c, d, e, f"),
    (('--force', 'x'), "--force: there is no stage 'x'; the stages are a, b, c, d, e, f"),
    (('--resume-from', 'x'), "--resume-from: there is no stage 'x'; the stages are a, b, c, d, "
                             'e, f'),
    (('--only', 'a', '--force', 'b'), "--force: stage 'b' does not take part in this run"),
    (('--only', 'e', '--until', 'b'), 'no stage takes part: the flags exclude one another'),
])
def test_parts_that_there_are_not_are_refused(diamond, main, flags, expected):
    done = main('--pipeline', diamond.workspace.pipeline_file, *flags)

    assert done.code == 2 and expected in done.err, done
    assert not diamond.workspace.path('data/a').exists()

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
from fakes import Ending
from fakes import FakeLauncher
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
    n_items = 200 if size == 50 else 8
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
    _check_plan(engine, ', '.join(names), tally, graph.rng)


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

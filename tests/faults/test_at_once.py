"""What happens at once: tasks overlap as far as they may, and no record or line is lost."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from pathlib import Path
from typing import Any
from typing import Dict
from typing import List

import pytest

from engine import Engine
from faults.harness import Install
from faults.harness import leftovers
from faults.harness import unparsable
from faults.test_parallel import check_all_done
from faults.test_parallel import events
from faults.test_parallel import executed
from faults.test_parallel import make_papers
from faults.test_parallel import published
from support import PATIENCE_S
from support import Workspace

pytestmark = pytest.mark.integration

#: Comes in, waits until as many as `WANT` have come in over time, notes who else is in, leaves.
MEET = '''\
import os
import time

env = os.environ
me = env['PIPELINE_STAGE_NAME'] + '-' + env['PIPELINE_JOB_NAME']
root = env['PIPELINE_ROOT']
for folder in ('came', 'inside', 'seen'):
    os.makedirs(os.path.join(root, folder), exist_ok=True)
open(os.path.join(root, 'inside', me), 'w').close()
open(os.path.join(root, 'came', me), 'w').close()
until = time.monotonic() + 60
while len(os.listdir(os.path.join(root, 'came'))) < int(env['WANT']):
    if time.monotonic() > until:
        raise SystemExit('nobody came')
    time.sleep(0.002)
print('line of ' + me)
# Whoever has not been seen by all must not leave before that.
with open(os.path.join(root, 'seen', me), 'w') as seen:
    seen.write(' '.join(os.listdir(os.path.join(root, 'inside'))))
while len(os.listdir(os.path.join(root, 'seen'))) < int(env['WANT']):
    if time.monotonic() > until:
        raise SystemExit('nobody saw me')
    time.sleep(0.002)
with open(os.path.join(env['PIPELINE_OUTPUT_DIR'], me), 'w') as out:
    out.write(me)
os.unlink(os.path.join(root, 'inside', me))
'''


def make_meeting(root: Path, jobs: int, want: int, *names: str, **keys: Any) -> Workspace:
    """Make a workspace of stages with so many jobs each, of which `want` wait for one another."""
    workspace = Workspace(root)
    workspace.processor(MEET, 'bin/meet.py')
    workspace.pipeline(*[dict({
        'name': name, 'processor': 'bin/meet.py', 'outputDir': f'data/{name}',
        'env': {'WANT': str(want)}, 'retry': {'maxAttempts': 1},
        'jobs': [f'j{number:02}' for number in range(jobs)]}, **keys) for name in names])
    return workspace


def most_at_once(workspace: Workspace, jobs: int) -> int:
    """Return how many jobs saw one another at most; every job has noted whom it saw."""
    seen = [data.decode().split() for data in workspace.contents('seen').values()]
    assert len(seen) == jobs and workspace.contents('inside') == {}
    return max(len(names) for names in seen)


@pytest.mark.slow
@pytest.mark.parametrize('workers', [1, 4])
def test_so_many_jobs_run_at_once_as_there_are_workers(workers: int, tmp_path: Path,
                                                       install: Install) -> None:
    """They wait for one another: with fewer at once they would not end well."""
    workspace = make_meeting(tmp_path / 'w', 4, workers, 'work')

    done = install.run(workspace, '--max-workers', workers)

    assert done.code == 0, done
    assert most_at_once(workspace, 4) == workers


@pytest.mark.slow
@pytest.mark.parametrize('keys, names', [
    pytest.param({'maxWorkers': 2}, ['work'], id='cap-of-a-stage'),
    pytest.param({'limit': 'scarce'}, ['one', 'two'], id='limit-over-stages'),
])
def test_a_cap_holds_although_there_are_more_workers(keys: Dict[str, Any], names: List[str],
                                                     tmp_path: Path, install: Install) -> None:
    """Two wait for one another, so two do run at once; nobody ever sees a third."""
    workspace = make_meeting(tmp_path / 'w', 4, 2, *names, **keys)
    workspace.write('pipeline_config.json', json.dumps({'limits': {'per_key': {'scarce': 2}}}))

    done = install.run(workspace, '--max-workers', 6)

    assert done.code == 0, done
    assert most_at_once(workspace, 4 * len(names)) == 2


@pytest.mark.slow
def test_of_24_jobs_at_once_no_record_and_no_line_is_lost(tmp_path: Path,
                                                          install: Install) -> None:
    workspace = make_meeting(tmp_path / 'w', 24, 24, 'work')
    names = [f'work[j{number:02}]' for number in range(24)]

    done = install.run(workspace, '--max-workers', 24, '--json', '--run-id', 'r1')

    assert done.code == 0 and done.err == '', done
    assert most_at_once(workspace, 24) == 24
    for kind in ('task_started', 'attempt_ended', 'task_done'):
        assert sorted(event['task'] for event in events(done, kind)) == names
    journal = [json.loads(line) for line in workspace.read('state/items_work.jsonl').splitlines()]
    assert sorted(line['task'] for line in journal if 'task' in line) == names
    assert len(published(workspace)) == 24
    for name in names:
        log = workspace.read(f'state/logs/r1/{name}.1.log')
        assert log == f'line of work-{name[5:-1]}\n'
    assert not unparsable(workspace) and not leftovers(workspace)


@pytest.mark.slow
def test_no_thread_is_left_after_a_run_of_many_workers(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    engine = Engine(make_papers(tmp_path / 'w', 4))
    try:
        assert engine.run(workers=4) == 0
        assert set(threading.enumerate()) == before
    finally:
        engine.close()


# -- the same, whatever the workers --------------------------------------------------------

#: What differs from run to run.
_OF_TIMES = {'startedAt', 'endedAt', 'timestamp', 'durationSec', 'cpuSec', 'peakMemoryBytes',
             'writtenBytes', 'pid', 'lastDurationSec', 'doneAt', 'crc', 'at', 'created_at',
             'last_updated', 'max_workers', 'start', 'end', 'workers', 'runId', 'run_id',
             'auditHead'}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: '' if name in _OF_TIMES else _timeless(inner)
                for name, inner in value.items()}
    if isinstance(value, list):
        return [_timeless(inner) for inner in value]
    is_time = isinstance(value, str) and re.fullmatch(r'\d{4}-\d\d-\d\dT[\d:.+]+', value)
    return '' if is_time else value


def records(workspace: Workspace) -> Dict[str, Any]:
    """Return all JSON records below `state` and the markers without times, lines sorted."""
    found: Dict[str, Any] = {}
    for path in sorted(workspace.root.rglob('*')):
        name = str(path.relative_to(workspace.root))
        if path.name.endswith(('.json', '.done')) and path.name != 'index.json' \
                and not name.startswith('locks'):
            found[name] = _timeless(json.loads(path.read_text()))
            if path.name == 'pipeline_checkpoint.json':
                found[name]['stages'] = sorted(found[name]['stages'])
        elif path.suffix == '.jsonl' and path.name.startswith('items_'):
            found[name] = sorted(json.dumps(_timeless(json.loads(line)), sort_keys=True)
                                 for line in path.read_text().splitlines())
    return found


@pytest.mark.slow
def test_outputs_and_records_are_those_of_one_worker(tmp_path: Path, install: Install) -> None:
    found = []
    for workers in (1, 4):
        workspace = make_papers(tmp_path / str(workers), 4)
        done = install.run(workspace, '--max-workers', workers, '--run-id', 'r1')
        assert done.code == 0, done
        found.append((published(workspace), records(workspace), executed(workspace)))

    for one, other in zip(*found):
        assert one == other and one


@pytest.mark.slow
def test_two_runners_on_one_fan_out_do_nothing_twice(tmp_path: Path, install: Install) -> None:
    workspace = make_papers(tmp_path / 'w', 6)
    runners = [install.start(workspace, '--max-workers', 2, '--lock-timeout', f'{PATIENCE_S}',
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
               for _ in range(2)]
    ended = [(runner.communicate(timeout=PATIENCE_S), runner.returncode) for runner in runners]

    assert [code for _, code in ended] == [0, 0], ended
    assert executed(workspace) == sorted(
        ['gather', *(f'{stage} p{number:04}.txt' for stage in ('clean', 'score', 'judge')
                     for number in range(6))])
    check_all_done(install, workspace)

"""Runs of the queue that are killed, stopped or orphaned lose nothing and do nothing twice."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any
from typing import Dict
from typing import List

import pytest

from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import kill
from faults.harness import kill_all
from faults.harness import kill_runner_alone
from faults.harness import leftovers
from faults.harness import need_linux
from faults.harness import sizes
from faults.harness import unparsable
from support import PATIENCE_S
from support import Workspace
from support import is_alive
from support import stage
from support import wait_until

pytestmark = pytest.mark.integration

#: Fails for good where somebody else works on the same task at the same time.
ALONE = '''\
import fcntl, os, sys, time
name = os.environ['PIPELINE_STAGE_NAME'] + '-' + os.environ['PIPELINE_ITEM_ID']
alone = open(os.path.join('busy', name), 'a')
try:
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(65)
text = open(sys.argv[1]).read()
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'out.txt'), 'w') as out:
    for part in (text, name):
        out.write(part)
        out.flush()
        time.sleep(0.01)
'''

#: Tells that it runs, and runs until it is let go; it does not die with its parent.
LASTS = '''\
import ctypes, os, time
ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)
with open('starts', 'a') as starts:
    starts.write('%d\\n' % os.getpid())
while not os.path.exists('go'):
    time.sleep(0.002)
open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'out.txt'), 'w').close()
'''

#: Kills the runner that it works for where its entry says so.
POISON = '''\
import json, os, signal, sys
if 'poison' in json.load(open(sys.argv[1])):
    with open(os.path.join('locks', '.run', os.environ['PIPELINE_RUN_ID'] + '.lock.json')) as note:
        os.kill(json.load(note)['pid'], signal.SIGKILL)
    signal.pause()
open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'out.txt'), 'w').close()
'''


#: Copies lines, and stands still after the hundredth as long as there is a gate.
RESUMES = '''\
import os, time
from stagerunner.processor import Progress
with Progress() as progress:
    out = progress.open('out.txt')
    for number, line in enumerate(progress.lines(['text.txt'])):
        while number == 100 and os.path.exists('gate'):
            open('there', 'w').close()
            time.sleep(0.002)
        out.write(line)
'''


def make(root: Path, install: Install, entries: Dict[str, Any], processor: str = ALONE,
         **queue: Any) -> Workspace:
    """Return a workspace with stages that the queue feeds, and these entries in it."""
    root.mkdir(exist_ok=True)
    workspace = Workspace(root)
    workspace.path('busy').mkdir()
    workspace.processor(processor)
    stages = [stage('one', forEach='jobs', inputs=['{item.path}'], outputDir='data/one/{item.id}')]
    if processor == ALONE:
        stages.append(stage('two', forEach='jobs', inputs=['data/one/{item.id}/out.txt'],
                            outputDir='data/two/{item.id}'))
    workspace.pipeline(*stages, items={'jobs': {'queue': True}})
    workspace.write('pipeline_config.json', json.dumps({'queue': dict({
        'max_workers': 2, 'lease_ttl_seconds': 0.6, 'heartbeat_seconds': 0.1,
        'max_job_attempts': 1000, 'retry_backoff_seconds': 0, 'jitter_seconds': 0}, **queue)}))
    workspace.write('rows.jsonl', ''.join(
        f'{json.dumps({"artifact_id": name, "artifact": artifact})}\n'
        for name, artifact in entries.items()))
    done = install.run(workspace, 'queue', 'import', workspace.path('rows.jsonl'))
    assert done.code == 0, done
    return workspace


def start(install: Install, workspace: Workspace) -> subprocess.Popen:
    return install.start(workspace, 'queue', 'run', '--drain')


def rows(workspace: Workspace, sql: str) -> List[Any]:
    """Return what is found in the database of the queue."""
    connection = sqlite3.connect(str(workspace.path('state/workqueue.sqlite')), timeout=PATIENCE_S)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def count(workspace: Workspace, state: str) -> int:
    return int(rows(workspace, f"SELECT count(*) FROM jobs WHERE state = '{state}'")[0][0])


@sizes(2, 250)
def test_every_entry_is_done_once_whatever_happens_to_its_runners(
        size: int, tmp_path: Path, install: Install) -> None:
    """Runners are killed, or stopped for longer than their leases last, at any moment.

    A processor that finds another one at work on the same task fails for good,
    and so would its entry.
    """
    need_linux()
    tally, rng = Tally('queue runs', SEED), random.Random(SEED)
    names = [f'e{number}' for number in range(8 * size)]
    workspace = make(tmp_path / 'w', install, {name: {'name': name} for name in names})
    runners = [start(install, workspace) for _ in range(3)]
    try:
        for number in range(size):
            with tally.trial(f'fault {number}') as trial:
                done = count(workspace, 'done')
                wait_until(lambda done=done: count(workspace, 'done') > done or not any(
                    runner.poll() is None for runner in runners), 'progress')
                time.sleep(rng.uniform(0, 0.05))
                at = rng.randrange(3)
                if runners[at].poll() is not None:
                    runners[at] = start(install, workspace)
                if number % 2:
                    os.kill(runners[at].pid, signal.SIGSTOP)
                    trial.fired()
                    time.sleep(1.0)
                    os.kill(runners[at].pid, signal.SIGCONT)
                else:
                    runners[at].kill()
                    assert runners[at].wait(PATIENCE_S) == -signal.SIGKILL
                    trial.fired()
                    runners[at] = start(install, workspace)
        with tally.trial('the end') as trial:
            trial.fired()
            assert {runner.wait(2 * PATIENCE_S) for runner in runners} <= {0, -signal.SIGKILL}
            _check_done(install, workspace, names)
    finally:
        kill_all(workspace)
        for runner in runners:
            runner.wait(PATIENCE_S)
    refused, = rows(workspace, 'SELECT refused FROM facts')[0]
    tally.notes.update(lost=len(rows(workspace, "SELECT 1 FROM attempts WHERE outcome = 'lost'")),
                       refused=refused)
    tally.conclude()


def _check_done(install: Install, workspace: Workspace, names: List[str]) -> None:
    """Assert that all is done and whole, once, and that nothing is left to do or to clear away."""
    assert install.run(workspace, 'queue', 'run', '--drain').code == 0
    assert rows(workspace, 'SELECT DISTINCT state, token FROM jobs') == [('done', None)]
    assert rows(workspace, 'SELECT count(*) FROM jobs') == [(len(names),)]
    assert rows(workspace, 'PRAGMA integrity_check') == [('ok',)]
    for name in names:
        row = f'{{"name":"{name}"}}\n'
        assert workspace.read(f'data/one/{name}/out.txt') == f'{row}one-{name}'
        assert workspace.read(f'data/two/{name}/out.txt') == f'{row}one-{name}two-{name}'
    assert unparsable(workspace) == []
    assert leftovers(workspace) == []


@sizes(1, 20)
def test_nobody_works_beside_the_orphan_of_a_killed_runner(
        size: int, tmp_path: Path, install: Install) -> None:
    """Its lease is long over, and the entry in somebody else's hands, who waits for it to end."""
    need_linux()
    tally = Tally('queue orphans', SEED)
    for number in range(size):
        workspace = make(tmp_path / f'{number}', install, {'a': {}}, LASTS, lease_ttl_seconds=0.3)
        with tally.trial(f'orphan {number}') as trial:
            try:
                first = second = start(install, workspace)
                processor = int(wait_until(lambda w=workspace: _starts(w), 'the start')[0])
                kill_runner_alone(first, processor)
                second = start(install, workspace)
                wait_until(lambda w=workspace: rows(w, 'SELECT attempts FROM jobs') == [(2,)],
                           'the second lease')
                time.sleep(0.3)
                assert is_alive(processor) and len(_starts(workspace)) == 1
                trial.fired()
                workspace.write('go')
                assert second.wait(PATIENCE_S) == 0
                assert len(_starts(workspace)) == 2 and count(workspace, 'done') == 1
            finally:
                kill_all(workspace)
                second.wait(PATIENCE_S)
    tally.conclude()


def _starts(workspace: Workspace) -> List[str]:
    try:
        return workspace.read('starts').split()
    except FileNotFoundError:
        return []


@pytest.mark.slow
def test_the_next_runner_goes_on_where_the_processor_of_a_killed_one_was(
        tmp_path: Path, install: Install) -> None:
    need_linux()
    workspace = make(tmp_path / 'w', install, {'a': {}}, RESUMES, lease_ttl_seconds=0.3)
    definition = workspace.json('pipeline.json')
    definition['stages'][0]['checkpoint'] = {'enabled': True, 'lineInterval': 10}
    workspace.write('pipeline.json', json.dumps(definition))
    text = workspace.write('text.txt', ''.join(f'line {number}\n' for number in range(200)))
    workspace.write('gate')
    killed = start(install, workspace)
    wait_until(workspace.path('there').exists, 'line 100')
    killed.kill()
    killed.wait(PATIENCE_S)
    workspace.path('gate').unlink()

    done = install.run(workspace, 'queue', 'run', '--drain')

    # The processor may have gone on for a moment before its keeper killed it.
    assert done.code == 0 and re.search(r'\[RESUME\] one\[a\] at line [12]\d0', done.out), done
    assert workspace.read_bytes('data/one/a/out.txt') == text.read_bytes()
    assert rows(workspace, 'SELECT state, attempts FROM jobs') == [('done', 2)]


@sizes(1, 10)
def test_entries_that_kill_their_runner_end_in_error_after_so_many_attempts(
        size: int, tmp_path: Path, install: Install) -> None:
    """And what else these had in hand comes through: the last attempt is made alone."""
    need_linux()
    entries: Dict[str, Any] = {f'bad{number}': {'poison': 1} for number in range(size)}
    entries.update({f'good{number}': {} for number in range(4 * size)})
    workspace = make(tmp_path / 'w', install, entries, POISON, max_job_attempts=2,
                     lease_ttl_seconds=0.4, max_workers=4)

    codes = []
    while not codes or codes[-1] < 0:
        codes.append(start(install, workspace).wait(PATIENCE_S))
        assert len(codes) <= 2 * size + 1

    assert codes[:-1] == [-signal.SIGKILL] * (len(codes) - 1)
    assert rows(workspace, "SELECT DISTINCT state, attempts FROM jobs WHERE artifact_id LIKE "
                           "'bad%'") == [('error', 2)]
    assert count(workspace, 'done') == 4 * size
    assert 'its lease ran out' in rows(workspace, "SELECT last_error FROM jobs WHERE state = "
                                                  "'error'")[0][0]


@sizes(2, 60)
def test_an_import_that_is_killed_has_imported_all_or_nothing(
        size: int, tmp_path: Path, install: Install) -> None:
    need_linux()
    tally, rng = Tally('queue imports', SEED), random.Random(SEED)
    workspace = make(tmp_path / 'w', install, {})
    command = install.command(workspace, 'queue', 'import', '-')
    for number in range(size):
        names = [f'{number}-{index}' for index in range(2000)]
        text = ''.join(f'{{"artifact_id": "{name}", "artifact": 1}}\n' for name in names)
        with tally.trial(f'kill {number}') as trial:
            process = subprocess.Popen(command, cwd=str(workspace.root), stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            process.stdin.write(text.encode())
            process.stdin.close()
            time.sleep(rng.uniform(0, 0.05))
            kill(process.pid)
            process.wait(PATIENCE_S)
            said = process.stdout.read()
            process.stdout.close()
            process.stderr.close()
            trial.fired()
            found, = rows(workspace, f"SELECT count(*) FROM jobs WHERE artifact_id LIKE "
                                     f"'{number}-%'")[0]
            assert found in (0, 2000) and (found == 2000 or not said)
            assert rows(workspace, 'PRAGMA integrity_check') == [('ok',)]
    tally.conclude()


@sizes(50, 500)
def test_of_processes_that_put_in_the_same_ids_one_has_each(
        size: int, tmp_path: Path, install: Install) -> None:
    workspace = make(tmp_path / 'w', install, {})
    text = ''.join(f'{{"artifact_id": "e{number}", "artifact": 1}}\n' for number in range(size))
    workspace.write('same.jsonl', text)
    command = install.command(workspace, 'queue', 'import', 'same.jsonl', '--json')

    started = [subprocess.Popen(command, cwd=str(workspace.root), stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE) for _ in range(8)]
    told = [json.loads(process.communicate(timeout=PATIENCE_S)[0]) for process in started]

    assert sum(answer['new'] for answer in told) == size
    assert {answer['total'] for answer in told} == {size}
    assert rows(workspace, 'SELECT count(*) FROM jobs') == [(size,)]

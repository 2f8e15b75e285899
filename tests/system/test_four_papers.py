"""Four papers, one worker or four: the same results, made at once, told in the checkpoint."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import Any
from typing import Dict
from typing import List

import pytest

from support import PATIENCE_S
from support import Finished
from support import Workspace
from support import stage
from support import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: Sleeps as one does who waits for a service, until as many as the file `want` says have come in
#: over time; notes who comes and goes.  A paper with the word `bad` fails.
REVIEW = '''\
import os
import sys
import time

name = os.environ['PIPELINE_STAGE_NAME']
me = name + '-' + os.environ['PIPELINE_ITEM_ID']
log = os.open('log', os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
os.write(log, ('in ' + me + '\\n').encode())
want = int(open('want').read())
until = time.monotonic() + 60
while True:
    time.sleep(0.01)
    if sum(line.startswith('in ' + name) for line in open('log')) >= want:
        break
    if time.monotonic() > until:
        raise SystemExit('nobody came')
text = open(sys.argv[1]).read()
if 'bad' in text and name == 'judge':
    sys.exit('the reviewer declined')
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], os.environ['PIPELINE_ITEM_ID']),
          'w') as out:
    out.write(name + ': ' + text)
os.write(log, ('out ' + me + '\\n').encode())
'''

PAPERS = [f'paper_000{number}.txt' for number in range(1, 5)]
STAGES = ['review', 'judge', 'report']
TIME = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)$')


def make(root: Path, workers: int, bad: str = '') -> Workspace:
    """Make a workspace with four papers and three stages for each."""
    workspace = Workspace(root)
    workspace.processor(REVIEW)
    for name in PAPERS:
        workspace.write(f'data/input/{name}', f'text of {name} {"bad" if name == bad else ""}\n')
    workspace.write('want', str(workers))
    keys: Dict[str, Any] = {'forEach': 'papers', 'retry': {'maxAttempts': 1}}
    workspace.pipeline(stage('review', inputs=['{item.path}'], **keys),
                       stage('judge', inputs=['data/review/{item.id}'], **keys),
                       stage('report', inputs=['data/judge/{item.id}'], **keys),
                       items={'papers': {'glob': 'data/input/*.txt'}})
    return workspace


def run(workspace: Workspace, workers: int, *args: str) -> Finished:
    return workspace.run('--max-workers', workers, '--run-id', 'x', '--checkpoint-file',
                         workspace.path('papers.json'), *args, is_measured=False)


def results(workspace: Workspace) -> Dict[str, bytes]:
    return {f'{name}/{file}': data for name in STAGES
            for file, data in workspace.contents(f'data/{name}').items()
            if not file.startswith('.')}


def most_at_once(workspace: Workspace) -> int:
    """Return how many were at work at the same time at most, from who came and went."""
    inside, most = 0, 0
    for line in workspace.read('log').splitlines():
        inside += 1 if line.startswith('in ') else -1
        most = max(most, inside)
    return most


def entries(workspace: Workspace) -> Dict[str, Any]:
    """Return the entries of the papers without their times, which are checked."""
    found = workspace.json('papers.json')['papers']
    for entry in found.values():
        times: List[Any] = [entry.pop('started_at'), *entry['stages'].values()]
        times += [entry.pop('completed_at')] if 'completed_at' in entry else []
        times += [error.pop('timestamp') for error in entry.get('errors', ())]
        assert all(TIME.match(time) for time in times), entry
        entry['stages'] = sorted(entry['stages'])
    return found


def test_four_workers_make_the_same_of_four_papers_and_do_it_at_once(tmp_path):
    one, four = make(tmp_path / 'one', 1), make(tmp_path / 'four', 4)

    finished = run(one, 1), run(four, 4)

    assert [(done.code, done.err) for done in finished] == [(0, '')] * 2, finished
    assert len(results(one)) == 12 and results(four) == results(one)
    assert (most_at_once(one), most_at_once(four)) == (1, 4)
    assert entries(one) == entries(four) == {
        paper: {'stage': 'completed', 'stages': sorted(STAGES), 'retries': 0}
        for paper in PAPERS}


def test_the_checkpoint_of_four_papers_is_complete(tmp_path):
    workspace = make(tmp_path / 'w', 4)
    run(workspace, 4)

    found = workspace.json('papers.json')

    assert list(found) == ['run_id', 'version', 'created_at', 'last_updated', 'status', 'stages',
                           'papers', 'stats', 'config']
    assert (found['run_id'], found['version'], found['status']) == ('x', '2.0.0', 'completed')
    assert sorted(found['stages']) == sorted(STAGES)
    assert found['created_at'] <= found['last_updated']
    assert found['stats'] == {
        'total_stages': 3, 'completed_stages': 3, 'total_papers': 4, 'completed_papers': 4,
        'failed_papers': 0, 'retries': 0}
    assert found['config'] == {'max_workers': 4}
    assert all(entry['completed_at'] >= max(entry['stages'].values())
               for entry in found['papers'].values())
    assert not workspace.path('papers.json.journal').exists()
    assert not workspace.path('state/pipeline_checkpoint.json').exists()


@pytest.mark.parametrize('workers', [1, 4])
def test_of_four_papers_one_fails_and_the_checkpoint_says_which(tmp_path, workers):
    workspace = make(tmp_path / 'w', workers, bad=PAPERS[1])
    # Of those that come to `judge`, one leaves without a word; nobody waits in `report`.
    workspace.write('want', '1')

    done = run(workspace, workers, '--keep-going')

    assert done.code == 1, done
    good = {'stage': 'completed', 'stages': sorted(STAGES), 'retries': 0}
    told = 'exit code 1: the reviewer declined'
    assert entries(workspace) == {
        **dict.fromkeys(PAPERS, good), PAPERS[1]: {
            'stage': 'failed', 'stages': ['review'], 'retries': 0, 'last_error': told,
            'errors': [{'message': told}]}}
    assert workspace.json('papers.json')['stats'] == {
        'total_stages': 3, 'completed_stages': 1, 'total_papers': 4, 'completed_papers': 3,
        'failed_papers': 1, 'retries': 0}
    assert len(results(workspace)) == 10


def test_after_it_was_mended_the_failed_paper_alone_goes_on(tmp_path):
    workspace = make(tmp_path / 'w', 1, bad=PAPERS[1])
    run(workspace, 2, '--keep-going')
    began = workspace.json('papers.json')['created_at']
    workspace.write('data/input/' + PAPERS[1], 'better\n')

    done = workspace.run('--resume', '--max-workers', '2', '--checkpoint-file',
                         workspace.path('papers.json'))

    assert done.code == 0 and done.lines[-1] == 'Run x state: completed', done
    assert re.findall(r'^\[RUN\] (\S+)', done.out, re.M) == [
        f'{name}[{PAPERS[1]}]' for name in STAGES]
    found = workspace.json('papers.json')
    assert (found['status'], found['created_at'], found['stats']['completed_papers']) == (
        'completed', began, 4)
    assert {entry['stage'] for entry in found['papers'].values()} == {'completed'}


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGKILL], ids=['interrupted', 'killed'])
def test_ended_in_the_middle_the_four_papers_go_on_in_the_same_file(tmp_path, signum):
    """Two papers are through `review`, and `judge` waits for more than come."""
    workspace = make(tmp_path / 'w', 1)
    file = workspace.path('papers.json')
    workspace.processor(REVIEW.replace("int(open('want').read())",
                                       "99 if name == 'judge' and os.path.exists('hold') else 1"))
    workspace.write('hold')
    with workspace.start('--max-workers', '2', '--run-id', 'x', '--checkpoint-file', file,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         is_measured=False) as process:
        try:
            wait_until(lambda: workspace.path('log').exists()
                       and workspace.read('log').count('in judge') == 2, 'the second stage')
            process.send_signal(signum)
            process.wait(PATIENCE_S)
        finally:
            process.kill()
    before = workspace.json('papers.json')
    workspace.path('hold').unlink()

    done = workspace.run('--resume', '--max-workers', '2', '--checkpoint-file', file,
                         is_measured=False)

    assert (done.code, done.err) == (0, '') and done.lines[-1] == 'Run x state: completed', done
    found = workspace.json('papers.json')
    assert found['created_at'] == before['created_at'] and found['status'] == 'completed'
    assert found['stats'] == {
        'total_stages': 3, 'completed_stages': 3, 'total_papers': 4, 'completed_papers': 4,
        'failed_papers': 0, 'retries': 0}
    assert {paper: (entry['stage'], sorted(entry['stages']))
            for paper, entry in found['papers'].items()} == dict.fromkeys(
        PAPERS, ('completed', sorted(STAGES)))
    assert not workspace.path('papers.json.journal').exists()
    assert len(results(workspace)) == 12

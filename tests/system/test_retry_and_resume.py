"""What fails is tried as often as it is worth; what was ended goes on under its id."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
from typing import Any
from typing import Iterator
from typing import List

import pytest

from support import PATIENCE_S
from support import Finished
from support import Workspace
from support import clean_environment
from support import stage
from support import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

# -- a service ---------------------------------------------------------------------

#: A service on this machine: answers as its arguments say, one after another, and prints its
#: port.  A process of its own, because nothing in that of the tests may open a network socket.
SERVICE = '''\
import http.server
import sys

answers = [int(code) for code in sys.argv[1:]]

class Service(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(answers.pop(0) if answers else 418)
        self.end_headers()
        self.wfile.write(b'the answer')

    def log_message(self, *args):
        pass

server = http.server.HTTPServer(('127.0.0.1', 0), Service)
print(server.server_port, flush=True)
server.serve_forever()
'''

#: Asks the service, and fails as any program does that was not written for this runner.
ASKS = '''\
import os
import urllib.request

address = 'http://127.0.0.1:%s/' % os.environ['PORT']
plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'answer'), 'wb') as out:
    out.write(plain.open(address, timeout=60).read())
'''

QUICK = {'baseDelaySec': 0.01, 'jitter': 0}


@contextlib.contextmanager
def service(*answers: int) -> Iterator[str]:
    """Start a service with these answers; the block gets its port."""
    with subprocess.Popen([sys.executable, '-c', SERVICE, *map(str, answers)],
                          stdout=subprocess.PIPE, env=clean_environment(is_measured=False),
                          universal_newlines=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def attempts(workspace: Workspace) -> List[Any]:
    """Return status, class and delay of each attempt of `work`, as recorded."""
    return [(attempt['status'], attempt['class'], attempt['delaySec'])
            for attempt in workspace.json('state/stage_work.json')['attempts']]


@pytest.mark.parametrize('launcher', ['warm', 'spawn'])
def test_a_service_that_is_away_twice_is_asked_three_times(workspace, launcher):
    with service(503, 503, 200) as port:
        workspace.simple(ASKS, network='allow', env={'PORT': port}, retry=QUICK)
        done = workspace.run('--launcher', launcher)

    assert (done.code, done.err) == (0, ''), done
    assert workspace.read('data/work/answer') == 'the answer'
    assert [line for line in done.lines if 'RETRY' in line] == [
        '[RETRY] work attempt 2 of 3 in 0.01s (transient: exit code 1)',
        '[RETRY] work attempt 3 of 3 in 0.02s (transient: exit code 1)']
    assert attempts(workspace) == [('failed', 'transient', 0.01), ('failed', 'transient', 0.02),
                                   ('ok', None, None)]
    # Bug: the last attempt's reason replaced that of the first.
    assert [reason['cause'] for reason in
            workspace.json('state/stage_work.json')['reasons']] == ['never ran']
    last_lines = [(attempt['error'] or '').splitlines()[-1:]
                  for attempt in workspace.json('state/stage_work.json')['attempts']]
    assert last_lines == [
        ['urllib.error.HTTPError: HTTP Error 503: Service Unavailable']] * 2 + [[]]


@pytest.mark.parametrize('answer, n_attempts', [(404, 1), (401, 1), (429, 3)])
def test_how_often_a_service_is_asked_depends_on_what_it_says(workspace, answer, n_attempts):
    with service(*[answer] * 3, 200) as port:
        workspace.simple(ASKS, network='allow', env={'PORT': port}, retry=QUICK)
        done = workspace.run()

    assert done.code == 1 and len(attempts(workspace)) == n_attempts, done


def test_the_same_stage_without_leave_never_reaches_the_service(workspace):
    """Else the tests above would prove nothing of `"network": "allow"`."""
    with service(200) as port:
        workspace.simple(ASKS, env={'PORT': port}, retry=QUICK)
        done = workspace.run()

    assert done.code == 1 and len(attempts(workspace)) == 1
    assert "Offline violation: forbidden import 'urllib.request'" in done.out


@pytest.mark.parametrize('text, said', [
    pytest.param('print(1\n', 'SyntaxError', id='syntax'),
    pytest.param("open('nowhere.txt')\n", 'FileNotFoundError', id='file'),
    pytest.param('import nowhere\n', 'ModuleNotFoundError', id='module'),
    pytest.param("exec('x =')\n", 'SyntaxError', id='syntax-later'),
])
def test_what_no_repetition_mends_is_tried_once(workspace, text, said):
    workspace.simple(text, retry=QUICK)

    done = workspace.run()

    record = workspace.json('state/stage_work.json')
    assert done.code == 1 and '[RETRY]' not in done.out, done
    assert attempts(workspace) == [('failed', 'permanent', None)]
    assert said in record['lastError'] and said in record['attempts'][0]['error']


# -- going on ------------------------------------------------------------------------

#: Copies its inputs; where `go` is missing, it says that it is up and waits for it.
WAITS = '''\
import os
import shutil
import sys
import time

open('up', 'w').write(str(os.getpid()))
while not os.path.exists('go'):
    time.sleep(0.005)
for path in sys.argv[1:]:
    shutil.copy(path, os.environ['PIPELINE_OUTPUT_DIR'])
'''


@pytest.fixture
def four(workspace: Workspace) -> Workspace:
    """Return a workspace of four stages in a row, of which the third waits for `go`."""
    workspace.processor()
    workspace.processor(WAITS, 'bin/wait.py')
    workspace.write('data/input/in.txt', 'x')
    workspace.pipeline(stage('a'), stage('b', inputs=['data/a/in.txt']),
                       stage('c', inputs=['data/b/in.txt'], processor='bin/wait.py'),
                       stage('d', inputs=['data/c/in.txt']))
    return workspace


def end_in_the_third(workspace: Workspace, signum: int, *args: Any) -> int:
    """Start a run, end the runner while stage 3 of 4 runs, return its exit code."""
    workspace.path('up').exists() and workspace.path('up').unlink()
    with workspace.start(*args, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: workspace.path('up').exists(), 'the third stage')
            process.send_signal(signum)
            return process.wait(PATIENCE_S)
        finally:
            process.kill()


def started(finished: Finished) -> List[str]:
    return re.findall(r'^\[RUN\] (\S+)', finished.out, re.MULTILINE)


def runs(workspace: Workspace) -> List[str]:
    return sorted(path.name for path in workspace.path('state').glob('run_*.json'))


ENDS = pytest.mark.parametrize('signum, code, state', [
    pytest.param(signal.SIGINT, 130, 'interrupted', id='interrupted'),
    pytest.param(getattr(signal, 'SIGKILL', signal.SIGTERM), -9, 'running', id='killed')])


@ENDS
def test_what_was_ended_in_its_third_stage_goes_on_there_under_its_id(four, signum, code, state):
    assert end_in_the_third(four, signum) == code
    name, = runs(four)
    before = four.json(f'state/{name}')
    assert before['state'] == state
    four.write('go')

    resumed = four.run('--resume')

    assert resumed.code == 0 and resumed.err == '', resumed
    assert started(resumed) == ['c', 'd']
    assert runs(four) == [name]
    after = four.json(f'state/{name}')
    assert (after['state'], after['startedAt'], after['runId']) == (
        'completed', before['startedAt'], before['runId'])
    assert after['endedAt'] > before['startedAt'] and after['firstFailure'] is None
    assert four.read('data/d/in.txt') == 'x'
    file = four.json('state/pipeline_checkpoint.json')
    assert (file['run_id'], file['status'], sorted(file['stages'])) == (
        before['runId'], 'completed', ['a', 'b', 'c', 'd'])
    rows = four.json(f"state/metrics_{before['runId']}.json")['stages']
    assert [(row['stage'], row['status']) for row in rows] == [
        ('a', 'skipped'), ('b', 'skipped'), ('c', 'ok'), ('d', 'ok')]


@ENDS
def test_from_the_third_stage_on_only_the_third_and_the_fourth_run(four, signum, code, state):
    end_in_the_third(four, signum)
    four.write('go')
    four.write('data/input/in.txt', 'changed')

    resumed = four.run('--resume-from', 'c', '--run-id', 'other')

    assert resumed.code == 0, resumed
    assert started(resumed) == ['c', 'd'] and '[SKIP]' not in resumed.out
    assert four.read('data/d/in.txt') == 'x'
    assert four.json('state/run_other.json')['state'] == 'completed'


def test_a_run_that_is_ended_again_and_again_keeps_its_id(four):
    ends = [end_in_the_third(four, signum, '--resume') for signum in (
        signal.SIGINT, signal.SIGKILL, signal.SIGTERM)]
    name, = runs(four)
    four.write('go')

    resumed = four.run('--resume')

    assert ends == [130, -9, 143]
    assert resumed.code == 0 and started(resumed) == ['c', 'd']
    assert runs(four) == [name] and four.run('--resume').code == 0
    assert len(runs(four)) == 2


def test_a_run_that_is_alive_is_nothing_to_go_on_with(four):
    with four.start('--run-id', 'alive', stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: four.path('up').exists(), 'the third stage')
            other = four.run('--resume', '--run-id', 'b', '--lock-timeout', '0')
            anyone = four.run('--resume', '--lock-timeout', '0')
            four.write('go')
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()

    assert other.code == anyone.code == 4
    assert other.err.startswith('note: there is no unfinished run to go on with; this is run b\n')
    assert four.json('state/run_alive.json')['state'] == 'completed'
    assert anyone.lines[-1] == 'Run b state: failed'


def test_resume_announces_as_json_too_and_a_dry_run_of_it_changes_nothing(four):
    end_in_the_third(four, signal.SIGINT, '--run-id', 'x')
    four.write('go')
    before = four.tree()

    told = four.run('--resume', '--dry-run')
    assert told.code == 0 and four.tree() == before
    events = [json.loads(line) for line in four.run('--resume', '--json').lines]

    assert '[DRY-RUN] 2 to execute, 2 to skip; nothing was changed' in told.lines
    assert {event['runId'] for event in events if 'runId' in event} == {'x'}
    assert [event['task'] for event in events if event['event'] == 'task_started'] == ['c', 'd']

"""What a stage sees of its caller's variables, what is seen of its secrets, what it may use."""

from __future__ import annotations

import json
import os
import sys
from typing import Any
from typing import Dict
from typing import Iterator

import pytest

from support import Finished
from support import Workspace
from support import stage

pytestmark = [
    pytest.mark.integration, pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the keeper is for Linux')]

LAUNCHERS = pytest.mark.parametrize('launcher', ['warm', 'spawn'])

ONCE = {'maxAttempts': 1}


# -- cleanEnv ------------------------------------------------------------------------

CANARIES = {name: f'canary {number} sings' for number, name in enumerate((
    *(f'CANARY_{number}' for number in range(30)), 'canary', 'PYTHONCANARY', 'LC_CANARY',
    'PIPELINE_CANARY', 'PATH_CANARY', 'HOMELESS', 'LANGUAGE', 'TMP', 'STAGERUNNER_CANARY',
    'GITHUB_TOKEN'))}

#: Writes down the variables that it has, by every way there is, and all that /proc shows it.
LOOKS = '''\
"""Write down every variable that can be seen."""
import ctypes
import json
import os
import subprocess

shown = b''
for process in os.listdir('/proc'):
    try:
        with open('/proc/%s/environ' % process, 'rb') as variables:
            shown += variables.read()
    except OSError:
        continue
block = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')
count = 0
while block[count]:
    shown += b'\\0' + block[count]
    count += 1
shown += subprocess.run(['env'], stdout=subprocess.PIPE).stdout
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'seen.json'), 'w') as target:
    json.dump([sorted(os.environ), shown.decode('utf-8', 'replace')], target)
'''


@LAUNCHERS
def test_of_40_canaries_a_clean_stage_sees_none(workspace: Workspace, launcher: str) -> None:
    """Nor in /proc, of itself or of what it was forked from; a stage before it sees all."""
    assert len(CANARIES) == 40
    workspace.simple(LOOKS)
    workspace.pipeline(
        stage('open'), stage('clean', cleanEnv=True, env={'MINE': 'x'}, secretEnv=['PASSED']))

    done = workspace.run('--launcher', launcher, env=dict(CANARIES, PASSED='on', LANG='C.UTF-8'))

    assert done.code == 0, done
    singing = [value for value in CANARIES.values() if value in workspace.json(
        'data/open/seen.json')[1]]
    names, shown = workspace.json('data/clean/seen.json')
    # What belongs to somebody else's run is passed on to nobody.
    assert len(singing) == 39
    assert [value for value in CANARIES.values() if value in shown] == []
    assert {name for name in names if not name.startswith('PIPELINE_')} - {'LC_CTYPE'} == {
        'PATH', 'HOME', 'LANG', 'MINE', 'PASSED', 'PYTHONPATH'} | (
        {'TMPDIR'} & set(os.environ))


def test_a_clean_program_sees_no_canary_either(workspace: Workspace) -> None:
    workspace.simple(processor='bin/work.sh', cleanEnv=True)
    workspace.processor('#!/bin/sh\nenv >"$PIPELINE_OUTPUT_DIR/seen"\n'
                        'cat /proc/[0-9]*/environ >>"$PIPELINE_OUTPUT_DIR/seen" 2>/dev/null\n'
                        'exit 0\n', 'bin/work.sh')

    done = workspace.run(env=CANARIES)

    assert done.code == 0, done
    seen = workspace.read('data/work/seen')
    assert 'PIPELINE_STAGE_NAME=work' in seen
    assert [value for value in CANARIES.values() if value in seen] == []


# -- secretEnv -----------------------------------------------------------------------

SECRETS = {
    'PLAIN': 'tok-5f4dcc3b5aa765d61d8327deb882cf99',
    'LONGER': 'tok-5f4dcc3b5aa765d61d8327deb882cf99-and-more-of-it',
    'LINES': '--- BEGIN KEY ---\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSjAgEA\n--- END KEY ---',
    'ODD': 'p.*a(s$s"w\\o\'rd+[%s]{0}',
    'FOREIGN': 'пароль-ключ-密码',
    'REPEATS': 'aXaXaXaXa',
}

#: Prints each secret whole, by line, byte by byte, twice in a row, beside others, then fails.
TELLS = '''\
"""Tell all secrets."""
import os
import sys

secrets = [os.environ[name] for name in %r]
for stream in (1, 2):
    for secret in secrets:
        data = secret.encode('utf-8')
        os.write(stream, b'whole: ' + data + b' and twice: ' + data + data + b'\\n')
        for place in range(len(data)):
            os.write(stream, data[place:place + 1])
        os.write(stream, b'\\n')
        for line in data.splitlines():
            os.write(stream, b'a line: ' + line + b'\\n')
        for half in (data[:len(data) // 2], data[len(data) // 2:]):
            os.write(stream, half)
    os.write(stream, ''.join(secrets).encode('utf-8') + b'\\n')
    os.write(stream, b'x' * (3 << 16) + secrets[0].encode() + b'\\n')
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'out.txt'), 'w') as target:
    target.write('%%d' %% len(secrets))
print('told', flush=True)
if os.environ['PIPELINE_STAGE_NAME'] == 'fails':
    raise SystemExit('cannot log in with ' + ' or '.join(secrets))
if os.environ['PIPELINE_STAGE_NAME'] == 'raises':
    raise ValueError('no such token: ' + secrets[1])
''' % (list(SECRETS),)


def spellings(value: str) -> Iterator[bytes]:
    """Yield what of a secret must not be found: as it is, by line, as JSON spells it."""
    for text in (value, *(line for line in value.splitlines() if len(line) >= 8)):
        yield text.encode('utf-8')
        yield json.dumps(text)[1:-1].encode('ascii')
        yield json.dumps(text, ensure_ascii=False)[1:-1].encode('utf-8')
        # Half a secret is one too.
        yield text[len(text) // 2:].encode('utf-8')


def told(workspace: Workspace, done: Finished) -> Dict[str, bytes]:
    """Return everything that was printed or written, by name."""
    return dict(workspace.contents('.'), out=done.out.encode('utf-8'),
                err=done.err.encode('utf-8'))


@pytest.mark.parametrize('name, launcher', [
    ('fails', 'warm'), ('raises', 'spawn'), ('works', 'warm'),
    *(pytest.param(*case, marks=pytest.mark.campaign)
      for case in (('fails', 'spawn'), ('raises', 'warm'), ('works', 'spawn')))])
def test_no_value_of_a_secret_is_written_or_printed(workspace: Workspace, launcher: str,
                                                    name: str) -> None:
    """Whole and in parts, in logs, records, metrics and messages; the words around it stay."""
    workspace.simple(TELLS)
    workspace.pipeline(stage(name, secretEnv=list(SECRETS),
                             retry={'maxAttempts': 2, 'baseDelaySec': 0}))

    done = workspace.run('--run-id', 'r', '--launcher', launcher, *(
        ['--json'] if name == 'raises' else []), env=SECRETS)

    assert done.code == (0 if name == 'works' else 1), done
    found = [(where, variable) for where, data in told(workspace, done).items()
             for variable, value in SECRETS.items()
             for spelling in spellings(value) if spelling in data]
    assert found == []
    log = workspace.read(f'state/logs/r/{name}.1.log')
    assert 'whole: [secret] and twice: [secret][secret]\n' in log and 'told\n' in log
    if name == 'fails':
        assert 'cannot log in with [secret] or [secret]' in workspace.json(
            'state/stage_fails.json')['lastError']


def test_without_its_name_in_the_list_a_value_is_found(workspace: Workspace) -> None:
    """The search itself: it finds what was not declared secret."""
    workspace.simple(TELLS, retry=ONCE)

    done = workspace.run('--run-id', 'r', env=SECRETS)

    data = told(workspace, done)['state/logs/r/work.1.log']
    assert all(value.encode('utf-8') in data for value in SECRETS.values())


# -- resources -----------------------------------------------------------------------

def limited(workspace: Workspace, launcher: str, text: str, **resources: int) -> Any:
    """Run a stage with limits; return how the run ended and the record of its attempt."""
    workspace.simple(text, resources=resources, retry={'maxAttempts': 2, 'baseDelaySec': 0})
    done = workspace.run('--launcher', launcher, '--run-id', 'r')
    return done, workspace.json('state/stage_work.json')['attempts'][-1]


@LAUNCHERS
def test_memory_beyond_its_limit_is_refused(workspace: Workspace, launcher: str) -> None:
    text = ('held = bytearray(b"x" * (64 << 20))\nprint("fits", flush=True)\n'
            'more = bytearray(512 << 20)\n')

    done, attempt = limited(workspace, launcher, text, memoryMB=400)

    assert done.code == 1, done
    assert workspace.read('state/logs/r/work.1.log').startswith('fits\n')
    assert attempt['error'].splitlines()[-1] == 'MemoryError'
    row, = workspace.json('state/metrics_r.json')['stages']
    assert 64 << 20 < attempt['peakMemoryBytes'] < 400 << 20
    assert row['peakMemoryBytes'] >= attempt['peakMemoryBytes']


@LAUNCHERS
def test_who_uses_more_cpu_than_its_limit_is_killed_and_told_so(workspace: Workspace,
                                                               launcher: str) -> None:
    done, attempt = limited(workspace, launcher, 'while True:\n    pass\n', cpuSec=1)

    assert done.code == 1 and '[RETRY]' not in done.out, done
    assert attempt['error'] == 'killed by signal 24: it used more than cpuSec 1'
    assert (attempt['exitCode'], attempt['class']) == (-24, 'permanent')
    row, = workspace.json('state/metrics_r.json')['stages']
    # The system counts in ticks, generously or not.
    assert attempt['cpuSec'] > 0 and row['cpuSec'] == round(attempt['cpuSec'], 6)


@LAUNCHERS
def test_a_file_beyond_its_limit_is_refused(workspace: Workspace, launcher: str) -> None:
    text = ('import os\nwith open(os.environ["PIPELINE_OUTPUT_DIR"] + "/out", "wb", 0) as out:\n'
            '    out.write(bytes(1 << 20))\n    print("fits", flush=True)\n'
            '    out.write(b"x")\n')

    done, attempt = limited(workspace, launcher, text, fileMB=1)

    assert done.code == 1, done
    assert workspace.read('state/logs/r/work.1.log').startswith('fits\n')
    assert attempt['error'].splitlines()[-1] == 'OSError: [Errno 27] File too large'
    assert isinstance(attempt['writtenBytes'], int)


def test_a_program_that_writes_beyond_its_limit_is_killed_and_told_so(
        workspace: Workspace) -> None:
    workspace.simple(processor='bin/work.sh', resources={'fileMB': 1}, retry=ONCE)
    workspace.processor('#!/bin/sh\nexec head -c 2000000 /dev/zero >"$PIPELINE_OUTPUT_DIR/out"\n',
                        'bin/work.sh')

    done = workspace.run()

    assert done.code == 1, done
    assert workspace.json('state/stage_work.json')['lastError'] == (
        'killed by signal 25: it wrote a file beyond fileMB 1')


@LAUNCHERS
def test_a_stage_runs_on_as_many_cores_as_it_may(workspace: Workspace, launcher: str) -> None:
    """What it starts too; the runner's next stage has all of them."""
    text = ('import os, subprocess\n'
            'child = subprocess.run(["nproc"], stdout=subprocess.PIPE).stdout.decode()\n'
            'print(len(os.sched_getaffinity(0)), child.strip())\n')
    workspace.simple(text)
    workspace.pipeline(stage('one', resources={'cpuCores': 1}), stage('all'))

    done = workspace.run('--launcher', launcher, '--run-id', 'r', env={'OMP_NUM_THREADS': ''})

    cores = len(os.sched_getaffinity(0))
    assert done.code == 0, done
    assert workspace.read('state/logs/r/one.1.log') == '1 1\n'
    assert workspace.read('state/logs/r/all.1.log') == f'{cores} {cores}\n'


# -- the process ---------------------------------------------------------------------

#: Writes down its descriptors, and those of what it was started by.
OPENS = '''\
"""Write down what is open."""
import json
import os


def opened(process):
    """Return what the descriptors of a process lead to."""
    found = {}
    for name in os.listdir('/proc/%s/fd' % process):
        try:
            found[name] = os.readlink('/proc/%s/fd/%s' % (process, name))
        except OSError:
            continue
    return found


seen = [opened('self'), opened(os.getppid())]
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'seen.json'), 'w') as target:
    json.dump([seen, os.getsid(0) == os.getpgrp() == os.getpid()], target)
'''


@LAUNCHERS
def test_a_processor_has_its_lock_open_and_its_keeper_has_nothing(workspace: Workspace,
                                                                  launcher: str) -> None:
    """No other lock, state or log: who is forked from the keeper cannot hold any either."""
    workspace.simple(OPENS)
    workspace.pipeline(stage('before'), stage())

    done = workspace.run('--launcher', launcher)

    assert done.code == 0, done
    (own, keepers), leads = workspace.json('data/work/seen.json')
    inside = str(workspace.root)
    assert leads and own.pop('0') == '/dev/null'
    assert own.pop('1').startswith('pipe:') and own.pop('2').startswith('pipe:')
    assert [path for path in own.values() if not path.startswith('/proc/')] == [
        f'{inside}/locks/work.lock']
    assert keepers and not [path for path in keepers.values() if path.startswith(inside)]


@LAUNCHERS
def test_a_keeper_that_dies_is_replaced_within_the_run(workspace: Workspace,
                                                       launcher: str) -> None:
    workspace.simple('import os, signal\nif os.environ["PIPELINE_ATTEMPT"] == "1":\n'
                     '    os.kill(os.getppid(), signal.SIGKILL)\n    signal.pause()\n'
                     'open(os.environ["PIPELINE_OUTPUT_DIR"] + "/out", "w").close()\n',
                     retry={'baseDelaySec': 0})

    done = workspace.run('--launcher', launcher)

    assert done.code == 0, done
    first, second = workspace.json('state/stage_work.json')['attempts']
    assert (first['exitCode'], second['status']) == (-9, 'ok')
    assert second['isolation'] == first['isolation']

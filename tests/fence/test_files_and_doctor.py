"""A stage that declares its files gets at no others; `doctor` tells what a host can promise."""

from __future__ import annotations

import json

import pytest

from fence.arena import SELF
from fence.arena import Arena
from fence.test_ways_out import NO_FENCE
from fence.test_ways_out import fence_here
from support import run_process
from support import stage

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def landlock():
    """Return the version of Landlock that this kernel has."""
    return fence_here()[1] or pytest.skip('SKIPPED: this kernel has no Landlock')


#: Tries what is declared and what is not; writes down what was refused, and how.
TRIES = '''\
"""Try to open files."""
import multiprocessing
import os
import sys
import tempfile
from stagerunner.processor import Progress
import helper

refused = {}
for path in ('data/input/other.txt', 'data/other/out.txt', 'state/run_r.json', 'pipeline.json'):
    try:
        open(path).close()
    except PermissionError as error:
        refused[path] = error.filename
for path in ('mine.txt', 'data/input/in.txt', 'state/forged.json', 'data/other/forged.txt',
             '/tmp/forged'):
    try:
        open(path, 'a').close()
        os.unlink(path)
    except PermissionError as error:
        refused['write ' + path] = error.filename


def double(number):
    return 2 * number


if __name__ == '__main__':
    with open('/dev/null', 'w') as null, tempfile.TemporaryFile() as scratch:
        null.write('x')
        scratch.write(b'x')
    with multiprocessing.Pool(1) as pool:
        assert pool.map(double, [1, 2]) == [2, 4]
    with Progress() as progress:
        result = progress.open('refused.txt')
        for line in progress.lines(sys.argv[1:]):
            result.write(line)
        result.write(repr(sorted(refused)))
        assert all(path.endswith(shown) for path, shown in refused.items())
'''

REFUSED = ['data/input/other.txt', 'data/other/out.txt', 'pipeline.json', 'state/run_r.json',
           'write /tmp/forged', 'write data/input/in.txt', 'write data/other/forged.txt',
           'write mine.txt', 'write state/forged.json']


@pytest.mark.usefixtures('landlock')
@pytest.mark.parametrize('launcher', ['warm', 'spawn'])
def test_a_stage_gets_at_its_declared_files_alone(workspace, launcher):
    """Inputs, code, outputs, TMPDIR and devices are there; the runner shows its progress."""
    workspace.simple(TRIES)
    workspace.write('bin/helper.py', '')
    workspace.write('data/input/other.txt', 'secret')
    workspace.write('data/other/out.txt', 'of somebody else')
    workspace.pipeline(stage(files='declared', checkpoint={'enabled': True, 'lineInterval': 1}))

    # What measures would write its figures where nobody may.
    done = workspace.run('--run-id', 'r', '--launcher', launcher, '--isolation', 'strict',
                         is_measured=False)

    assert done.code == 0, (done, workspace.contents('state/logs'))
    assert workspace.read('data/work/refused.txt') == f'one\ntwo\n{REFUSED!r}'
    assert workspace.json('state/progress_work.json')['lineOffset'] == 2
    attempt = workspace.json('state/stage_work.json')['attempts'][-1]
    assert attempt['isolation']['files'] == 'declared'
    assert not [name for name in workspace.contents('data/work') if 'aside' in name]


@pytest.mark.usefixtures('landlock')
@pytest.mark.parametrize('launcher', ['warm', 'spawn'])
def test_a_refused_access_is_told_with_its_path(workspace, launcher):
    workspace.simple('open("data/input/other.txt")\n', files='declared')
    workspace.write('data/input/other.txt', 'x')

    done = workspace.run('--launcher', launcher, is_measured=False)

    assert done.code == 1 and '[RETRY]' not in done.out, done
    assert workspace.json('state/stage_work.json')['lastError'].endswith(
        "PermissionError: [Errno 13] Permission denied: 'data/input/other.txt'")


def test_without_landlock_declared_files_are_refused_when_strict_and_warned_of_otherwise():
    with Arena(SELF.refusing('landlock')) as arena:
        strict = arena.with_runner(['exec_text'], '--isolation', 'strict', files='declared')
        auto = arena.with_runner(['exec_text'], files='declared')
        stage_record = arena.workspace.json('state/stage_exec_text.json')

    said = "the kernel cannot keep processors to their declared files"
    assert [run.code for run in strict.runs] == [2] and strict.tried == set(), strict.said
    assert said in strict.said and auto.said.count(said) == 1
    assert auto.tried == {'exec_text'} and auto.arrived == set(), auto.said
    assert stage_record['attempts'][-1]['isolation']['files'] == 'open'


# -- doctor ----------------------------------------------------------------------------

def test_doctor_tells_which_fence_there_is(main):
    mechanisms, landlock = fence_here()

    done, shown = main('doctor', '--json'), main('doctor')

    found = json.loads(done.out)
    assert (found['networkFence'], found['landlock']) == ('seccomp' in mechanisms, landlock)
    assert set(mechanisms) == set(found['mechanisms'])
    assert done.code == shown.code == (0 if 'seccomp' in mechanisms else 1)
    assert f'networkFence: {"yes" if found["networkFence"] else "no"}' in shown.lines


def test_doctor_fails_where_there_is_no_fence():
    with Arena(NO_FENCE) as arena:
        done = run_process(
            *arena.entered(arena.identity.python, arena.folder / 'src' / 'pipeline_runner.py',
                           'doctor'), cwd=arena.workspace.root, is_measured=False)

    assert done.code == 1, done
    assert {'networkFence: no', 'mechanisms: none', 'fileFence: no'} <= set(done.lines)

"""What makes a stage run again and what does not: the change matrix (reliability.md, C1)."""

from __future__ import annotations

import json
import os
import shutil
import time
from typing import Any

import pytest

from engine import Engine
from support import stage

pytestmark = pytest.mark.integration


@pytest.fixture
def chain(engine: Engine) -> Engine:
    """Return an engine on two stages that are done; `second` reads one output of `first`.

    The clock is ahead of all files, so that remembered digests are used where they can be.
    """
    engine.clock.set_wall(time.time() + 3600)
    workspace = engine.workspace
    workspace.processor('import helper\n')
    workspace.write('bin/helper.py', 'x = 1\n')
    for name in 'abc':
        workspace.write(f'data/input/{name}', f'content of {name}')
    workspace.path('data/input/link').symlink_to('b')
    workspace.write('bin/second.py', '')
    define(workspace)
    assert engine.run('r0') == 0
    assert engine.run('r1') == 0 and engine.skipped() == ['first', 'second']
    return engine


def define(workspace: Any, **keys: Any) -> None:
    """Write the definition of the two stages, keys of the first one changed."""
    first = dict({'inputs': ['data/input/a', 'data/input/link'], 'params': {'n': 1},
                  'env': {'MINE': 'x'}}, **keys)
    workspace.pipeline(stage('first', **first),
                       stage('second', inputs=['data/first/a'], processor='bin/second.py'))


def rewrite(name: str, content: str) -> Any:
    """Return a change of a file that keeps its time of change."""
    def change(workspace: Any) -> None:
        path = workspace.path(name)
        times = path.stat().st_atime_ns, path.stat().st_mtime_ns
        path.write_text(content)
        os.utime(str(path), ns=times)
    return change


def rename(old: str, new: str) -> Any:
    """Return the renaming of an input, in the folder and in the definition."""
    def change(workspace: Any) -> None:
        workspace.path(f'data/input/{old}').rename(workspace.path(f'data/input/{new}'))
        names = [f'data/input/{new if name == old else name}' for name in ('a', 'link')]
        define(workspace, inputs=names)
        workspace.pipeline_file.write_text(workspace.read('pipeline.json').replace(
            'data/first/a', f'data/first/{new}' if old == 'a' else 'data/first/a'))
    return change


def edit_through_hard_link(workspace: Any) -> None:
    os.link(str(workspace.path('data/input/a')), str(workspace.path('data/input/other')))
    rewrite('data/input/other', 'CONTENT OF a')(workspace)


def retarget(workspace: Any) -> None:
    workspace.path('data/input/link').unlink()
    workspace.path('data/input/link').symlink_to('c')


def lie_in_the_manifest(workspace: Any) -> None:
    marker = workspace.json('data/first/.first.done')
    marker['outputs'][0]['sha256'] = '0' * 64
    workspace.write('data/first/.first.done', json.dumps(marker))


BOTH, FIRST, SECOND = ['first', 'second'], ['first'], ['second']


@pytest.mark.parametrize('change, ran, reason', [
    (rewrite('data/input/a', 'CONTENT OF a'), BOTH, 'input changed: data/input/a'),
    (rewrite('data/input/b', 'CONTENT OF b'), FIRST, 'input changed: data/input/link'),
    (edit_through_hard_link, BOTH, 'input changed: data/input/a'),
    (retarget, FIRST, 'input changed: data/input/link'),
    (rename('link', 'renamed'), FIRST, 'input renamed: data/input/renamed'),
    (rename('a', 'A'), BOTH, 'input renamed: data/input/A'),
    (lambda w: define(w, inputs=['data/input/link', 'data/input/a']), FIRST,
     'order of inputs changed'),
    (lambda w: define(w, inputs=['data/input/a', 'data/input/link', 'data/input/c']), FIRST,
     'input added: data/input/c'),
    (lambda w: define(w, inputs=['data/input/a']), FIRST, 'input removed: data/input/link'),
    (lambda w: define(w, params={'n': 2}), FIRST, 'param changed: n'),
    (lambda w: define(w, env={'MINE': 'y'}), FIRST, 'env changed: MINE'),
    (lambda w: define(w, idempotency={'enabled': False}), None, 'idempotency is disabled'),
    (rewrite('bin/work.py', 'import helper # \n'), FIRST, 'processor changed: bin/work.py'),
    (rewrite('bin/helper.py', 'x = 2\n'), FIRST, 'helper module changed: bin/helper.py'),
    (lambda w: w.write('bin/helper.py', 'import more\n') and w.write('bin/more.py', ''), FIRST,
     'helper module changed: bin/helper.py'),
    (lambda w: w.path('data/first/a').unlink(), FIRST, 'output missing: data/first/a'),
    (lambda w: w.write('data/first/a', 'content'), FIRST, 'output edited: data/first/a'),
    (rewrite('data/first/a', 'CONTENT OF a'), FIRST, 'output edited: data/first/a'),
    (lie_in_the_manifest, FIRST, 'output edited: data/first/a'),
    (lambda w: w.path('data/first/.first.done').unlink(), FIRST, 'marker missing'),
    (lambda w: w.path('data/second/.second.done').unlink(), SECOND, 'marker missing'),
    (lambda w: w.write('data/first/.first.done', '\0' * 50), FIRST,
     'marker unreadable: not valid JSON at line 1 column 1: Expecting value'),
    (lambda w: shutil.copy(str(w.path('data/second/.second.done')),
                           str(w.path('data/first/.first.done'))), FIRST,
     "marker unreadable: belongs to 'second'"),
], ids=lambda value: value if isinstance(value, str) else '')
def test_a_change_runs_what_it_touches_and_no_more(chain, change, ran, reason):
    """Equal output bytes let the stage after it be skipped; afterwards all is done again."""
    change(chain.workspace)

    assert chain.run('r2') == 0
    assert chain.ran() == (ran or FIRST)
    assert chain.reasons()[0] == reason

    assert chain.run('r3') == 0
    assert chain.ran() == ([] if ran else FIRST)


def test_another_python_runs_everything(chain):
    chain.python_version = '3.99'

    chain.run('r2')

    assert chain.ran() == BOTH and chain.reasons() == ['python changed']


def remove_state(workspace: Any) -> None:
    shutil.rmtree(str(workspace.path('state')))
    shutil.rmtree(str(workspace.path('locks')))


def move(workspace: Any) -> None:
    moved = workspace.root.parent / 'moved'
    workspace.root.rename(moved)
    workspace.root = moved


@pytest.mark.parametrize('change', [
    pytest.param(lambda w: os.utime(str(w.path('data/input/a'))), id='input touched'),
    pytest.param(lambda w: os.utime(str(w.path('bin/work.py'))), id='processor touched'),
    pytest.param(lambda w: os.utime(str(w.path('bin/helper.py')), (0, 0)), id='helper touched'),
    pytest.param(lambda w: w.path('data/input/a').chmod(0o600), id='mode of an input'),
    pytest.param(lambda w: w.path('data/first/a').chmod(0o600), id='mode of an output'),
    pytest.param(lambda w: os.utime(str(w.path('data/first/a'))), id='output touched'),
    pytest.param(lambda w: w.write('data/first/extra', ''), id='extra output'),
    pytest.param(lambda w: w.write('bin/unrelated.py', ''), id='unrelated module'),
    pytest.param(lambda w: w.write('state/index.json', 'garbage'), id='index unreadable'),
    pytest.param(lambda w: w.path('state/stage_first.json').unlink(), id='record removed'),
    pytest.param(lambda w: w.write('state/stage_first.json', 'garbage'), id='record unreadable'),
    pytest.param(remove_state, id='all state removed'),
    pytest.param(move, id='workspace moved'),
    pytest.param(lambda w: define(w, timeoutSec=60, graceSec=1, retry={'maxAttempts': 9}),
                 id='how it is run'),
    pytest.param(lambda w: define(w, checkpoint={'enabled': True}), id='checkpointing'),
    pytest.param(lambda w: w.write('data/first/.first.partial/x', ''), id='leftover'),
])
def test_what_cannot_change_an_output_runs_nothing(chain, change):
    change(chain.workspace)

    assert chain.run('r2') == 0
    assert chain.skipped() == ['first', 'second']


def test_neither_the_clock_nor_the_callers_environment_run_anything(chain):
    chain.clock.set_wall(0.0)
    chain.environment['SOMETHING'] = 'else'

    chain.run('r2')

    assert chain.skipped() == ['first', 'second']


def test_a_skip_changes_nothing_but_the_records_of_the_run(chain):
    before = chain.workspace.tree()

    chain.run('r1')

    after = chain.workspace.tree()
    assert {name for name in {**before, **after} if before.get(name) != after.get(name)} == {
        'state', 'state/run_r1.json', 'state/metrics_r1.json', 'state/pipeline_checkpoint.json',
        'state/audit_r1.jsonl', 'state/audit_head.jsonl',
        'locks/.run'}

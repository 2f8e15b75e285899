"""Tests of the whole runner under Windows: what another system might break, and only that."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Tuple

import pytest

from stagerunner.launch.windows import SETTLE_S
from support import CHECKOUT
from support import COPY
from support import UPPER
from support import Finished
from support import Workspace
from support import stage
from support import wait_until
from windows.conftest import Windows

#: What a run that starts a processor says where no kernel fences it.
NO_FENCE = ('warning: the kernel keeps no processor of this run from the network; '
            'only imports are scanned\n')

#: Prints when the file `held` can be locked, which it cannot as long as `HOLD` runs somewhere.
WAIT_UNTIL_FREE = '''
import msvcrt, time
while True:
    try:
        with open('held', 'r+b') as held:
            msvcrt.locking(held.fileno(), msvcrt.LK_NBLCK, 1)
            break
    except OSError:
        time.sleep(0.05)
print('free')
'''

#: Holds the file `held` in the workspace, says so, and goes on for a minute.
HOLD = '''
import msvcrt, os, time
held = open('held', 'w+b')
msvcrt.locking(held.fileno(), msvcrt.LK_NBLCK, 1)
open('up', 'w').close()
time.sleep(60)
'''

#: A processor that starts a child which does so, and waits with it.
HOLD_IN_CHILD = f'''
import subprocess, sys, time
subprocess.Popen([sys.executable, '-c', {HOLD!r}])
time.sleep(60)
'''


def is_free(windows: Windows) -> bool:
    """True as soon as nobody holds the file of `HOLD` any more."""
    return windows.python(WAIT_UNTIL_FREE).out == 'free\n'


def wait_for(workspace: Workspace, name: str) -> None:
    wait_until(lambda: workspace.path(name).exists(), name)


def demo(workspace: Workspace) -> bytes:
    """Make the workspace a copy of the demo and return what must become of it."""
    for name in ('bin', 'data/input', 'pipeline.json'):
        source, target = CHECKOUT / name, workspace.path(name)
        if source.is_dir():
            shutil.copytree(str(source), str(target),
                            ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copyfile(str(source), str(target))
    return workspace.read('data/input/sample.txt').upper().encode('utf-8')


def test_the_demo_does_its_work_once(windows, workspace):
    expected = demo(workspace)

    first = windows.run('--run-id', 'demo1')
    second = windows.run('--run-id', 'demo2')

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert [line.split()[0] for line in first.lines] == [
        '[RUN]', '[DONE]', '[RUN]', '[DONE]', 'Run']
    assert second.lines == ['[SKIP] stage_copy (idempotent key matched)',
                            '[SKIP] stage_upper (idempotent key matched)',
                            'Run demo2 state: completed']
    assert workspace.read_bytes('data/output/result.txt') == expected
    assert workspace.json('state/metrics_demo2.json')['skippedStages'] == 2
    assert (first.err, second.err) == (NO_FENCE, '')


def test_records_have_slashes_and_line_feeds(windows, workspace):
    workspace.simple('print("printed")' + COPY)

    windows.run('--run-id', 'one')

    assert workspace.json('state/stage_work.json')['attempts'][0]['log'] == (
        'state/logs/one/work.1.log')
    texts = [path for path in workspace.root.rglob('*') if path.suffix in ('.json', '.done')]
    assert texts
    assert [path for path in texts if b'\r' in path.read_bytes()] == []


def test_the_definition_may_be_called_from_elsewhere(windows, workspace):
    workspace.simple()
    workspace.path('elsewhere').mkdir()
    code = ('import os, subprocess, sys; path = os.path.abspath("pipeline.json"); '
            'os.chdir("elsewhere"); '
            'raise SystemExit(subprocess.call([sys.executable, sys.argv[1], "--pipeline", path], '
            'stdin=subprocess.DEVNULL))')

    done = windows.python(code, windows.runner)

    assert done.code == 0, done.err
    assert workspace.read('data/work/in.txt') == 'one\ntwo\n'
    assert list(workspace.path('elsewhere').iterdir()) == []


def test_globs_folders_and_programs_work(windows, workspace):
    workspace.write('data/input/a b.txt', '1')
    workspace.write('data/input/c.txt', '2')
    workspace.write('data/more/inner/d.txt', '3')
    workspace.write('bin/list.cmd', '@echo off\r\n'
                    'echo %1 %2 %3 > "%PIPELINE_OUTPUT_DIR%\\list.txt"\r\n')
    workspace.pipeline(stage(processor='bin/list.cmd',
                             inputs=['data/input/*.txt', 'data/more']))

    done = windows.run()

    assert done.code == 0, done.err
    assert workspace.read('data/work/list.txt').split() == [
        '"data/input/a', 'b.txt"', 'data/input/c.txt', 'data/more']


def test_a_program_that_windows_cannot_start_fails(windows, workspace):
    workspace.write('bin/run.sh', '#!/bin/sh\n')
    workspace.pipeline(stage(processor='bin/run.sh', inputs=[]))

    done = windows.run()

    assert done.code == 1
    assert '[FAIL] work: bin/run.sh cannot be started: ' in done.out


def test_a_failing_stage_is_told_and_publishes_nothing(windows, workspace):
    workspace.simple('import os, sys\n'
                     'open(os.path.join(os.environ["PIPELINE_OUTPUT_DIR"], "x"), "w").close()\n'
                     'print("arrow \\u2192", file=sys.stderr)\n'
                     'sys.exit(65)')

    done = windows.run('--run-id', 'one')

    assert done.code == 1
    assert done.lines[1].startswith('[FAIL] work: exit code 65: arrow ')
    assert done.lines[2] == 'Run one state: failed'
    assert 'Traceback' not in done.err
    assert workspace.read('state/logs/one/work.1.log').split() == ['arrow', '\u2192']
    assert workspace.contents('data/work') == {}


def test_a_stage_over_its_time_is_killed_with_its_children(windows, workspace):
    workspace.simple(HOLD_IN_CHILD, timeoutSec=5, graceSec=0.2, retry={'maxAttempts': 1})

    done = windows.run()

    assert done.code == 1
    assert '[FAIL] work: timed out after 5s' in done.out
    assert workspace.path('up').exists()
    assert is_free(windows)


def test_children_left_behind_are_killed_before_outputs_are_published(windows, workspace):
    keep_open = ('import sys, time; kept = open(sys.argv[1], "ab"); open("up", "w"); '
                 'time.sleep(60)')
    workspace.simple(COPY + '\n'.join([
        'import subprocess, time',
        'output = os.path.join(os.environ["PIPELINE_OUTPUT_DIR"], "in.txt")',
        f'subprocess.Popen([sys.executable, "-c", {keep_open!r}, output])',
        'while not os.path.exists("up"): time.sleep(0.01)']))

    done = windows.run()

    assert (done.code, done.err) == (0, NO_FENCE)
    assert workspace.path('up').exists()
    assert workspace.read('data/work/in.txt') == 'one\ntwo\n'


def test_processors_die_with_a_killed_runner(windows, workspace):
    workspace.simple(HOLD_IN_CHILD)
    with windows.start_run() as run:
        wait_for(workspace, 'up')

        run.kill()
        windows.end(run)

    assert is_free(windows)


PAUSING = UPPER.replace('result.write', '''if progress.line_offset == 170:
            open('up', 'w').close()
            while not os.path.exists('go'):
                time.sleep(0.01)
        result.write''').replace('import sys', 'import os\nimport sys\nimport time')


def test_a_killed_run_is_resumed(windows, workspace):
    text = ''.join(f'line {number} of \u00e9\r\n' for number in range(500))
    workspace.simple(PAUSING, text, checkpoint={'enabled': True, 'lineInterval': 50})
    with windows.start_run() as run:
        wait_for(workspace, 'up')
        run.kill()
        windows.end(run)
    workspace.write('go')

    done = windows.run()

    assert done.code == 0, done.err
    assert '[RESUME] work at line 150' in done.lines
    assert workspace.read_bytes('data/work/result.txt') == text.upper().encode('utf-8')
    assert workspace.json('state/checkpoint_work.json')['lineOffset'] == 500


def test_of_several_runs_one_does_the_work(windows, workspace):
    workspace.simple('import time\n'
                     'open("executions", "a").write("x\\n"); time.sleep(0.5)\n' + COPY)
    runs = [windows.start_run('--run-id', f'run{number}') for number in range(4)]

    ended = [windows.end(run) for run in runs]

    assert [done.code for done in ended] == [0] * 4, [done.err for done in ended]
    assert workspace.read('executions').split() == ['x']
    assert sum('[DONE]' in done.out for done in ended) == 1
    assert sum('[SKIP]' in done.out for done in ended) == 3


def test_a_run_id_in_use_is_busy(windows, workspace):
    workspace.simple(PAUSING, 'x\n' * 200)
    with windows.start_run('--run-id', 'one') as run:
        wait_for(workspace, 'up')
        holder = workspace.json('locks/.run/one.lock.json')

        second = windows.run('--run-id', 'one')
        other = windows.run('--run-id', 'two', '--lock-timeout', '0.2')
        workspace.write('go')
        first = windows.end(run)

    assert (first.code, second.code, other.code) == (0, 4, 4), first.err
    assert f'held by pid {holder["pid"]} on ' in second.err
    assert "stage 'work' is busy" in other.out


#: Opens a file as most programs do, so that it cannot be replaced, until another one appears
#: and some time has passed; then prints what has become of a third one.
READ = '''
import os, sys, time
with open(sys.argv[1], 'rb') as read:
    open('up', 'w').close()
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.01)
    time.sleep(float(sys.argv[3]))
    print(open(sys.argv[4]).read())
'''


def rerun_under_a_reader(windows: Windows, workspace: Workspace, until: str,
                         seconds: float) -> Tuple[Finished, Finished]:
    """Run with new input while somebody reads the second of two outputs: (run, reader)."""
    workspace.simple(COPY + '\n'.join([
        'shutil.copyfile(path, os.path.join(os.environ["PIPELINE_OUTPUT_DIR"], "z.txt"))',
        'open("copied", "w").close()']))
    assert windows.run().code == 0
    workspace.path('copied').unlink()
    workspace.write('data/input/in.txt', 'new\n')
    with windows.start('-c', READ, 'data/work/z.txt', until, seconds, 'data/work/in.txt') as read:
        wait_for(workspace, 'up')
        done = windows.run()
        workspace.write('go')
        return done, windows.end(read)


def test_a_reader_holds_publishing_up_for_a_moment_only(windows, workspace):
    done, reader = rerun_under_a_reader(windows, workspace, 'copied', 0.4)

    assert reader.out.split() == ['one', 'two']
    assert done.code == 0, done.err
    assert workspace.read('data/work/in.txt') == workspace.read('data/work/z.txt') == 'new\n'


def test_a_reader_that_stays_leaves_all_outputs_as_they_were(windows, workspace):
    done, reader = rerun_under_a_reader(windows, workspace, 'go', 0)

    assert done.code == 5
    assert 'data/work' in done.err.replace('\\', '/')
    assert reader.out.split() == ['one', 'two']
    assert workspace.read('data/work/in.txt') == workspace.read('data/work/z.txt') == 'one\ntwo\n'
    assert windows.run().code == 0
    assert workspace.read('data/work/in.txt') == workspace.read('data/work/z.txt') == 'new\n'


def test_an_input_edited_in_place_is_found_out(windows, workspace):
    workspace.simple(COPY + '\n'.join([
        'found = os.stat(path)', 'with open(path, "r+b") as edited:', '    edited.write(b"ONE")',
        'os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))']), retry={'maxAttempts': 1})

    done = windows.run()

    assert done.code == 1
    assert 'input data/input/in.txt changed while its stage ran' in done.out
    assert not workspace.path('data/work/.work.done').exists()


def test_a_helper_counts_and_runs_as_it_was_checked(windows, workspace, shared):
    workspace.write('bin/helper_of_work.py', 'SIGN = 1')
    workspace.simple(COPY + '\nimport helper_of_work')
    windows.run()
    workspace.write('bin/helper_of_work.py', 'SIGN = 2')

    done = windows.run()

    assert done.lines[0] == '[RUN] work (helper module changed: bin/helper_of_work.py)'
    cached = {path.name.partition('.')[0] for path in (shared / 'pyc').rglob('*.pyc')}
    assert 'scheduler' in cached
    assert 'helper_of_work' not in cached


def test_variables_are_known_in_any_case(windows, workspace):
    workspace.simple('import os\nprint(os.environ["MIXED"], os.environ["PATH"] == "here")',
                     env={'Mixed': 'yes', 'Path': 'here'})

    windows.run('--run-id', 'one')

    assert workspace.read('state/logs/one/work.1.log').split() == ['yes', 'True']


def test_old_runs_go_with_their_locks(windows, workspace):
    workspace.simple('print("x")')
    workspace.pipeline(stage(), keepRuns=1)

    for run_id in ('one', 'two'):
        done = windows.run('--run-id', run_id)
        assert done.code == 0, done.err

    assert sorted(os.listdir(str(workspace.path('locks/.run')))) == ['two.lock']
    assert workspace.path('state/logs').exists()
    assert [path.name for path in workspace.path('state').glob('run_*')] == ['run_two.json']


def test_a_log_that_is_being_read_goes_one_run_later(windows, workspace):
    workspace.simple('print("x")', idempotency={'enabled': False})
    workspace.pipeline(stage(idempotency={'enabled': False}), keepRuns=1)
    windows.run('--run-id', 'one')
    log = 'state/logs/one/work.1.log'
    with windows.start('-c', READ, log, 'go', 0, log) as reader:
        wait_for(workspace, 'up')
        during = windows.run('--run-id', 'two')
        names = sorted(path.name for path in workspace.path('state/logs').iterdir())
        workspace.write('go')
        windows.end(reader)

    after = windows.run('--run-id', 'three')

    assert (during.code, after.code) == (0, 0), during.err + after.err
    assert names == ['one', 'two']
    assert [path.name for path in workspace.path('state/logs').iterdir()] == ['three']


def test_rubbish_in_place_of_a_lock_is_set_aside(windows, workspace):
    workspace.simple()
    workspace.write('locks/work.lock/inner', 'x')

    done = windows.run()

    assert done.code == 0, done.err
    assert workspace.read('locks/work.lock.corrupt-1/inner') == 'x'


def test_the_other_commands_find_their_way_there(windows, workspace):
    """Paths are given with either slash, and are told with that of records."""
    demo(workspace)
    windows.run('--run-id', 'one')

    done = {' '.join(words): windows.end(windows.start(windows.runner, *words)) for words in (
        ('status', 'one', '--json'), ('logs',), ('report',), ('validate',), ('graph',), ('plan',),
        ('verify', '--deep', 'stage_upper'), ('audit', 'verify'), ('diff', 'one', 'one'),
        ('trace', r'data\output\result.txt'), ('impact', 'data/input/sample.txt'),
        ('adopt', 'stage_upper'), ('init', 'new'), ('clean', '--outputs', '--dry-run'),
        ('queue', 'enqueue', 'x', '{}'), ('queue', 'stats'))}

    assert {name: told.err for name, told in done.items() if told.code} == {}
    assert done[r'trace data\output\result.txt'].lines[0] == 'data/output/result.txt'
    assert done['init new'].lines[1] == r'made new\bin\number.py'


def test_temporary_files_of_the_dead_are_removed(windows, workspace):
    workspace.simple()
    workspace.write('state/run_x.json.4194300-0.tmp', 'half')

    windows.run()

    assert [path.name for path in workspace.path('state').glob('*.tmp')] == []


@pytest.mark.parametrize('event, code', [
    pytest.param(0, 130, id='CTRL_C'),
    pytest.param(1, 149, id='CTRL_BREAK'),
])
def test_a_key_in_the_console_ends_the_run_in_good_order(windows, workspace, event, code):
    workspace.simple(HOLD_IN_CHILD, graceSec=SETTLE_S)
    ctrl = Path(__file__).with_name('ctrl.py')

    pressed = windows.end(windows.start(ctrl, event, 'up', windows.runner, '--run-id', 'one'))

    told = json.loads(pressed.out)
    if not told['sent']:
        pytest.skip('this system cannot send the event (wine knows CTRL_C only)')
    assert told['code'] == code, told
    assert '[INTERRUPTED] work' in told['out']
    assert workspace.json('state/run_one.json')['state'] == 'interrupted'
    assert is_free(windows)

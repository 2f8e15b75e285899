"""The runner from outside: real processes and signals, what is printed and what is left."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from typing import Any
from typing import Iterator

import pytest

from support import CHECKOUT
from support import PATIENCE_S
from support import Finished
from support import Workspace
from support import is_alive
from support import run_cli
from support import stage
from support import wait_until

pytestmark = pytest.mark.integration

ONCE = {'maxAttempts': 1}
SH = '#!/bin/sh\n'


@pytest.fixture
def demo(workspace: Workspace) -> Workspace:
    """Return a workspace with the pipeline that is shipped, and nothing done yet."""
    for name in ('pipeline.json', 'bin/stage_copy.py', 'bin/stage_upper.py'):
        workspace.write(name, (CHECKOUT / name).read_bytes())
    lines = (CHECKOUT / 'data/input/sample.txt').read_bytes().splitlines(keepends=True)
    workspace.write('data/input/sample.txt', b''.join(lines[:500]))
    return workspace


# -- the demo ----------------------------------------

def test_the_demo_does_its_work_once(demo):
    first, second = demo.run('--run-id', 'demo1'), demo.run('--run-id', 'demo2')

    assert (first.code, first.err, second.code, second.err) == (0, '', 0, '')
    assert demo.read('data/output/result.txt') == demo.read('data/input/sample.txt').upper()
    assert first.lines[-1] == 'Run demo1 state: completed'
    assert second.lines == ['[SKIP] stage_copy (idempotent key matched)',
                            '[SKIP] stage_upper (idempotent key matched)',
                            'Run demo2 state: completed']
    assert demo.json('state/metrics_demo2.json')['skippedStages'] == 2


@pytest.mark.slow
def test_the_demo_after_the_documented_clean_up(demo, tmp_path):
    """`rm -r state/* locks/* data/work/* data/output/*` leaves the hidden markers."""
    demo.run()
    run_shell('rm -r state/* locks/* data/work/* data/output/*', demo)
    assert demo.path('data/work/.stage_copy.done').exists()

    done = run_cli('--pipeline', demo.pipeline_file, '--run-id', 'x', cwd=tmp_path)

    assert [line.split()[0] for line in done.lines] == ['[RUN]', '[DONE]'] * 2 + ['Run']
    demo.path('data/output/.stage_upper.done').unlink()
    again = run_cli('--pipeline', demo.pipeline_file, cwd=tmp_path)
    assert again.lines[0] == '[SKIP] stage_copy (idempotent key matched)'
    assert again.lines[1] == '[RUN] stage_upper (marker missing)'


def run_shell(script: str, workspace: Workspace) -> None:
    subprocess.run(['bash', '-c', script], cwd=str(workspace.root), check=True)


# -- signals ----------------------------------------

#: Says when it is up, notes when it is asked to end, and then ends.
LISTENS = '''\
import os, signal, sys, time
def asked(*args):
    open('asked', 'w').close()
    sys.exit(1)
signal.signal(signal.SIGTERM, asked)
open('up', 'w').write(str(os.getpid()))
while not os.path.exists('go'):
    time.sleep(0.005)
open(os.environ['PIPELINE_OUTPUT_DIR'] + '/out', 'w').write('done')
'''

IGNORES = LISTENS.replace('signal.SIGTERM, asked', 'signal.SIGTERM, signal.SIG_IGN')


def pid_of(workspace: Workspace) -> int:
    """Return the process id of a processor as soon as it is up."""
    up = workspace.path('up')
    return int(wait_until(lambda: up.exists() and up.read_text(), 'the processor'))


@contextlib.contextmanager
def running(workspace: Workspace, *args: Any,
            **options: Any) -> Iterator[subprocess.Popen]:
    """Start a run; whatever happens, it does not outlive the block."""
    with workspace.start(*args, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen) -> Finished:
    """Wait for a runner and return how it ended."""
    out, err = process.communicate(timeout=PATIENCE_S)
    return Finished(process.returncode, out.decode(), err.decode())


@pytest.mark.parametrize('signum, code', [
    (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_a_run_in_good_order_and_the_next_one_completes(workspace, signum, code):
    workspace.simple(LISTENS)
    with running(workspace, '--run-id', 'x') as process:
        processor = pid_of(workspace)
        process.send_signal(signum)
        ended = end(process)

    assert (ended.code, ended.err) == (code, '')
    assert ended.lines[1:] == ['[INTERRUPTED] work', 'Run x state: interrupted']
    assert workspace.path('asked').exists() and not is_alive(processor)
    assert workspace.json('state/run_x.json')['state'] == 'interrupted'
    assert workspace.json('state/metrics_x.json')['stages'][0]['status'] == 'interrupted'
    assert sorted(os.listdir(workspace.path('data/work'))) == []

    workspace.write('go')
    assert workspace.run('--run-id', 'x').code == 0
    assert workspace.read('data/work/out') == 'done'


def test_an_interrupt_while_the_runner_starts_up_is_no_traceback(workspace):
    """Held up in its imports by a module that lies about its name."""
    workspace.simple()
    workspace.write('lib/json.py', 'import time\nopen("up", "w").write("1")\n'
                                    'while True:\n    time.sleep(0.005)\n')
    with running(workspace, env={'PYTHONPATH': str(workspace.path('lib'))},
                 is_measured=False) as process:
        pid_of(workspace)
        process.send_signal(signal.SIGINT)
        ended = end(process)

    assert ended == (130, '', '')


@pytest.mark.slow
def test_a_processor_that_does_not_listen_is_killed_after_its_grace(workspace):
    workspace.simple(IGNORES, graceSec=0.2)
    with running(workspace) as process:
        processor = pid_of(workspace)
        process.terminate()
        ended = end(process)

    assert ended.code == 143 and not is_alive(processor)


def test_a_second_signal_kills_at_once(workspace):
    workspace.simple(LISTENS.replace('    sys.exit(1)\n', ''), graceSec=3600)
    with running(workspace) as process:
        processor = pid_of(workspace)
        process.terminate()
        wait_until(workspace.path('asked').exists)
        process.terminate()
        ended = end(process)

    assert ended.code == 143 and not is_alive(processor)


def test_a_signal_during_a_back_off_ends_the_wait(workspace):
    workspace.simple('open("up", "w").write("0")\nraise SystemExit(75)\n',
                     retry={'baseDelaySec': 3600, 'maxDelaySec': 3600})
    with running(workspace, '--run-id', 'x') as process:
        for line in process.stdout:
            if line.startswith(b'[RETRY]'):
                break
        process.terminate()
        ended = end(process)

    assert ended.code == 143
    assert ended.lines == ['[INTERRUPTED] work', 'Run x state: interrupted']


def test_an_interruption_outranks_state_that_cannot_be_written(workspace):
    """As the contract has it: interrupted, 3, 5, 4, 1."""
    workspace.simple('import json, os, signal\n'
                     'runner = json.load(open("locks/work.lock.json"))["pid"]\n'
                     'os.rename("state", "gone")\n'
                     'open("state", "w").close()\n'
                     'os.kill(runner, signal.SIGTERM)\n'
                     'signal.pause()\n')

    ended = workspace.run()

    assert ended.code == 143
    assert ended.err.count('\n') == 1 and 'not a directory' in ended.err


# -- time, and what is left behind ----------------------------------------

@pytest.mark.slow
def test_a_processor_that_takes_too_long_is_stopped_and_tried_again(workspace):
    workspace.simple(IGNORES, timeoutSec=0.15, graceSec=0.05,
                     retry={'maxAttempts': 2, 'baseDelaySec': 0, 'jitter': 0})

    failed = workspace.run('--run-id', 'x')

    assert failed.code == 1
    assert '[RETRY] work attempt 2 of 2 in 0s (transient: timed out after 0.15s)' in failed.lines
    assert failed.lines[-2] == '[FAIL] work: timed out after 0.15s'
    assert workspace.json('state/stage_work.json')['lastError'] == 'timed out after 0.15s'


def test_what_a_processor_leaves_running_is_gone_before_its_outputs_are_hashed(workspace):
    workspace.simple(
        processor='bin/work.sh')
    workspace.processor(
        SH + '(trap "" HUP TERM; while :; do echo x >>"$PIPELINE_OUTPUT_DIR/out"; done) &\n'
             'echo $! > child\nuntil [ -s "$PIPELINE_OUTPUT_DIR/out" ]; do :; done\n',
        'bin/work.sh')

    assert workspace.run().code == 0

    child = int(workspace.read('child'))
    wait_until(lambda: not is_alive(child), 'the end of what was left')
    output, = workspace.json('data/work/.work.done')['outputs']
    assert output['sha256'] == hashlib.sha256(workspace.read_bytes('data/work/out')).hexdigest()


def test_a_processor_that_reads_its_own_helper_anew_is_checked_again(workspace):
    """The first attempt rewrites the helper that it is about to import: its bytes do not run."""
    workspace.simple(
        'import os\n'
        'if os.environ["PIPELINE_ATTEMPT"] == "1":\n'
        '    open("bin/helper.py", "w").write("x = \'checked the second time\'")\n'
        'import helper\n'
        'open(os.environ["PIPELINE_OUTPUT_DIR"] + "/out", "w").write(helper.x)\n',
        retry={'baseDelaySec': 0, 'jitter': 0})
    workspace.write('bin/helper.py', 'x = "never seen"\n')

    done = workspace.run()

    assert done.code == 0
    assert '(transient: exit code 75)' in done.lines[1]
    assert '[RUN] work' in done.lines[2]
    assert workspace.read('data/work/out') == 'checked the second time'


# -- programs and interpreters ----------------------------------------

def test_a_program_gets_inputs_variables_and_nothing_on_stdin(workspace):
    workspace.simple(processor='bin/work.sh', params={'n': 1})
    workspace.processor(SH + 'cat; tr a-z A-Z <"$1" >"$PIPELINE_OUTPUT_DIR/out"; '
                             'echo "$PIPELINE_PARAMS $PWD"\n', 'bin/work.sh')

    assert workspace.run('--run-id', 'x').code == 0
    assert workspace.read('data/work/out') == 'ONE\nTWO\n'
    assert workspace.read('state/logs/x/work.1.log') == f'{{"n": 1}} {workspace.root}\n'


@pytest.mark.parametrize('text, mode, said', [
    (SH, 0o644, 'permission denied; make it executable (chmod +x)'),
    ('#!/no/such/shell\n', 0o755, 'no such file or directory; look at the program that its first '
                                  'line names, and for a CR at its end'),
    ('echo hello\n', 0o755, 'exec format error; let it begin with a line such as #!/bin/sh')])
def test_a_program_that_cannot_be_started_fails_at_once(workspace, text, mode, said):
    workspace.simple(processor='bin/work.sh')
    workspace.processor(text, 'bin/work.sh')
    workspace.path('bin/work.sh').chmod(mode)

    failed = workspace.run()

    assert failed.code == 1 and len(failed.lines) == 3
    assert failed.lines[1] == f'[FAIL] work: bin/work.sh cannot be started: {said}'


def test_a_program_that_removes_itself_is_told_so(workspace):
    """That was once reported as a bug of the runner."""
    workspace.simple(processor='bin/work.sh', retry=ONCE)
    workspace.processor(SH + 'rm "$0"\n', 'bin/work.sh')

    failed = workspace.run()

    assert failed.code == 1
    assert '[FAIL] work: input bin/work.sh changed while it ran' in failed.lines[1]


def test_processors_run_under_the_python_that_the_pipeline_names(workspace):
    workspace.simple('import os\nopen(os.environ["PIPELINE_OUTPUT_DIR"] + "/out", "w").write('
                     'os.environ["WRAPPED"])\n')
    workspace.pipeline(stage(), python='tools/python')
    workspace.processor(f'{SH}WRAPPED=yes exec {sys.executable} "$@"\n', 'tools/python')

    assert workspace.run().code == 0
    assert workspace.read('data/work/out') == 'yes'


def test_a_broken_python_is_refused_before_anything_runs(workspace):
    workspace.simple()
    workspace.pipeline(stage(), python='tools/python')
    workspace.processor(f'{SH}exit 1\n', 'tools/python')
    before = workspace.tree()

    refused = workspace.run()

    assert (refused.code, refused.out) == (2, '')
    assert refused.err == ("pipeline.json: python: 'tools/python' cannot be used as an "
                           'interpreter; name a Python 3 or leave the key out\n')
    assert workspace.tree() == before


@pytest.mark.parametrize('text, code, error', [
    ('import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n', -11, 'killed by signal 11'),
    ('import sys\nsys.exit(65)\n', 65, 'exit code 65'),
    ('import sys\nsys.stderr.buffer.write(b"\\xff\\x00\\x1b[2Jno newline")\nsys.exit(78)\n', 78,
     'exit code 78: \\xff\\x00\\x1b[2Jno newline'),
], ids=['crash', 'data error', 'binary'])
def test_whatever_a_processor_prints_or_dies_of_is_told_in_a_line(workspace, text, code, error):
    workspace.simple(text)

    failed = workspace.run()

    assert failed.code == 1
    assert failed.lines[1] == f'[FAIL] work: {error}' and len(failed.lines) == 3
    attempt, = workspace.json('state/stage_work.json')['attempts']
    assert (attempt['exitCode'], attempt['class']) == (code, 'permanent')


# -- going on ----------------------------------------

#: Upper-cases lines and holds at line 70 until it may go on.
HOLDS = '''\
import os, sys, time
from stagerunner.processor import Progress

with Progress() as progress:
    result = progress.open('result.txt')
    for line in progress.lines(sys.argv[1:]):
        if progress.line_offset == 70:
            open('up', 'w').write(str(os.getpid()))
            while not os.path.exists('go'):
                time.sleep(0.005)
        result.write(line.upper())
'''

CHECKPOINT = {'enabled': True, 'lineInterval': 20}


def numbers(count: int) -> str:
    return ''.join(f'line {number}\n' for number in range(count))


def test_an_interrupted_stage_goes_on_at_its_last_committed_line(workspace):
    workspace.simple(HOLDS, numbers(100), checkpoint=CHECKPOINT)
    with running(workspace) as process:
        pid_of(workspace)
        process.terminate()
        assert end(process).code == 143
    assert os.listdir(workspace.path('data/work')) == ['.work.partial']

    workspace.write('go')
    done = workspace.run()

    assert done.code == 0 and done.lines[1] == '[RESUME] work at line 60'
    assert workspace.read('data/work/result.txt') == numbers(100).upper()
    assert workspace.json('state/checkpoint_work.json')['lineOffset'] == 100


#: In the words of a shell: lines are committed without their lengths.
PLAIN = SH + '''\
out=$PIPELINE_OUTPUT_DIR/out
line=$PIPELINE_LINE_OFFSET
tail -n +$((line + 1)) "$1" | while read -r text; do
    echo "$text" >>"$out"
    line=$((line + 1))
    echo "{\\"lineOffset\\": $line}" >"$PIPELINE_PROGRESS_PATH.tmp"
    mv "$PIPELINE_PROGRESS_PATH.tmp" "$PIPELINE_PROGRESS_PATH"
    if [ $line = 3 ] && [ $PIPELINE_ATTEMPT = 1 ]; then exit 75; fi
done
'''


def test_lines_committed_without_lengths_are_gone_on_with_and_marked(workspace):
    workspace.simple(processor='bin/work.sh', content=numbers(5), checkpoint=CHECKPOINT,
                     retry={'baseDelaySec': 0, 'jitter': 0})
    workspace.processor(PLAIN, 'bin/work.sh')

    done = workspace.run()

    assert done.code == 0
    assert ("[RESUME] work at line 3 (outputs not verified: progress has no 'outputs')"
            in done.lines)
    assert workspace.read('data/work/out') == numbers(5)
    assert workspace.json('state/stage_work.json')['attempts'][1]['verified'] is False


@pytest.mark.parametrize('progress, why', [
    ('{"lineOffset": 3}', 'its progress file was not made by a run of this stage'),
    ('{"lineOffset": ', 'its progress file is unreadable: not valid JSON at line 1 column 16: '
                        'Expecting value')])
def test_progress_made_by_hand_starts_at_line_0_and_says_why(workspace, progress, why):
    workspace.simple(processor='bin/work.sh', content=numbers(2), checkpoint=CHECKPOINT)
    workspace.processor(PLAIN, 'bin/work.sh')
    workspace.write('state/progress_work.json', progress)

    done = workspace.run()

    assert done.code == 0 and '[RESUME]' not in done.out
    assert f'note: work starts at line 0: {why}\n' in done.err
    assert workspace.read('data/work/out') == numbers(2)


# -- publishing ----------------------------------------

def test_a_run_of_the_same_stage_replaces_what_the_former_one_published(workspace):
    workspace.simple(inputs=['data/input/*'])
    workspace.write('data/input/deep/old.txt', 'x')
    workspace.simple(inputs=['data/input/**/*.txt'])
    assert workspace.run().code == 0
    workspace.path('data/input/deep/old.txt').rename(workspace.path('data/input/new.txt'))
    workspace.write('data/work/mine.txt', 'of somebody else')

    assert workspace.run().code == 0

    assert sorted(os.listdir(workspace.path('data/work'))) == [
        '.work.done', 'in.txt', 'mine.txt', 'new.txt']


def test_a_stage_that_writes_directly_is_put_up_with(workspace):
    workspace.simple('open("data/work/out", "w").write("x")\n', outputs=['out'])

    done = workspace.run()

    assert done.code == 0
    assert done.err == ('warning: work: wrote to data/work directly; use PIPELINE_OUTPUT_DIR\n')
    assert workspace.json('data/work/.work.done')['staged'] is False
    assert workspace.run().lines[0] == '[SKIP] work (idempotent key matched)'


def test_names_of_all_kinds_go_through(workspace):
    """Blanks, quotes, other scripts and line ends in names and in the path of the workspace."""
    odd = Workspace(workspace.root / 'a b\u00fc\u2028c "d" $e')
    name = 'in put \u00e9\u4e2d "x" $y;.txt'
    odd.simple('import helper\n' + 'import os, shutil, sys\n'
               'shutil.copy(sys.argv[1], os.environ["PIPELINE_OUTPUT_DIR"])\n',
               inputs=[f'data/input/{name}'])
    odd.write('bin/helper.py')
    odd.write(f'data/input/{name}', 'x')

    assert odd.run().code == 0
    assert odd.read(f'data/work/{name}') == 'x'
    assert odd.run().lines[0].startswith('[SKIP]')


# -- two at once ----------------------------------------

def test_a_second_runner_waits_and_skips_what_the_first_one_did(workspace):
    workspace.simple(LISTENS)
    with running(workspace) as first:
        pid_of(workspace)
        with running(workspace) as second:
            locks = workspace.path('locks/.run')
            wait_until(lambda: len(list(locks.glob('*.lock'))) == 2, 'the second runner')
            workspace.write('go')
            assert end(first).code == 0
            ended = end(second)

    assert ended.code == 0 and ended.lines[0] == '[SKIP] work (idempotent key matched)'


def test_a_run_id_in_use_names_the_runner_that_uses_it(workspace):
    workspace.simple(LISTENS)
    with running(workspace, '--run-id', 'x') as first:
        pid_of(workspace)
        busy = workspace.run('--run-id', 'x')
        workspace.write('go')
        end(first)

    assert busy.code == 4 and busy.err.count('\n') == 1
    assert f'held by pid {first.pid} on ' in busy.err and ', run x)' in busy.err


# -- the fence, as authors of processors see it ------------------------------------

@pytest.mark.slow
@pytest.mark.skipif(sys.version_info < (3, 8), reason='this Python tells nobody of its calls')
@pytest.mark.parametrize('launcher', ['warm', 'spawn'])
def test_a_refused_connection_is_told_with_its_line_and_address(workspace, launcher):
    workspace.simple("net = __import__('so' + 'cket')\n"
                     "net.create_connection(('127.0.0.1', 9))\n")

    failed = workspace.run('--launcher', launcher)

    assert failed.code == 1
    assert ("Offline violation: connection to 127.0.0.1:9 refused in stage 'work' "
            '(bin/work.py:2)') in failed.lines[-2]
    assert '[RETRY]' not in failed.out

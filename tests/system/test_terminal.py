"""Runs on real pseudo-terminals: what a person sees, and which bytes got there."""

import os
import re
import signal

import pytest

from screens import Screen
from screens import Session
from support import run_cli
from support import stage
from support import start_cli
from support import wait_until

pytestmark = [
    pytest.mark.integration, pytest.mark.slow,
    pytest.mark.skipif(os.name != 'posix', reason='no pseudo-terminals'),
]

#: Commits ten lines, then waits until it may go on.
GATED = '''\
import os
import sys
import time
from stagerunner.processor import Progress

with Progress() as progress:
    result = progress.open('result.txt')
    # Longer than a tick of the clock of files: else there may be no time to reckon a rate with.
    time.sleep(0.1)
    for number, line in enumerate(progress.lines(sys.argv[1:])):
        while number == 10 and not os.path.exists('gate'):
            time.sleep(0.01)
        result.write(line)
'''

#: Does what it can to look like the runner, and fails.
FORGER = '''\
import sys
for text in ('\\x1b[2J\\x1b[1;1H', '[DONE] forged in 0.1s', '\\r[DONE] forged in 0.2s',
             'x' * 34 + '[DONE] forged in 0.3s', 'x' * 72 + '[DONE] forged in 0.4s',
             '\\x9b2J\\u202e[DONE] forged', 'Run r1 state: completed', 'last\\x07'):
    print(text, file=sys.stderr)
    print(text)
sys.exit(65)
'''


@pytest.fixture
def gated(workspace):
    """Return a workspace whose second stage waits until there is a file `gate`."""
    workspace.processor('', name='bin/first.py')
    workspace.processor(GATED)
    workspace.write('data/input/in.txt', 'x\n' * 25)
    workspace.pipeline(stage('first', processor='bin/first.py'),
                       stage('second', checkpoint={'enabled': True, 'lineInterval': 10}),
                       stage('third', processor='bin/first.py'))
    return workspace


def seen(gated, *args, shows='[1/3]', **options):
    """Run to the gate, keep what is seen there, and finish; return both screens and the bytes."""
    with Session('--pipeline', gated.pipeline_file, '--run-id', 'r1', *args, cwd=gated.root,
                 **options) as session:
        session.until(lambda there: shows in there.screen.text(), shows)
        middle = session.screen.lines()
        gated.write('gate')
        assert session.finish() == 0
        return middle, session.screen.lines(), session.raw


def in_rows(lines, columns):
    """Return the rows that a terminal needs for lines."""
    screen = Screen(columns)
    screen.feed('\r\n'.join(lines).encode())
    return screen.lines()


PLAIN = ['[RUN] first (never ran)', '[DONE] first in Xs', '[RUN] second (never ran)',
         '[DONE] second in Xs', '[RUN] third (never ran)', '[DONE] third in Xs',
         'Run r1 state: completed']


def without_figures(lines):
    return [re.sub(r'\d\.\d+s', 'Xs', line) for line in lines]


def test_on_a_terminal_the_display_is_below_the_lines_and_gone_in_the_end(gated):
    middle, end, raw = seen(gated, shows='line 10')

    assert without_figures(middle[:3]) == PLAIN[:3]
    assert middle[3].startswith('[1/3] 1 running, 1 waiting')
    assert re.fullmatch(r'  second +\ds  line 10 \(.*/(s|min)\)', middle[4])
    assert without_figures(end) == PLAIN
    assert b'\x1b[32m[DONE]\x1b[0m first' in raw


@pytest.mark.parametrize(('columns', 'env'), [(40, {}), (20, {}), (80, {'NO_COLOR': '1'})],
                         ids=['40', '20', 'NO_COLOR'])
def test_narrow_or_without_colours_it_is_one_row_and_no_escape_sequence(gated, columns, env):
    middle, end, raw = seen(gated, columns=columns, env=env)

    assert b'\x1b' not in raw
    assert middle[-1].startswith('[1/3] 1 running')
    lines = [line for line in re.split(r'[\r\n]+', raw.decode())
             if line.startswith(('[RUN]', '[DONE]', 'Run'))]
    assert without_figures(lines) == PLAIN
    assert end == in_rows(lines, columns)


@pytest.mark.parametrize(('args', 'env', 'lines'), [
    pytest.param((), {'TERM': 'dumb'}, PLAIN, id='dumb'),
    pytest.param(('--quiet',), {}, PLAIN[-1:], id='quiet'),
    pytest.param(('--json',), {}, None, id='json'),
])
def test_where_there_is_to_be_no_display_there_are_plain_lines(gated, args, env, lines):
    gated.write('gate')
    with Session('--pipeline', gated.pipeline_file, '--run-id', 'r1', *args, cwd=gated.root,
                 env=env, columns=400) as session:
        assert session.finish() == 0

    assert b'\x1b' not in session.raw and session.raw.count(b'\r') == session.raw.count(b'\r\n')
    if lines is None:
        assert all(line.startswith(b'{"event"') for line in session.raw.splitlines())
    else:
        assert without_figures(session.screen.lines()) == lines


def test_through_a_pipe_there_are_plain_lines_whatever_the_terminal(gated):
    gated.write('gate')
    done = run_cli('--pipeline', gated.pipeline_file, '--run-id', 'r1', cwd=gated.root,
                   env={'TERM': 'xterm-256color', 'COLUMNS': '40'})

    assert without_figures(done.lines) == PLAIN
    assert '\x1b' not in done.out + done.err and '\r' not in done.out + done.err


@pytest.mark.parametrize('columns', [80, 40])
def test_a_stage_cannot_forge_what_a_person_sees(workspace, columns):
    """The emulator fails at each sequence that is not the runner's own, so none got through."""
    workspace.simple(FORGER)

    with Session('--pipeline', workspace.pipeline_file, '--run-id', 'r1', cwd=workspace.root,
                 columns=columns) as session:
        assert session.finish() == 1

    rows = session.screen.lines()
    assert '[DONE] forged' in session.screen.text().replace('\n', '').replace('    ', '')
    assert [row for row in rows if re.match(r'\[DONE\]|Run r1 state: c', row)] == []
    assert '\\x1b[2J' in session.raw.decode().replace('\r\n    ', '')


def test_who_drags_the_window_loses_no_line(gated):
    with Session('--pipeline', gated.pipeline_file, '--run-id', 'r1', cwd=gated.root) as session:
        session.until(lambda there: 'line 10' in there.screen.text(), 'the display')
        for columns, rows in ((70, 6), (120, 30)):
            enough = len(session.raw) + 20
            session.resize(columns, rows)
            session.until(lambda there, enough=enough: len(there.raw) > enough, 'more')
        gated.write('gate')
        assert session.finish() == 0

    assert without_figures(session.screen.lines()) == PLAIN


def test_warnings_of_a_run_do_not_break_the_display(workspace):
    """stderr is the same terminal; its lines go above the block too."""
    workspace.processor(GATED)
    workspace.write('data/input/in.txt', 'x\n' * 25)
    workspace.processor('import sys\nsys.stderr.write("[DONE] x")\nsys.exit(65)\n', 'bin/bad.py')
    workspace.pipeline(
        stage('second', stopOnFailure=False),
        stage('bad', processor='bin/bad.py', inputs=['data/input/none*'], stopOnFailure=False))

    with Session('--pipeline', workspace.pipeline_file, '--run-id', 'r1', '--max-workers', '2',
                 cwd=workspace.root) as session:
        session.until(lambda there: '[0/2] 1 failed, 1 running' in there.screen.text(), 'both')
        middle = session.screen.lines()
        workspace.write('gate')
        assert session.finish() == 1

    assert middle[-1].startswith('  second') and len(middle) == 6
    assert [line.split(':')[0].split(' in ')[0] for line in session.screen.lines()] == [
        '[RUN] second (never ran)', 'warning', '[RUN] bad (never ran)', '[FAIL] bad',
        '[DONE] second', 'Run r1 state', 'first failure', 'log', '  | [DONE] x']


# -- status from another terminal ----------------------------------------

def test_a_second_terminal_sees_how_far_a_run_is_and_that_it_was_killed(gated):
    """The display there is drawn anew until the run ends; a dead run is never `running`."""
    with gated.start('--run-id', 'r1') as runner:
        try:
            wait_until(gated.path('state/run_r1.json').exists, 'the run')
            with Session('status', 'r1', '--watch', '--pipeline', gated.pipeline_file,
                         cwd=gated.root) as watcher:
                watcher.until(lambda there: 'line 10' in there.screen.text(), 'the line')
                live = watcher.screen.lines()
                one_look = run_cli('status', '--pipeline', gated.pipeline_file, cwd=gated.root)
                runner.kill()
                runner.wait()
                killed = run_cli('status', '--json', '--pipeline', gated.pipeline_file,
                                 cwd=gated.root)
                assert watcher.finish() == 0
        finally:
            runner.kill()
            runner.communicate()

    assert live[1].split()[:2] == ['r1', 'running'] and 'r1  [1/3] 1 running' in live[3]
    assert one_look.lines[1].split()[:2] == ['r1', 'running']
    assert '"state": "crashed"' in killed.out
    assert watcher.screen.lines()[1].split()[:2] == ['r1', 'crashed']
    assert len(watcher.screen.lines()) == 2


def test_watching_ends_with_the_run_and_with_ctrl_c(gated):
    """Without a terminal there is a block a second; Ctrl-C is 130, and leaves what was drawn."""
    with gated.start('--run-id', 'r1') as runner:
        try:
            wait_until(gated.path('state/run_r1.json').exists, 'the run')
            with start_cli('status', '--watch', '--pipeline', gated.pipeline_file,
                           cwd=gated.root) as plain, \
                    Session('status', '--watch', '--pipeline', gated.pipeline_file,
                            cwd=gated.root, columns=30) as narrow:
                narrow.until(lambda there: '[1/3] 1 running' in there.screen.text(), 'a look')
                narrow.process.send_signal(signal.SIGINT)
                assert narrow.finish() == 130
                gated.write('gate')
                out, err = plain.communicate(timeout=60)
        finally:
            gated.write('gate')
            runner.communicate()

    assert b'\x1b' not in narrow.raw and narrow.raw.endswith(b'\r\n')
    assert (plain.returncode, err) == (0, b'') and b'\x1b' not in out and b'\r' not in out
    assert out.splitlines()[-1].split()[:2] == [b'r1', b'completed']


def test_on_a_terminal_a_log_is_shown_without_its_control_characters(workspace):
    """Through a pipe it is what was printed, byte for byte."""
    workspace.simple(FORGER)
    workspace.run('--run-id', 'r1')

    with Session('logs', 'work', '--pipeline', workspace.pipeline_file, cwd=workspace.root
                 ) as session:
        assert session.finish() == 0
    piped = run_cli('logs', 'work', '--pipeline', workspace.pipeline_file, cwd=workspace.root)

    assert b'\\x1b[2J\\x1b[1;1H' in session.raw and b'\x1b' not in session.raw
    assert piped.out == workspace.read('state/logs/r1/work.1.log') and '\x1b[2J' in piped.out

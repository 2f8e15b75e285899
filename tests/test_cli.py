"""Tests of `stagerunner.cli` and its one command: flags, printed lines, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
from typing import Any

import pytest

from stagerunner import __version__
from stagerunner.cli import COMMANDS
from stagerunner.locks import run_lock
from stagerunner.locks import stage_lock
from stagerunner.locks import try_lock
from support import FRONT_DOOR
from support import Workspace
from support import run_process
from support import stage

pytestmark = pytest.mark.integration

FLAGS = ['--pipeline', '--run-id', '--max-workers', '--keep-going', '--resume', '--dry-run',
         '--enable-experimental', '--config', '--only', '--until', '--force', '--resume-from',
         '--lock-timeout', '--isolation', '--launcher', '--checkpoint-file', '--log-file',
         '--log-level', '--quiet', '--json', '--version', '--help']

FAILS = 'import sys\nprint("so far")\nsys.exit("it cannot be done")\n'


@pytest.fixture
def run(workspace: Workspace, main: Any) -> Any:
    """Return a function that runs the pipeline of `workspace` within this process."""
    def call(*args: Any) -> Any:
        return main('--pipeline', workspace.pipeline_file, *args)
    return call


# -- flags ----------------------------------------

def test_help_names_every_flag_and_every_exit_code(main):
    shown = main('--help')

    assert shown.code == 0 and shown.err == ''
    assert [flag for flag in FLAGS if flag not in shown.out] == []
    assert re.findall(r'\b(\d) (?:done|a |refused|another|state)', shown.out) == list('012345')
    assert max(map(len, shown.lines)) < 100


@pytest.mark.parametrize('name', sorted(COMMANDS))
def test_the_help_of_every_command_has_an_example(main, name):
    """Its module has `EXAMPLES`: lines of two blanks and a whole command line each."""
    shown = main(*name.split(), '--help')

    assert shown.code == 0 and max(map(len, shown.lines)) < 100
    examples = re.split(r'^examples?:$', shown.out, flags=re.M)[1].split('\n\n')[0]
    said = '' if name == 'run' else f' {name}'
    lines = [line for line in examples.splitlines() if line]
    assert lines, f'commands/{name.replace(" ", "/")}.py: add EXAMPLES'
    for line in lines:
        assert re.match(rf'  (\S+ \| )?python src/pipeline_runner.py{said}\b', line), line


def test_help_names_no_flag_that_does_not_exist(main):
    assert set(re.findall(r'--[a-z-]+', main('--help').out)) == set(FLAGS)


def test_version_is_one_line(main):
    assert main('--version') == (0, f'stagerunner {__version__}\n', '')


@pytest.mark.parametrize('args, said', [
    (['--frobnicate'], 'unrecognized arguments: --frobnicate; see --help'),
    (['--max-workres', '4'],
     "unrecognized arguments: --max-workres 4, did you mean '--max-workers'?; see --help"),
    (['--dry_run'], "unrecognized arguments: --dry_run, did you mean '--dry-run'?; see --help"),
    (['-pipeline=x'],
     "unrecognized arguments: -pipeline=x, did you mean '--pipeline'?; see --help"),
    (['--run'], "unrecognized arguments: --run, did you mean '--run-id'?; see --help"),
    (['--max-workers', '2', 'plan'],
     "unrecognized arguments: plan; 'plan' has to stand first, before flags; see --help"),
    (['--quiet', 'extra'], 'unrecognized arguments: extra; see --help'),
    (['foo'], "unknown command 'foo'; see --help"),
    (['x/my.json'], "unknown command 'x/my.json'; a definition is named with --pipeline"),
    (['doktor'], "unknown command 'doktor', did you mean 'doctor'?; see --help"),
    (['--run-id'], 'argument --run-id: expected one argument; see --help'),
    (['--lock-timeout', 'soon'],
     "argument --lock-timeout: invalid float value: 'soon'; see --help"),
    (['--lock-timeout', '-1'], '--lock-timeout: expected seconds of at least 0, got -1'),
    (['--lock-timeout', 'nan'], '--lock-timeout: expected seconds of at least 0, got nan'),
    (['--lock-timeout', 'inf'], '--lock-timeout: expected seconds of at least 0, got inf'),
])
def test_a_flag_that_cannot_be_followed_is_one_line_and_exit_code_2(
        run, workspace, args, said):
    before = workspace.simple().tree()

    assert run(*args) == (2, '', said + '\n')
    assert workspace.tree() == before


def test_what_all_commands_take_may_stand_before_the_command(main, workspace):
    path = workspace.simple().path('pipeline.json')

    usual = main('plan', '--json', '--pipeline', path)

    assert main('--json', '--pipeline', path, 'plan') == usual
    assert main('--json', f'--pipeline={path}', 'plan') == usual
    assert json.loads(usual.lines[0])['decision'] == 'run'


@pytest.mark.parametrize('run_id', [
    '', '../x', 'a/b', '.hidden', '-', 'a b', 'x' * 101, 'é', 'a\n', 'NUL', 'com1.txt', 'a.'])
def test_an_id_that_is_no_file_name_everywhere_is_refused(run, workspace, run_id):
    before = workspace.simple().tree()

    refused = run(f'--run-id={run_id}')

    assert refused.code == 2 and refused.err.startswith('--run-id: ')
    assert refused.err.count('\n') == 1 and workspace.tree() == before


@pytest.mark.parametrize('run_id', ['x' * 100, '0', 'a.b_c-D', 'nul-1'])
def test_an_id_that_is_a_file_name_everywhere_is_taken(run, workspace, run_id):
    workspace.simple()

    assert run('--run-id', run_id).lines[-1] == f'Run {run_id} state: completed'
    assert workspace.json(f'state/run_{run_id}.json')['runId'] == run_id


def test_without_an_id_runs_get_ids_that_sort_by_time(run, workspace):
    workspace.simple()
    run()
    run()

    found = sorted(name for name in os.listdir(workspace.path('state')) if name[:4] == 'run_')
    assert len(found) == 2
    assert all(re.fullmatch(r'run_\d{8}T\d{6}\.\d{6}-\d+\.json', name) for name in found)
    assert workspace.json('state/' + found[0])['startedAt'] < workspace.json(
        'state/' + found[1])['startedAt']


# -- what is printed ----------------------------------------

def test_a_run_prints_a_line_per_fact(run, workspace):
    workspace.simple()

    first, second = run('--run-id', 'x1'), run('--run-id', 'x2')

    assert re.sub(r'\d\.\d{3}s', 'TIME', first.out) == (
        '[RUN] work (never ran)\n[DONE] work in TIME\nRun x1 state: completed\n')
    assert second.out == ('[SKIP] work (idempotent key matched)\nRun x2 state: completed\n')
    assert (first.code, first.err, second.code, second.err) == (0, '', 0, '')


def test_a_failed_run_ends_with_the_first_failure_its_log_and_its_last_lines(run, workspace):
    workspace.simple(FAILS, retry={'maxAttempts': 1})

    failed = run('--run-id', 'x')

    assert failed.code == 1
    assert failed.lines[-2:] == ['[FAIL] work: exit code 1: it cannot be done',
                                 'Run x state: failed']
    lines = failed.err.splitlines()
    assert lines[:2] == ['first failure: work: exit code 1', 'log: state/logs/x/work.1.log']
    assert sorted(lines[2:]) == ['  | it cannot be done', '  | so far']


def test_a_forbidden_import_is_told_as_in_the_contract(run, workspace):
    workspace.simple('\nimport socket\n')

    failed = run()

    assert failed.code == 1
    assert failed.lines[0] == (
        "[FAIL] work: Offline violation: forbidden import 'socket' (bin/work.py:2)")


def test_quiet_leaves_the_result_and_what_went_wrong(run, workspace):
    workspace.simple(FAILS, retry={'maxAttempts': 2, 'baseDelaySec': 0, 'jitter': 0})
    assert [line.split()[0] for line in run('--quiet', '--run-id', 'x').lines] == [
        '[RETRY]', '[FAIL]', 'Run']

    workspace.simple()
    assert run('--quiet', '--run-id', 'x').out == 'Run x state: completed\n'
    assert run('--quiet', '--run-id', 'x').out == 'Run x state: completed\n'


@pytest.mark.parametrize('text, code, kinds', [
    ('', 0, ['run_started', 'task_started', 'attempt_ended', 'task_done', 'run_ended']),
    (FAILS, 1, ['run_started', 'task_started', 'attempt_ended', 'task_failed', 'run_ended'])])
def test_with_json_stdout_is_json_lines_and_nothing_else(run, workspace, text, code, kinds):
    workspace.simple(text, retry={'maxAttempts': 1})

    told = run('--json', '--run-id', 'x')

    events = [json.loads(line) for line in told.lines]
    assert told.code == code and [event['event'] for event in events] == kinds
    assert events[0]['runId'] == 'x' and events[0]['stages'] == ['work']
    assert events[-1]['state'] == ('completed' if code == 0 else 'failed')


# -- exit codes ----------------------------------------

def test_faults_of_the_definition_are_one_line_each(run, workspace):
    workspace.simple()
    workspace.pipeline(stage(outputdir='x', inputs='y'), stage())

    refused = run()

    assert refused.code == 2 and refused.out == ''
    assert refused.err.splitlines() == [
        "pipeline.json: stages[0].inputs: expected a list, got 'y'",
        "pipeline.json: stages[0]: unknown key 'outputdir', did you mean 'outputDir'?",
        "pipeline.json: stages[1].name: 'work' is the name of stages[0] too"]


def test_a_missing_definition_is_refused(main, tmp_path):
    said = 'there is no such file; name one with --pipeline\n'

    assert main() == (2, '', f'pipeline.json: {said}')
    assert main('--pipeline', '') == (2, '', f'--pipeline: {said}')
    assert main('--pipeline', 'a\nb') == (2, '', f'a\\nb: {said}')


def test_an_id_in_use_is_busy_and_the_holder_is_named(run, workspace):
    workspace.simple()
    holder = try_lock(run_lock(str(workspace.root), 'x'))
    holder.note({'pid': os.getpid(), 'host': 'h', 'since': 'noon', 'runId': 'x'})
    try:
        busy = run('--run-id', 'x')
    finally:
        holder.release()

    assert (busy.code, busy.out) == (4, '')
    assert busy.err == (
        f"run 'x' is busy: locks/.run/x.lock locked (held by pid {os.getpid()} on h since noon, "
        f'run x); wait for that run or stop it\n')


def test_a_stage_in_use_is_busy_after_the_time_out(run, workspace):
    workspace.simple()
    holder = try_lock(stage_lock(str(workspace.root), 'work'))
    try:
        busy = run('--lock-timeout', '0.06')
    finally:
        holder.release()

    assert busy.code == 4
    assert busy.lines[0] == ("[FAIL] work: stage 'work' is busy: locks/work.lock still locked "
                             'after 0.06s (held by another process); wait for that run or stop it')


def test_state_that_cannot_be_written_is_exit_code_5_and_one_line(run, workspace):
    workspace.simple()
    workspace.write('state', 'a file')

    failed = run('--run-id', 'x')

    assert failed.code == 5 and failed.out == '' and failed.err.count('\n') == 1
    assert 'state' in failed.err


class Defective:
    """A stdout with a bug, standing in for any bug of the runner."""

    def __init__(self, error: BaseException):
        self.error = error

    def write(self, text: str) -> None:
        raise self.error

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def test_a_bug_is_one_line_and_a_log_with_the_traceback(run, workspace, monkeypatch):
    workspace.simple()
    monkeypatch.setattr(sys, 'stdout', Defective(ZeroDivisionError('by\nzero')))

    ended = run()

    assert ended.code == 3
    log = workspace.path(f'state/logs/bug-{os.getpid()}.log')
    assert ended.err == (
        f'bug in the runner: ZeroDivisionError: by; please report it with {log}\n')
    text = log.read_text()
    assert text.startswith(f'stagerunner {__version__}, Python 3.') and 'Traceback' in text


def test_where_state_cannot_be_written_the_traceback_goes_elsewhere(
        main, workspace, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'stdout', Defective(ZeroDivisionError('by zero')))
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    monkeypatch.chdir(str(workspace.root))
    workspace.write('state', 'a file')

    ended = main('--help')

    log = tmp_path / f'stagerunner-bug-{os.getpid()}.log'
    assert ended.code == 3 and ended.err.endswith(f'please report it with {log}\n')
    assert 'ZeroDivisionError' in log.read_text()


@pytest.mark.parametrize('is_known', [True, False])
def test_where_nothing_can_be_written_the_line_must_do(
        main, workspace, tmp_path, monkeypatch, is_known):
    """On a full disk Python finds no temporary folder: that was once a traceback."""
    workspace.write('state', 'a file')
    monkeypatch.chdir(str(workspace.root))
    monkeypatch.setattr(sys, 'stdout', Defective(ZeroDivisionError('by zero')))
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'gone/gone') if is_known else None)
    monkeypatch.setattr(tempfile, '_candidate_tempdir_list', list)
    (tmp_path / 'gone').write_text('a file')

    assert main('--help') == (3, '', 'bug in the runner: ZeroDivisionError: by zero\n')


def test_an_interrupt_before_anything_began_is_130(main, monkeypatch):
    monkeypatch.setattr(sys, 'stdout', Defective(KeyboardInterrupt()))

    assert main('--help') == (130, '', '')


# -- signals are given back ----------------------------------------

@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM', 'SIGHUP'])
def test_signal_handlers_are_given_back(run, workspace, name):
    before = signal.getsignal(getattr(signal, name))
    workspace.simple()

    assert run().code == 0
    assert signal.getsignal(getattr(signal, name)) == before


def test_an_ignored_signal_stays_ignored(run, workspace):
    """Under `nohup` a closed terminal must not end the run."""
    workspace.simple('import os\nimport signal\nos.kill(os.getppid(), signal.SIGHUP)\n')
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run().code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ends_of_processors_are_learned_although_the_caller_ignores_children(run, workspace):
    """Services may be started that way: it once ended the runner as a bug."""
    workspace.simple('raise SystemExit(65)\n')
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        failed = run()
        assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGCHLD, before)

    assert failed.code == 1 and '[FAIL] work: exit code 65' in failed.lines


# -- streams that go away ----------------------------------------

def sh(script: str, workspace: Workspace) -> Any:
    """Run a shell script in which `$run` is the runner."""
    return run_process(
        'sh', '-c', script, cwd=workspace.root, env={
            'run': f'{sys.executable} {FRONT_DOOR} --pipeline {workspace.pipeline_file}'})


@pytest.mark.parametrize('script', [
    pytest.param('{ $run --json; echo $? >&2; } | head -c 1', id='reader goes away'),
    pytest.param('$run >&-; echo $? >&2', id='stdout closed'),
    pytest.param('$run >/dev/full; echo $? >&2', id='stdout full'),
    pytest.param('$run --help >/dev/full; echo $? >&2', id='help to nowhere'),
    pytest.param('PYTHONUNBUFFERED=1 $run --help >/dev/full; echo $? >&2',
                 id='unbuffered help to nowhere'),
    pytest.param('$run <&- >&- 2>&-; echo $? >&2', id='everything closed'),
])
def test_a_stdout_that_went_away_is_no_error(workspace, script):
    workspace.simple()

    assert sh(script, workspace).err == '0\n'
    if 'help' not in script:
        assert workspace.path('data/work/in.txt').exists()


def test_a_closed_stderr_changes_no_exit_code(workspace):
    workspace.simple(FAILS, retry={'maxAttempts': 1})

    assert sh('$run 2>&- >/dev/null; echo $?', workspace).out == '1\n'


def test_without_any_stream_the_run_goes_on(run, workspace, monkeypatch):
    workspace.simple()
    monkeypatch.setattr(sys, 'stdout', None)
    monkeypatch.setattr(sys, 'stderr', None)

    assert run().code == 0


@pytest.mark.parametrize('flag', ['--help', '--version'])
def test_without_any_stream_there_is_nobody_to_help(run, monkeypatch, flag):
    """Bug: Python 3.7 fell over the missing stream, which was called a bug of the runner."""
    monkeypatch.setattr(sys, 'stdout', None)
    monkeypatch.setattr(sys, 'stderr', None)

    assert run(flag).code == 0


def test_a_stream_that_cannot_be_flushed_at_the_end_is_let_go(main, monkeypatch):
    stream = open(os.devnull)
    stream.close()
    monkeypatch.setattr(sys, 'stderr', stream)

    assert main('--version').code == 0


# -- where it was called from ----------------------------------------

def test_called_from_another_folder_it_works_in_the_folder_of_the_definition(
        main, workspace, tmp_path, monkeypatch):
    workspace.simple()
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(str(tmp_path / 'elsewhere'))

    assert main('--pipeline', workspace.pipeline_file).code == 0
    assert os.listdir(str(tmp_path / 'elsewhere')) == []
    assert main('--pipeline', '../workspace/pipeline.json').lines[0].startswith('[SKIP]')


def test_called_from_a_folder_that_is_gone(workspace):
    """It once ended with a traceback, even where the definition was named by its whole path."""
    workspace.simple()
    gone = 'mkdir ../gone && cd ../gone && rmdir ../gone && '

    assert sh(gone + '$run --run-id x', workspace).lines[-1] == 'Run x state: completed'
    refused = run_process('sh', '-c', f'{gone} {sys.executable} {FRONT_DOOR}',
                          cwd=workspace.root)
    assert (refused.code, refused.out) == (2, '')
    assert refused.err == ('the current folder does not exist any more; name the definition by '
                           'its whole path\n')

"""Tests of the command `report` and of `report.accounts`: every run has a page."""

from __future__ import annotations

import json
import os
import random
import re
from typing import Any

import pytest

from stagerunner.state.run import is_dead
from support import Workspace
from support import stage
from support import wait_until

pytestmark = pytest.mark.integration

posix_only = pytest.mark.skipif(os.name != 'posix', reason='pipes and links')

FAILS = 'import sys\nprint("so far <b>")\nsys.exit("it cannot\\x1b[2J be done")\n'


@pytest.fixture
def report(workspace: Workspace, main: Any) -> Any:
    """Return a function that calls `report` on the pipeline of `workspace`."""
    def call(*args: Any) -> Any:
        return main('report', *args, '--pipeline', workspace.pipeline_file)
    return call


def test_the_last_run_is_reported_where_none_is_named(report, main, workspace):
    workspace.simple()
    main('--pipeline', workspace.pipeline_file, '--run-id', 'one')
    main('--pipeline', workspace.pipeline_file, '--run-id', 'two')

    done = report()

    path = workspace.path('state/report_two.html')
    assert done == (0, f'written: {os.path.relpath(str(path))}\n', '')
    assert 'idempotent key matched' in path.read_text('ascii')


def test_a_report_goes_where_it_is_wanted(report, main, workspace, tmp_path):
    workspace.simple()
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')

    done = report('r', '-o', tmp_path / 'x.html', '--json')

    said = json.loads(done.out)
    assert said == {'runId': 'r', 'state': 'completed', 'file': str(tmp_path / 'x.html'),
                    'bytes': (tmp_path / 'x.html').stat().st_size}
    assert not workspace.path('state/report_r.html').exists()


def test_a_report_to_stdout_changes_nothing(report, main, workspace):
    workspace.simple()
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')
    before = workspace.tree()

    done = report('r', '--output', '-')

    assert done.code == 0 and done.out.startswith('<!DOCTYPE html>')
    assert done.out.endswith('</html>\n') and workspace.tree() == before


def test_a_failure_is_told_with_its_log(report, main, workspace):
    workspace.simple(FAILS, retry={'maxAttempts': 2, 'baseDelaySec': 0})
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')

    page = report('r', '-o', '-').out

    assert 'What went wrong first' in page and 'state/logs/r/work.2.log' in page
    assert 'so far &lt;b&gt;' in page and r'it cannot\x1b[2J be done' in page
    assert len(re.findall('<td><span class="badge failed">', page)) >= 2


def test_what_a_stage_printed_is_told(report, main, workspace):
    workspace.simple('print("a line of the log")\n')
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')

    page = report('r', '-o', '-').out

    assert 'Last lines of <code>state/logs/r/work.1.log</code>' in page
    assert 'a line of the log' in page


def test_inputs_outputs_and_key_are_told_by_digest(report, main, workspace):
    workspace.simple()
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')
    marker = workspace.json('data/work/.work.done')

    page = report('r', '-o', '-').out

    assert marker['key'] in page and marker['outputs'][0]['sha256'] in page
    assert marker['parts']['inputs'][0][1] in page
    assert workspace.json('state/run_r.json')['auditHead'] in page


@pytest.mark.slow
def test_a_killed_run_is_reported_as_crashed(report, workspace):
    workspace.simple('import time\nprint("here", flush=True)\ntime.sleep(600)\n')
    with workspace.start('--run-id', 'r') as runner:
        wait_until(lambda: 'task_started' in _audit(workspace), 'the start')
        going = report('r', '-o', '-').out
        runner.kill()
        runner.communicate()

    # What the runner had started dies with it, a moment later.
    wait_until(lambda: is_dead(str(workspace.root), 'r'), 'the end of all that held the lock')
    page = report('r', '-o', '-').out

    assert '<title>r: running</title>' in going
    assert '<title>r: crashed</title>' in page and 'unfinished' in page
    assert 'The runner was killed' in page and '<code>work</code>' in page


@pytest.mark.slow
@pytest.mark.parametrize('number', [
    pytest.param(number, marks=pytest.mark.campaign if number >= 2 else ())
    for number in range(50)])
def test_a_run_killed_at_any_moment_has_a_report(report, workspace, number):
    """It is killed when it has told so many events, from none to all but the last."""
    workspace.simple()
    workspace.pipeline(stage('first', jobs=['a', 'b', 'c']),
                       stage('second', inputs=['data/first/in.txt']))
    wanted = random.Random(number).randrange(22)
    with workspace.start('--run-id', 'r', '--max-workers', '2') as runner:
        wait_until(lambda: runner.poll() is not None or (
            workspace.path('state/run_r.json').exists()
            and _audit(workspace).count('\n') >= wanted), 'the moment')
        runner.kill()
        runner.communicate()
    wait_until(lambda: is_dead(str(workspace.root), 'r'), 'the end of all that held the lock')

    done = report('r', '-o', '-')

    whole, _, torn = _audit(workspace).rpartition('\n')
    assert all(json.loads(line) for line in whole.splitlines()) and '}' not in torn
    state = re.search('<title>r: (.*)</title>', done.out).group(1)
    assert done.code == 0 and state in ('crashed', 'completed', 'failed')
    assert done.out.endswith('</html>\n')


def _audit(workspace: Workspace) -> str:
    path = workspace.path('state/audit_r.jsonl')
    return path.read_text('ascii') if path.exists() else ''


def test_of_a_report_into_a_folder_that_there_is_not_the_next_step_is_told(report, main,
                                                                           workspace):
    workspace.simple()
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')

    assert report('-o', 'not/there.html') == (
        5, '', 'not/there.html: its folder does not exist; make it first\n')


@pytest.mark.parametrize('told, shown', [('"papers"', '>papers<'), ('[7]', '>[7]<')])
def test_a_report_says_over_which_collection_a_stage_fans_out(report, main, workspace, told,
                                                              shown):
    """Also when somebody wrote something else there."""
    workspace.simple()
    workspace.pipeline(stage(forEach='papers', inputs=['{item.path}']),
                       items={'papers': {'glob': 'data/input/*.txt'}})
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')
    audit = workspace.read('state/audit_r.jsonl')
    workspace.write('state/audit_r.jsonl', audit.replace('"work":"papers"', f'"work":{told}'))

    done = report('r', '-o', '-')

    assert done.code == 0
    assert re.search(f'fans out over</[a-z]+><[^>]*{re.escape(shown)}', done.out)


def test_a_torn_and_damaged_audit_still_has_a_page(report, main, workspace):
    workspace.simple()
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')
    lines = workspace.read_bytes('state/audit_r.jsonl').splitlines(True)
    workspace.write('state/audit_r.jsonl', b''.join(
        [lines[0], b'{"event":"task_done","task":5}\n', b'garbage\n', b'\xff\n', lines[1][:40]]))
    workspace.path('state/run_r.json').unlink()

    done = report('r', '-o', '-')

    assert done.code == 0 and '<title>r: crashed</title>' in done.out


def test_a_definition_that_is_gone_costs_the_picture_only(report, main, workspace):
    workspace.simple()
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')
    workspace.pipeline(stage('a', outputdir='x'))

    done = report('r', '-o', '-')

    assert done.code == 0
    assert 'There is no picture: pipeline.json: stages[0]: unknown key' in done.out


@pytest.mark.parametrize('args, said', [
    (['none'], "there is no run 'none'; the last one is r\n"),
    (['../r'], "there is no run '../r'; the last one is r\n"),
    (['r', '-o', '-', '--json'], '--json and -o - both want stdout; leave one of them out\n'),
])
def test_what_cannot_be_followed_is_one_line(report, main, workspace, args, said):
    workspace.simple()
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')

    assert report(*args) == (2, '', said)


def test_without_any_run_there_is_nothing_to_report(report, workspace):
    workspace.simple()

    assert report() == (2, '', 'there is no run yet\n')


@pytest.mark.parametrize('make', [
    pytest.param(lambda path: (path.mkdir(), (path / 'precious').write_text('x')), id='folder'),
    pytest.param(lambda path: os.mkfifo(str(path)), id='pipe', marks=posix_only),
    pytest.param(lambda path: path.symlink_to('data'), id='link to a folder', marks=posix_only)])
def test_what_is_no_file_is_not_replaced_by_a_report(report, main, workspace, make):
    """Bug: a folder was set aside, with all inputs in it; root would have replaced a device."""
    workspace.simple()
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')
    path = workspace.path('there')
    make(path)
    before = os.lstat(str(path))

    refused = report('-o', path)

    assert refused.code == 2 and 'is not a file' in refused.err
    assert os.path.samestat(os.lstat(str(path)), before)
    assert not os.path.lexists(f'{path}.corrupt-1')


@posix_only
def test_a_link_to_a_report_stays_one(report, main, workspace):
    workspace.simple()
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')
    workspace.write('elsewhere.html', 'old')
    workspace.path('link.html').symlink_to('elsewhere.html')

    done = report('-o', workspace.path('link.html'))

    assert done.code == 0 and workspace.path('link.html').is_symlink()
    assert workspace.read('elsewhere.html').startswith('<!DOCTYPE html>')


def test_a_place_that_cannot_be_written_is_one_line(report, main, workspace):
    workspace.simple()
    main('--pipeline', workspace.pipeline_file, '--run-id', 'r')

    done = report('r', '-o', workspace.path('none/x.html'))

    assert done.code == 5 and done.err.count('\n') == 1


def test_reports_of_runs_that_are_forgotten_are_removed(report, main, workspace):
    workspace.simple().pipeline(stage(), keepRuns=1)
    main('--pipeline', workspace.pipeline_file, '--run-id', 'one')
    report('one')
    main('--pipeline', workspace.pipeline_file, '--run-id', 'two')

    assert not workspace.path('state/report_one.html').exists()
    assert report('one', '-o', '-').code == 0

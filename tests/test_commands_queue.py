"""The commands of the queue: what they put in, show, forget, and how they refuse."""

from __future__ import annotations

import importlib
import io
import json
import sys
from typing import Any
from typing import Callable
from typing import Dict

import pytest

from stagerunner.cli import COMMANDS
from stagerunner.cli import System
from stagerunner.report.console import Stream
from stagerunner.work.store import WorkQueue
from support import Finished
from support import Workspace

#: No name for an import statement.
read_rows = importlib.import_module('stagerunner.commands.queue.import').read_rows

VERBS = [name.partition(' ')[2] for name in COMMANDS if name.startswith('queue ')]


@pytest.fixture
def queue(workspace: Workspace, main: Any) -> Callable[..., Finished]:
    """Return a function that calls a command of the queue of a small workspace."""
    workspace.simple()
    return lambda verb, *args: main('queue', verb, *args, '--pipeline', workspace.pipeline_file)


def store(workspace: Workspace) -> WorkQueue:
    return WorkQueue(str(workspace.path('state/workqueue.sqlite')))


def finish(workspace: Workspace, outcomes: Dict[str, str]) -> None:
    """Let entries end as said; what is not named stays leased."""
    queue = store(workspace)
    for job in queue.lease('worker-1', 100, 600):
        if job['artifact_id'] in outcomes:
            queue.ack(job['id'], outcomes[job['artifact_id']], 'exit code 65\nmore of it')
    queue.close()


# -- putting in --------------------------------------------------------------------

def test_an_entry_is_put_in_once(queue):
    assert queue('enqueue', 'a1', '{"x": 1}') == (0, 'enqueued a1\n', '')
    assert queue('enqueue', 'a1') == (0, 'already queued a1 (queued)\n', '')


def test_an_entry_that_is_there_already_is_told_with_its_state(workspace, queue):
    queue('enqueue', 'a1')
    finish(workspace, {'a1': 'done'})

    assert queue('enqueue', 'a1').out == 'already queued a1 (done)\n'
    assert json.loads(queue('enqueue', 'a1', '--json').out) == {
        'event': 'already_queued', 'artifact_id': 'a1', 'state': 'done'}


def test_what_was_put_in_is_shown(queue):
    queue('enqueue', 'doi:10/x', '[1, "ü"]', '--priority', '3', '--resolver', 'unpaywall',
          '--delay', '100')

    shown = json.loads(queue('show', 'doi:10/x', '--json').out)

    assert [shown[key] for key in ('artifact_id', 'artifact', 'priority', 'resolver_hint', 'state',
                                   'attempts', 'history')] == [
        'doi:10/x', [1, 'ü'], 3, 'unpaywall', 'queued', 0, []]
    assert shown['available_at'] > shown['created_at']


def test_without_json_an_entry_is_about_nothing(queue):
    queue('enqueue', 'a1')

    assert 'artifact         {}\n' in queue('show', 'a1').out


@pytest.mark.parametrize(('args', 'said'), [
    (('a', '{"x":'), 'JSON: not valid JSON at line 1 column 6: Expecting value'),
    (('a', 'NaN'), 'JSON: NaN is not a JSON number'),
    (('a', '[{"k": 1, "k": 2}]'), "JSON: duplicate key 'k'"),
    (('', '1'), "row 1: expected a text as artifact_id, got ''"),
    (('a', '--delay', '-1'), 'row 1: expected seconds from 0 to 1e10 as delay_sec, got -1.0'),
    (('a', '--delay', 'nan'), 'row 1: expected seconds from 0 to 1e10 as delay_sec, got nan'),
    (('a', '--priority', 'x'), "argument --priority: invalid int value: 'x'; see --help"),
    (('a', '--priority', '99999999999'),
     'row 1: expected a whole number as priority, got 99999999999'),
])
def test_what_cannot_be_put_in_is_refused_in_one_line(queue, args, said):
    assert queue('enqueue', *args) == (2, '', f'{said}\n')


# -- rows --------------------------------------------------------------------------

def test_a_file_is_imported(workspace, queue):
    queue('enqueue', 'old')
    rows = workspace.write('rows.jsonl', ''.join(f'{json.dumps(row)}\n' for row in (
        {'artifact_id': 'a', 'artifact': {'n': 1}, 'priority': 2, 'delay_sec': 0,
         'resolver_hint': 'crossref'}, {'artifact_id': 'old', 'artifact': None},
        {'artifact_id': 'b', 'artifact': 'text'}, {'artifact_id': 'b', 'artifact': 'again'})))

    done = queue('import', rows)
    again = queue('import', rows, '--json')

    assert done == (0, 'imported 2 of 4 entries, 2 of them known already\n', '')
    assert json.loads(again.out) == {'event': 'imported', 'new': 0, 'known': 4, 'total': 4}
    assert json.loads(queue('show', 'b', '--json').out)['artifact'] == 'text'


def test_rows_can_come_from_stdin(queue, monkeypatch):
    monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(
        b'\xef\xbb\xbf{"artifact_id": "a", "artifact": 1}\r\n\r\n'
        b'{"artifact_id": "b", "artifact": 2}')))

    assert queue('import', '-') == (0, 'imported 2 of 2 entries\n', '')


def test_bad_lines_are_told_by_their_number_and_nothing_is_imported(workspace, queue):
    rows = workspace.write('rows.jsonl', '\n'.join((
        '{"artifact_id": "a", "artifact": 1}', '', '{"artifact_id": 5, "artifact": 1}', 'foo',
        '{"artifact_id": "b", "artifact": 1, "prio": 2}', '[]', '{"artifact_id": "c"}',
        '{"artifact_id": "c\\u0000", "artifact": 1}',
        '{"artifact_id": "d", "artifact": {"k": 1, "k": 2}}')))

    done = queue('import', rows)

    assert (done.code, done.out) == (2, '')
    assert done.err.replace(f'{rows}:', '').splitlines() == [
        '3: expected a text as artifact_id, got 5',
        '4: not valid JSON at column 1: Expecting value',
        "5: unknown key 'prio', did you mean 'priority'?",
        '6: expected an object, got []',
        '7: has no artifact',
        '8: artifact_id must not hold a NUL character',
        "9: duplicate key 'k'",
        ' nothing was imported; mend it and import it again']
    assert queue('stats', '--json').out.startswith('{"queued": 0,')


def test_of_very_many_bad_lines_the_first_are_told(workspace, queue):
    rows = workspace.write('rows.jsonl', 'foo\n' * 25)

    lines = queue('import', rows).err.splitlines()

    assert lines[19].endswith(':20: not valid JSON at column 1: Expecting value')
    assert lines[20:] == [f'{rows}: and 5 more faults',
                          f'{rows}: nothing was imported; mend it and import it again']


def test_people_see_how_far_a_long_file_was_read(tmp_path, clock):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            clock.advance(0.6)
            return True

    rows = tmp_path / 'rows.jsonl'
    rows.write_text('{"artifact_id": "a", "artifact": 1}\n' * 5 * 4096)
    screen, paper = Terminal(), io.StringIO()

    for target in (screen, paper):
        read_rows(str(rows), System(Stream(None), Stream(target), {}, 1, 'h'), clock)

    assert screen.getvalue().replace(str(rows), 'rows') == (
        'rows: 8192 lines read\nrows: 16384 lines read\n')
    assert paper.getvalue() == ''


def test_a_line_that_nobody_wrote_is_not_read_to_its_end(workspace, queue):
    rows = workspace.write('rows.jsonl', b'x' * (1 << 26))

    assert queue('import', rows) == (
        2, '', f'{rows}:1: is longer than 64 MiB; nothing was imported\n')


@pytest.mark.parametrize(('name', 'code', 'said'), [
    ('nowhere.jsonl', 2, 'there is no such file; name one, or - for stdin'),
    ('data', 5, 'is a directory'),
])
def test_a_file_that_cannot_be_read_is_refused(workspace, queue, name, code, said):
    path = workspace.path(name)

    assert queue('import', path) == (code, '', f'{path}: {said}\n')


# -- looking -----------------------------------------------------------------------

@pytest.mark.parametrize('verb', ['stats', 'list', 'show', 'resume', 'retry-failed', 'purge'])
def test_where_there_is_no_queue_none_is_made(workspace, queue, verb):
    done = queue(verb, *(['nix'] if verb == 'show' else []))

    assert done.code == (2 if verb == 'show' else 0)
    assert not workspace.path('state').exists()


@pytest.mark.parametrize('args', [('stats',), ('list',), ('show', 'a'), ('list', '--json'),
                                  ('stats', '--json')])
def test_looking_changes_nothing(workspace, queue, args):
    for name in 'abc':
        queue('enqueue', name)
    finish(workspace, {'a': 'done'})
    before = workspace.tree()

    assert queue(*args).code == 0

    assert workspace.tree() == before


def test_an_empty_queue_is_told_so(queue):
    assert queue('list').out == '0 entries\n'
    assert queue('list', '--state', 'error').out == '0 entries in state error\n'
    assert queue('list', '--json').out == ''
    assert queue('stats').out.splitlines()[-1].split() == ['total', '0']


def test_entries_are_counted_and_listed(workspace, queue):
    for name in 'abc':
        queue('enqueue', name)
    queue('enqueue', 'late', '--delay', '1000')
    finish(workspace, {'a': 'done', 'b': 'error'})

    lines = queue('list').out.splitlines()

    assert lines[0] == 'done         a  attempts 1  (exit code 65)'
    assert lines[1] == 'error        b  attempts 1  (exit code 65)'
    assert lines[2].startswith('in_progress  c  attempts 1  leased by worker-1 until 2')
    assert lines[3].startswith('queued       late  attempts 0  not before 2')
    assert json.loads(queue('stats', '--json').out) == {
        'queued': 1, 'in_progress': 1, 'done': 1, 'skipped': 0, 'error': 1, 'total': 4,
        'paused': False, 'refused': 0}
    assert [json.loads(line)['artifact_id']
            for line in queue('list', '--json', '--state', 'error').lines] == ['b']


def test_a_long_list_says_how_much_of_it_is_missing(queue):
    for name in 'abc':
        queue('enqueue', name)

    done = queue('list', '--limit', '2')

    assert len(done.lines) == 2
    assert done.err == 'note: 1 more; list them with a higher --limit\n'
    assert queue('list', '--limit', '0').code == 2


def test_the_attempts_of_an_entry_are_shown(workspace, queue):
    queue('enqueue', 'a')
    finish(workspace, {'a': 'error'})

    assert queue('show', 'a').lines[-1].endswith('by worker-1: error: exit code 65\\nmore of it')
    history = json.loads(queue('show', 'a', '--json').out)['history']
    assert [(attempt['number'], attempt['outcome']) for attempt in history] == [(1, 'error')]


def test_an_entry_that_there_is_not_is_refused(queue):
    assert queue('show', 'nix') == (
        2, '', "ID: there is no entry 'nix' in the queue; 'queue list' shows those that there "
        'are\n')


# -- running it --------------------------------------------------------------------

def test_a_paused_queue_hands_out_nothing_until_it_is_resumed(workspace, queue):
    queue('enqueue', 'a')

    assert queue('pause').out == "paused: nothing is handed out until 'queue resume'\n"
    finish(workspace, {'a': 'done'})
    assert queue('stats').out.endswith("paused: nothing is handed out until 'queue resume'\n")
    assert queue('resume').out == 'resumed: entries are handed out\n'
    finish(workspace, {'a': 'done'})

    assert json.loads(queue('stats', '--json').out)['done'] == 1


def test_what_ended_in_error_is_queued_again_when_asked(workspace, queue):
    for name in 'ab':
        queue('enqueue', name)
    finish(workspace, {'a': 'done', 'b': 'error'})

    assert queue('retry-failed').out == 'queued again: 1 entry\n'
    assert [line.split()[:2] for line in queue('list').lines] == [['done', 'a'], ['queued', 'b']]


def test_finished_entries_are_forgotten_by_state_and_age(workspace, queue):
    for name in 'abcd':
        queue('enqueue', name)
    finish(workspace, {'a': 'done', 'b': 'error', 'c': 'skipped'})

    assert queue('purge', '--older-than', '1h').out == 'purged 0 entries\n'
    assert queue('purge', '--state', 'done,skipped').out == 'purged 2 entries\n'
    assert json.loads(queue('purge', '--json').out) == {'event': 'purged', 'count': 1}
    assert [line.split()[1] for line in queue('list').lines] == ['d']


@pytest.mark.parametrize(('args', 'said'), [
    (('--state', 'done,queued'), "--state: expected some of done, skipped, error, got 'queued'; "
     'what is not finished is not purged'),
    (('--older-than', 'a week'), "--older-than: expected an age such as 12h or 7d, got 'a week'"),
])
def test_what_cannot_be_purged_is_refused(queue, args, said):
    assert queue('purge', *args) == (2, '', f'{said}\n')


def test_a_folder_that_cannot_be_made_is_told(workspace, queue):
    workspace.write('state', 'a file is in the way')

    assert queue('pause') == (
        5, '', f"{workspace.path('state/workqueue.sqlite.lock')}: not a directory\n")


# -- all of them -------------------------------------------------------------------

@pytest.mark.parametrize('verb', VERBS)
def test_each_command_shows_an_example_in_its_help(main, verb):
    shown = main('queue', verb, '--help')

    assert shown.code == 0
    assert f'example:\n  python src/pipeline_runner.py queue {verb}' in shown.out


@pytest.mark.parametrize('verb', VERBS)
def test_each_command_needs_a_workspace(tmp_path, main, verb):
    args = {'enqueue': ['a'], 'import': ['-'], 'show': ['a']}.get(verb, [])

    done = main('queue', verb, *args, '--pipeline', 'nix/pipeline.json')

    assert done == (2, '', 'nix/pipeline.json: there is no such file; name one with --pipeline\n')
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_database_is_left_alone(workspace, queue):
    workspace.write('state/workqueue.sqlite', 'something else entirely, and long enough' * 100)
    before = workspace.tree()

    for verb, *args in (['stats'], ['list'], ['enqueue', 'a'], ['pause']):
        done = queue(verb, *args)
        assert (done.code, len(done.err.splitlines())) == (5, 1)
        assert 'is not a database; move it away, or restore it from a copy' in done.err

    workspace.path('state/workqueue.sqlite.lock').unlink()
    assert workspace.tree('state') == {name: entry for name, entry in before.items()
                                       if name.startswith('state/')}

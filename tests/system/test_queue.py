"""`queue run` as people see it: entries go through the stages that the queue feeds, once each."""

from __future__ import annotations

import json
import os
import signal
from typing import Any
from typing import Dict
from typing import List

import pytest

from support import Workspace
from support import stage
from support import start_cli
from support import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow]

#: Does what its entry says.
FETCH = '''\
import json, os, sys, time
row = json.load(open(sys.argv[1]))
if row.get("exit") and row["exit"][min(int(os.environ["PIPELINE_ATTEMPT"]), len(row["exit"])) - 1]:
    print(row.get('says', 'so it is'), file=sys.stderr)
    sys.exit(row['exit'][min(int(os.environ['PIPELINE_ATTEMPT']), len(row['exit'])) - 1])
if 'waits' in row:
    open(row['waits'], 'w').close()
    time.sleep(600)
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'page.txt'), 'w') as page:
    page.write(os.environ['PIPELINE_ITEM_ID'])
'''

READ = '''\
import os, sys
text = open(sys.argv[1]).read().upper()
open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'read.txt'), 'w').write(text)
'''

FETCHES = stage('fetch', processor='bin/fetch.py', forEach='jobs', inputs=['{item.path}'],
                outputDir='data/fetch/{item.id}')
READS = stage('read', processor='bin/read.py', forEach='jobs',
              inputs=['data/fetch/{item.id}/page.txt'], outputDir='data/read/{item.id}')


class Library(Workspace):
    """A workspace whose two stages the queue feeds."""

    def __init__(self, root: Any, main: Any):
        super().__init__(root)
        self.main = main
        self.processor(FETCH, 'bin/fetch.py')
        self.processor(READ, 'bin/read.py')
        self.pipeline(FETCHES, READS, items={'jobs': {'queue': True}})
        self.configure()

    def configure(self, **queue: Any) -> None:
        """Write a config in which nothing takes long."""
        self.write('pipeline_config.json', json.dumps({'queue': dict(
            {'retry_backoff_seconds': 0, 'jitter_seconds': 0, 'max_workers': 2}, **queue)}))

    def queue(self, verb: str, *args: Any) -> Any:
        """Call a command of the queue here."""
        return self.main('queue', verb, *args, '--pipeline', self.pipeline_file)

    def start_run(self, *args: Any) -> Any:
        """Start a run of the queue as a process."""
        return start_cli('queue', 'run', *args, '--pipeline', self.pipeline_file, cwd=self.root)

    def put(self, **entries: Any) -> None:
        """Put entries in, each with its artifact."""
        rows = [{'artifact_id': name, 'artifact': artifact} for name, artifact in entries.items()]
        path = self.write('rows.jsonl', ''.join(f'{json.dumps(row)}\n' for row in rows))
        assert self.queue('import', path).code == 0

    def states(self) -> Dict[str, str]:
        """Return the state of every entry."""
        return {row['artifact_id']: row['state'] for row in self.entries()}

    def entries(self) -> List[Dict[str, Any]]:
        """Return every entry."""
        return [json.loads(line) for line in self.queue('list', '--json').lines]

    def entry(self, name: str) -> Dict[str, Any]:
        """Return all about one entry."""
        found: Dict[str, Any] = json.loads(self.queue('show', name, '--json').out)
        return found

    def events(self, *args: Any) -> List[Dict[str, Any]]:
        """Run and return what was told."""
        return [json.loads(line) for line in self.queue('run', '--drain', '--json', *args).lines]


@pytest.fixture
def library(workspace: Workspace, main: Any) -> Library:
    return Library(workspace.root, main)


def test_entries_go_through_all_stages_and_are_done(library):
    library.put(**{'a1': {}, 'doi:10/x': {'n': 1}})

    done = library.queue('run', '--drain', '--run-id', 'r1')

    assert (done.code, done.err) == (0, '')
    assert '[DONE] read[doi%3A10%2Fx] in ' in done.out
    assert done.lines[-2:] == ['Run r1 state: completed', '2 done; 0 entries left in the queue']
    assert library.states() == {'a1': 'done', 'doi:10/x': 'done'}
    assert library.read('data/read/doi%3A10%2Fx/read.txt') == 'DOI:10/X'
    assert library.json('state/items/jobs/doi%3A10%2Fx.json') == {'n': 1}


def test_a_run_of_the_queue_leaves_the_records_of_a_run(library):
    library.put(a1={}, bad={'exit': [65]})

    assert library.queue('run', '--drain', '--run-id', 'r1').code == 1

    run, metrics = library.json('state/run_r1.json'), library.json('state/metrics_r1.json')
    assert (run['state'], run['firstFailure']) == ('failed', 'fetch[bad]')
    assert metrics['entries'] == {'done': 1, 'error': 1}
    assert [(row['stage'], row['status'], row['tasks']) for row in metrics['stages']] == [
        ('fetch', 'failed', {'total': 2, 'ok': 1, 'failed': 1}),
        ('read', 'blocked', {'total': 2, 'ok': 1, 'blocked': 1})]
    assert library.read('state/logs/r1/fetch[bad].1.log') == 'so it is\n'
    papers = library.json('state/pipeline_checkpoint.json')['jobs']
    assert {name: entry['stage'] for name, entry in papers.items()} == {
        'a1': 'completed', 'bad': 'failed'}
    assert len(library.read('state/items_fetch.jsonl').splitlines()) == 4
    audit = [json.loads(line)['event'] for line in
             library.read('state/audit_r1.jsonl').splitlines()]
    assert audit.count('entry_leased') == audit.count('entry_ended') == 2


def test_what_passes_is_tried_again_and_the_attempts_are_those_of_the_queue(library):
    library.put(flaky={'exit': [75, 75, 0]}, never={'exit': [75]}, bad={'exit': [65]})

    events = library.events()

    assert [(row['artifact_id'], row['state'], row['attempts']) for row in library.entries()] == [
        ('flaky', 'done', 3), ('never', 'error', 3), ('bad', 'error', 1)]
    ended = [(event['artifactId'], event['attempt'], event['outcome']) for event in events
             if event['event'] == 'entry_ended']
    assert sorted(ended) == [
        ('bad', 1, 'error'), ('flaky', 1, 'retry'), ('flaky', 2, 'retry'), ('flaky', 3, 'done'),
        ('never', 1, 'retry'), ('never', 2, 'retry'), ('never', 3, 'error')]
    assert [attempt['outcome'] for attempt in library.entry('flaky')['history']] == [
        'retry', 'retry', 'done']
    assert library.entry('never')['last_error'] == 'fetch: exit code 75\nso it is'


def test_an_entry_for_which_nothing_had_to_be_done_is_skipped(library):
    """Put in again after it was forgotten; what an earlier lease did would count as done."""
    library.put(a1={})
    library.queue('run', '--drain')
    library.queue('purge')
    library.put(a1={})

    done = library.queue('run', '--drain')

    assert done.code == 0
    assert '[SKIP] fetch[a1] (idempotent key matched)' in done.out
    assert done.lines[-1] == '1 skipped; 0 entries left in the queue'


def test_a_run_ends_after_so_many_entries(library):
    library.put(a={}, b={}, c={})

    done = library.queue('run', '--limit', '2')

    assert (done.code, done.lines[-1]) == (0, '2 done; 1 entry left in the queue')


def test_a_paused_queue_has_nothing_to_drain(library):
    library.put(a={})
    library.queue('pause')

    assert library.queue('run', '--drain').lines[-1] == 'nothing done; 1 entry left in the queue'
    library.queue('resume')
    assert library.queue('run', '--drain').lines[-1] == '1 done; 0 entries left in the queue'


def test_the_highest_priority_comes_first_and_one_worker_takes_one_entry_at_a_time(library):
    for name, priority in (('low', 1), ('high', 9), ('mid', 5)):
        library.queue('enqueue', name, '--priority', priority)

    events = library.events('--workers', '1')

    assert [event['task'] for event in events if event['event'] == 'task_started'] == [
        f'{task}[{name}]' for name in ('high', 'mid', 'low') for task in ('fetch', 'read')]


def test_a_processor_can_say_when_the_next_attempt_is_worth_it(library):
    """It would be due in an hour otherwise."""
    library.configure(retry_backoff_seconds=3600)
    library.processor('import json, os, sys\n'
                      'if os.environ["PIPELINE_ATTEMPT"] == "1":\n'
                      '    with open(os.environ["PIPELINE_RETRY_PATH"], "w") as note:\n'
                      '        json.dump({"retryAfterSec": 0.01}, note)\n'
                      '    sys.exit(75)\n'
                      'open(os.environ["PIPELINE_OUTPUT_DIR"] + "/page.txt", "w").close()\n',
                      'bin/fetch.py')
    library.put(a={})

    assert library.queue('run', '--drain').code == 0
    assert library.entry('a')['attempts'] == 2


def test_stages_before_those_of_the_queue_have_to_be_done_by_a_plain_run(library):
    library.write('data/input/in.txt', 'x')
    library.processor()
    library.pipeline(
        stage('first'), dict(FETCHES, inputs=['{item.path}', 'data/first/in.txt']),
        dict(READS, dependsOn=['first']), items={'jobs': {'queue': True}})
    library.put(a={})

    refused = library.queue('run', '--drain')
    assert library.main('--pipeline', library.pipeline_file).code == 0
    done = library.queue('run', '--drain')

    assert (refused.code, refused.out, refused.err) == (
        2, '', "stage 'fetch': input data/first/in.txt is missing after first; run the pipeline "
        "first, without 'queue run'\n")
    assert done.code == 0 and library.states() == {'a': 'done'}
    library.path('data/first/.first.done').unlink()
    assert library.queue('run', '--drain').err == (
        "stage 'first' is not done, and stages that the queue feeds need it; run the pipeline "
        "first, without 'queue run'\n")


@pytest.mark.parametrize(('args', 'said'), [
    (['--workers', '0'], "--workers: expected a whole number from 1 to 1000, got '0'"),
    (['--limit', 'x'], "--limit: expected a whole number from 1 to 1000000000, got 'x'"),
    (['--run-id', '../x'], '--run-id: '),
])
def test_flags_that_make_no_sense_are_refused(library, args, said):
    done = library.queue('run', *args)

    assert (done.code, done.out) == (2, '') and done.err.startswith(said)
    assert not library.path('state').exists()


def test_a_pipeline_without_stages_for_the_queue_is_refused(workspace, main):
    workspace.simple()

    done = main('queue', 'run', '--pipeline', workspace.pipeline_file)

    assert (done.code, done.err) == (
        2, 'no stage is fed by the queue; give a stage "forEach" and its collection '
        '{"queue": true}\n')


def test_a_config_that_rehearses_all_runs_is_refused(library):
    library.write('pipeline_config.json', '{"dry_run": true}')

    assert library.queue('run').code == 2


def test_an_unmet_gate_holds_a_run_of_the_queue_to_one_worker(library):
    library.write('pipeline_config.json', '{"safetyGate": ["checked.txt"]}')
    library.put(a={})

    done = library.queue('run', '--drain', '--run-id', 'r1')

    assert done.err == (
        "warning: safetyGate: 'checked.txt' is missing, so one worker runs instead of 8 "
        '(queue.max_workers with queue run)\n')
    assert library.json('state/metrics_r1.json')['workers'] == 1


def test_resolvers_and_hosts_have_caps_of_their_own(library):
    """Of entries that would wait for ever no more begin than their resolver and host allow."""
    library.configure(max_workers=8, max_per_resolver={'slow': 1}, max_per_host=2)
    rows = [{'artifact_id': f'r{n}', 'artifact': {'waits': f'r{n}'}, 'resolver_hint': 'slow'}
            for n in range(3)]
    rows += [{'artifact_id': f'h{n}', 'artifact': {'waits': f'h{n}', 'url': 'http://A.org/x'}}
             for n in range(4)]
    rows += [{'artifact_id': 'free', 'artifact': {}, 'resolver_hint': 'other'}]
    library.queue('import', library.write('rows.jsonl', '\n'.join(map(json.dumps, rows))))

    with library.start_run() as runner:
        wait_until(lambda: library.path('data/read/free/read.txt').exists())
        begun = wait_until(lambda: len(begun_in(library)) >= 3 and begun_in(library))
        runner.kill()
        runner.communicate()

    assert sorted(name[0] for name in begun) == ['h', 'h', 'r']


def begun_in(library: Library) -> List[str]:
    return [path.name for path in library.root.iterdir() if path.name[0] in 'rh'
            and path.name[1:].isdigit()]


@pytest.mark.skipif(os.name != 'posix', reason='signals')
def test_a_signal_ends_a_run_in_good_order_and_what_it_held_is_handed_back(library):
    library.put(slow={'waits': 'up'}, other={'waits': 'up2'}, more={})

    with library.start_run('--run-id', 'r1') as runner:
        wait_until(lambda: library.path('up').exists() and library.path('up2').exists())
        runner.send_signal(signal.SIGTERM)
        out, err = runner.communicate()

    assert (runner.returncode, err) == (143, b'')
    assert out.decode().splitlines()[-1] == '2 handed back; 3 entries left in the queue'
    assert [(row['state'], row['attempts'], row['worker_id']) for row in library.entries()] == [
        ('queued', 0, None)] * 3
    assert library.json('state/run_r1.json')['state'] == 'interrupted'
    assert not list(library.root.rglob('page.txt'))


@pytest.mark.skipif(os.name != 'posix', reason='signals')
def test_a_run_that_waits_for_work_ends_at_once_when_asked(library):
    with library.start_run('--json') as runner:
        runner.stdout.readline()
        library.put(a={})
        wait_until(lambda: library.states() == {'a': 'done'})
        runner.send_signal(signal.SIGINT)
        runner.communicate()

    assert runner.returncode == 130


def test_two_runs_share_the_work(library):
    library.put(**{f'e{number}': {} for number in range(12)})

    args = ('--drain', '--json')
    with library.start_run(*args) as one, library.start_run(*args) as other:
        told = [process.communicate()[0].decode().splitlines() for process in (one, other)]

    assert (one.returncode, other.returncode) == (0, 0)
    assert set(library.states().values()) == {'done'}
    done = [[event['artifactId'] for event in map(json.loads, lines)
             if event['event'] == 'entry_ended'] for lines in told]
    assert sorted(sum(done, [])) == sorted(library.states())
    assert all(done)


def test_two_entries_cannot_publish_the_same_file(library):
    """Also when the first one was done by another run."""
    library.pipeline(dict(FETCHES, outputDir='data/all'), items={'jobs': {'queue': True}})
    library.put(a={})
    assert library.queue('run', '--drain').code == 0
    library.put(b={})

    assert library.queue('run', '--drain').code == 1

    assert library.entry('b')['last_error'] == (
        "fetch: output 'page.txt' was already published by 'fetch[a]'; two tasks cannot publish "
        'the same file')
    assert library.read('data/all/page.txt') == 'a'


@pytest.mark.skipif(os.name != 'posix', reason='signals')
def test_the_counts_can_be_watched(library):
    library.put(a={}, b={})
    with start_cli('queue', 'stats', '--watch', '--json', '--pipeline', library.pipeline_file,
                   cwd=library.root) as watch:
        first = json.loads(watch.stdout.readline())
        library.queue('pause')
        later = wait_until(lambda: [found for found in [json.loads(watch.stdout.readline())]
                                    if found['paused']])
        watch.send_signal(signal.SIGINT)
        watch.communicate()

    assert watch.returncode == 130
    assert (first['queued'], first['paused']) == (2, False)
    assert later[0]['at'] > first['at']

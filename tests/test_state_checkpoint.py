"""The checkpoint file shows all stages of a run at a glance and costs next to nothing."""

import os
from collections import namedtuple

import pytest

from fakes import Ending
from fakes import FakeClock
from fakes import writes
from stagerunner.clock import stamp
from stagerunner.events import EntryLeased
from stagerunner.events import Reason
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import StageEnded
from stagerunner.events import StageExpanded
from stagerunner.events import TaskCancelled
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskPlanned
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.events import TaskStarted
from stagerunner.files import read_json
from stagerunner.items import encode
from stagerunner.selection import Wanted
from stagerunner.state.checkpoint import PipelineCheckpoint
from stagerunner.state.checkpoint import SimulatedCheckpoint
from stagerunner.state.names import StateNames
from support import COPY
from support import stage

STARTED = RunStarted('r1', 'p', 'begin', ('a', 'b', 'c'))


class SlowClock(FakeClock):
    """A clock that goes on by itself while something is written: each look takes a while."""

    step_s = 0.0

    def monotonic(self):
        self.advance(self.step_s)
        return super().monotonic()


@pytest.fixture
def slow_clock():
    return SlowClock()


@pytest.fixture
def tell(tmp_path, slow_clock):
    """Return a function that hands events over and returns the file as it is then."""
    (tmp_path / 'state').mkdir()
    names = StateNames(str(tmp_path))
    checkpoint = PipelineCheckpoint(names, slow_clock)

    def receive(*events):
        for event in events:
            checkpoint.receive(event)
        return read_json(names.pipeline_checkpoint())
    return receive


def done(task):
    return TaskDone(task, f'{task} done', 1, 1, 'key')


def test_a_whole_run_looks_as_documented(tell, slow_clock):
    found = tell(STARTED, TaskSkipped('a', 'now', 'matched', 'key', 'a done before'),
                 TaskRetrying('b', 2, 3, 0.5, 'transient', 'x'), done('b'),
                 TaskCancelled('c', 'x'), RunEnded('r1', 'now', 1, 'failed'))

    assert found == {
        'run_id': 'r1', 'version': '2.0.0', 'created_at': 'begin',
        'last_updated': stamp(slow_clock.now()), 'status': 'failed',
        'stages': {'a': 'a done before', 'b': 'b done'},
        'stats': {'total_stages': 3, 'completed_stages': 2, 'retries': 1},
        'config': {'max_workers': 1}}


def test_it_is_there_after_the_first_stage_and_the_run_goes_on_in_it(tell):
    assert tell(STARTED) is None

    found = tell(done('a'))

    assert (found['status'], found['stages']) == ('in_progress', {'a': 'a done'})


def test_writing_it_rests_for_nineteen_times_as_long_as_it_took(tell, slow_clock):
    slow_clock.step_s = 1.0
    tell(STARTED, done('a'))
    slow_clock.step_s = 0.0

    slow_clock.advance(18.9)
    at_rest = tell(done('b'))
    slow_clock.advance(0.2)
    rested = tell(done('c'))

    assert list(at_rest['stages']) == ['a']
    assert list(rested['stages']) == ['a', 'b', 'c']


def test_the_end_of_a_run_is_written_however_short_the_rest(tell, slow_clock):
    slow_clock.step_s = 100.0

    assert tell(STARTED, done('a'), done('b'), RunEnded('r1', 'now', 1, 'completed'))[
        'status'] == 'completed'


# -- items -----------------------------------------------------------------------------

Member = namedtuple('Member', 'id encoded')

ODD = 'doi:10.1/' + 'x' * 120


def members(*ids):
    return [Member(name, encode(name)) for name in ids]


def begun(*ids, collection='papers', stages=('review', 'judge'), run_id='r1'):
    """Return the events with which a run over some items begins."""
    return (RunStarted(run_id, 'p', 'begin', stages, 4, dict.fromkeys(stages, collection)),
            *[StageExpanded(name, len(ids), True, members(*ids)) for name in stages])


def named(stage, item):
    return f'{stage}[{encode(item)}]'


def went_well(stage, item, at):
    task = named(stage, item)
    return TaskStarted(task, f'{at} begin', 1, ()), TaskDone(task, f'{at} end', 1, 1, 'key')


@pytest.fixture
def names(tmp_path):
    (tmp_path / 'state').mkdir()
    return StateNames(str(tmp_path))


@pytest.fixture
def sink(names, slow_clock):
    return PipelineCheckpoint(names, slow_clock)


def hear(sink, *events):
    """Hand events over and return the file as it is then."""
    for event in events:
        sink.receive(event)
    return read_json(sink.path)


def test_items_look_as_documented(sink, slow_clock):
    now = stamp(slow_clock.now())
    found = hear(
        sink, *begun('1.pdf', ODD, '3.pdf'), *went_well('review', '1.pdf', 'one'),
        *went_well('judge', '1.pdf', 'two'), TaskStarted(named('review', ODD), 'three', 1, ()),
        TaskRetrying(named('review', ODD), 2, 3, 0.5, 'transient', 'Connection timeout'),
        StageEnded('review', 'four', 1, {'ok': 1, 'interrupted': 1}),
        StageEnded('judge', 'five', 1, {'ok': 1, 'skipped': 2}),
        RunEnded('r1', 'now', 1, 'interrupted'))

    assert found == {
        'run_id': 'r1', 'version': '2.0.0', 'created_at': 'begin', 'last_updated': now,
        'status': 'interrupted', 'stages': {'judge': 'five'}, 'papers': {
            '1.pdf': {'stage': 'completed', 'stages': {'review': 'one end', 'judge': 'two end'},
                      'retries': 0, 'started_at': 'one begin', 'completed_at': 'two end'},
            ODD: {'stage': 'in_progress', 'stages': {}, 'retries': 1, 'started_at': 'three',
                  'last_error': 'Connection timeout',
                  'errors': [{'timestamp': now, 'message': 'Connection timeout'}]},
            '3.pdf': {'stage': 'not_started', 'stages': {}, 'retries': 0}},
        'stats': {'total_stages': 2, 'completed_stages': 1, 'total_papers': 3,
                  'completed_papers': 1, 'failed_papers': 0, 'retries': 1},
        'config': {'max_workers': 4}}


def test_a_collection_is_listed_under_its_own_name(sink):
    found = hear(sink, *begun('a', 'b', collection='samples', stages=('s',)),
                 *went_well('s', 'a', 'x'), RunEnded('r1', 'now', 1, 'failed'))

    assert sorted(found['samples']) == ['a', 'b']
    assert (found['stats']['total_samples'], found['stats']['completed_samples']) == (2, 1)


def test_an_item_that_failed_stays_failed_whatever_other_stages_do(sink):
    failed = TaskFailed(named('review', 'a'), 'x', 1, 3, 'permanent', 'exit code 65\nlast lines',
                        '', ())
    found = hear(sink, *begun('a'), TaskStarted(failed.task, 'x', 1, ()), failed,
                 *went_well('judge', 'a', 'y'), RunEnded('r1', 'now', 1, 'failed'))

    entry = found['papers']['a']
    assert (entry['stage'], entry['last_error']) == ('failed', 'exit code 65: last lines')
    assert (found['stats']['failed_papers'], found['stats']['completed_papers']) == (1, 0)


def test_items_that_are_skipped_are_completed_when_they_were(sink):
    found = hear(sink, *begun('a', stages=('s',)),
                 TaskSkipped('s[a]', 'now', 'matched', 'key', 'long ago'),
                 RunEnded('r1', 'now', 1, 'completed'))

    assert found['papers']['a'] == {
        'stage': 'completed', 'stages': {'s': 'long ago'}, 'retries': 0,
        'started_at': 'long ago', 'completed_at': 'long ago'}


def test_what_is_skipped_needs_no_line_of_the_journal(sink):
    hear(sink, *begun('a', 'b', stages=('s',)))
    sizes = []
    for event in (TaskSkipped('s[a]', 'now', '', 'key', 'then'), *went_well('s', 'b', 'x')):
        hear(sink, event)
        sizes.append(os.path.getsize(f'{sink.path}.journal'))

    assert sizes[0] < sizes[1] < sizes[2]
    assert b'"id":"a"' not in open_bytes(f'{sink.path}.journal')


def open_bytes(path):
    with open(path, 'rb') as file:
        return file.read()


def test_for_the_sake_of_items_it_is_written_once_a_second_at_most(sink, slow_clock):
    hear(sink, *begun(*'abc', stages=('s',)))
    seen = []
    for item, pause_s in zip('abc', (0.5, 0.4, 0.2)):
        slow_clock.advance(pause_s)
        seen.append(hear(sink, *went_well('s', item, 'x'))['stats']['completed_papers'])

    assert seen == [0, 0, 2], 'at the third the start was written, with what came before'


def test_it_parses_and_costs_the_same_however_many_items_there_are(sink, slow_clock):
    """Between two snapshots an update is one line of the journal, of the same length."""
    first = hear(sink, *begun(*(f'{number}.pdf' for number in range(2000)), stages=('s',)))
    sizes = []
    for item in ('7.pdf', '8.pdf', '9.pdf'):
        hear(sink, *went_well('s', item, 'x'))
        sizes.append(os.path.getsize(f'{sink.path}.journal'))

    assert first['papers'] == {}, 'to write them all at once would take more than 5 % of the time'
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] > 0
    assert read_json(sink.path)['status'] == 'in_progress'


def test_at_the_end_of_a_run_there_is_no_journal(sink):
    hear(sink, *begun('a', stages=('s',)), *went_well('s', 'a', 'x'))
    is_there = os.path.exists(f'{sink.path}.journal')
    hear(sink, RunEnded('r1', 'now', 1, 'completed'))

    assert (is_there, os.path.exists(f'{sink.path}.journal')) == (True, False)


def test_a_run_that_is_resumed_goes_on_with_what_was_known_of_its_items(names, sink, slow_clock):
    """The first runner was killed: what it had not written to the file is in the journal."""
    retrying = TaskRetrying('s[a]', 2, 3, 0.5, 'transient', 'try again')
    on_disk = hear(sink, *begun('a', 'b', stages=('s',)), *went_well('s', 'b', 'x'),
                   TaskStarted('s[a]', 'once', 1, ()), retrying)

    resumed = PipelineCheckpoint(names, slow_clock, resumes=True)
    found = hear(resumed, *begun('a', 'b', stages=('s',)),
                 TaskSkipped('s[b]', 'now', '', 'key', 'x end'), *went_well('s', 'a', 'then'),
                 RunEnded('r1', 'now', 1, 'completed'))

    assert {entry['stage'] for entry in on_disk['papers'].values()} == {'not_started'}
    assert found['created_at'] == 'begin'
    assert found['papers']['a']['started_at'] == 'once'
    assert found['papers']['a']['retries'] == found['stats']['retries'] == 1
    assert found['stats']['completed_papers'] == found['stats']['total_papers'] == 2


def test_a_run_without_items_is_resumed_too(names, sink, slow_clock):
    hear(sink, STARTED, done('a'), TaskRetrying('b', 2, 3, 0.5, 'transient', 'x'),
         RunEnded('r1', 'now', 1, 'interrupted'))

    resumed = PipelineCheckpoint(names, slow_clock, resumes=True)
    found = hear(resumed, STARTED._replace(at='later'), TaskSkipped('a', 'x', '', 'key', 'a done'),
                 RunEnded('r1', 'now', 1, 'completed'))

    assert (found['created_at'], found['stats']['retries']) == ('begin', 1)
    assert os.listdir(names.folder) == ['pipeline_checkpoint.json']


@pytest.mark.parametrize('content', [
    'no json', '[]', '{"run_id": "r1"}', '{"run_id": "r1", "created_at": 7}',
    '{"run_id": "r1", "created_at": "x", "papers": []}',
    '{"run_id": "r1", "created_at": "x", "stats": {"retries": "x"}}'])
@pytest.mark.parametrize('events', [(STARTED,), begun('a')], ids=['stages', 'items'])
def test_a_damaged_file_is_no_reason_not_to_resume(names, slow_clock, content, events):
    with open(names.pipeline_checkpoint(), 'w') as file:
        file.write(content)

    resumed = PipelineCheckpoint(names, slow_clock, resumes=True)

    assert hear(resumed, *events, RunEnded('r1', 'now', 1, 'completed'))['status'] == 'completed'


def test_a_run_of_which_nothing_was_told_writes_nothing(sink):
    assert hear(sink, RunEnded('r1', 'now', 1, 'failed')) is None


@pytest.mark.parametrize(('run_id', 'state', 'resumes'), [
    ('r2', 'failed', True), ('r1', 'completed', True), ('r1', 'failed', False)])
def test_any_other_run_begins_anew(names, sink, slow_clock, run_id, state, resumes):
    hear(sink, *begun('a'), TaskRetrying('review[a]', 2, 3, 0.5, 'transient', 'x'),
         RunEnded('r1', 'now', 1, state))

    again = PipelineCheckpoint(names, slow_clock, resumes=resumes)
    found = hear(again, *begun('a', run_id=run_id), RunEnded(run_id, 'now', 1, 'completed'))

    assert found['papers']['a']['retries'] == 0


def test_of_two_runs_with_one_file_each_writes_it_as_a_whole(names, slow_clock):
    one, two = (PipelineCheckpoint(names, slow_clock) for _ in range(2))

    hear(one, *begun('a', stages=('s',)))
    hear(two, *begun('b', stages=('s',), run_id='r2'))
    hear(one, *went_well('s', 'a', 'x'))
    hear(two, *went_well('s', 'b', 'x'))
    with open(f'{one.path}.journal') as journal:
        assert ['"id":"b"' in line for line in journal] == [False, True, True]
    first = hear(one, RunEnded('r1', 'now', 1, 'completed'))
    second = hear(two, RunEnded('r2', 'now', 1, 'completed'))

    assert [(found['run_id'], list(found['papers'])) for found in (first, second)] == [
        ('r1', ['a']), ('r2', ['b'])]


def test_it_can_lie_elsewhere(names, tmp_path, slow_clock):
    path = tmp_path / 'elsewhere.json'
    sink = PipelineCheckpoint(names, slow_clock, str(path))
    hear(sink, *begun('a'), RunEnded('r1', 'now', 1, 'completed'))

    assert read_json(str(path))['run_id'] == 'r1'
    assert os.listdir(names.folder) == []


def test_a_run_tells_all_of_its_items(engine):
    engine.workspace.processor(COPY)
    for name in ('1.txt', '2.txt', 'a b.txt'):
        engine.workspace.write(f'data/papers/{name}', name)
    engine.workspace.pipeline(
        stage('review', forEach='papers', inputs=['{item.path}'], outputDir='data/r/{item.id}',
              stopOnFailure=False, retry={'maxAttempts': 2}),
        items={'papers': {'glob': 'data/papers/*.txt'}})
    engine.launcher.will('review[1.txt]', Ending(exit_code=65))
    engine.launcher.will('review[a%20b.txt]', Ending(exit_code=75))
    engine.run()

    found = engine.workspace.json('state/pipeline_checkpoint.json')
    assert {name: (entry['stage'], entry['retries'])
            for name, entry in found['papers'].items()} == {
        '1.txt': ('failed', 0), '2.txt': ('completed', 0), 'a b.txt': ('completed', 1)}
    assert found['stats'] == {
        'total_stages': 1, 'completed_stages': 0, 'total_papers': 3, 'completed_papers': 2,
        'failed_papers': 1, 'retries': 1}
    assert not (engine.workspace.root / 'state/pipeline_checkpoint.json.journal').exists()


def papers_with(engine, workers):
    """Run two stages over four papers that take a second each; return what came of it."""
    began = engine.clock.monotonic()
    for name in ('review', 'judge'):
        for number in range(4):
            engine.launcher.will(f'{name}[{number}.txt]', Ending(
                after_s=1.0, does=writes({f'{name}.txt': f'{name} of {number}'})))
    assert engine.run(f'with{workers}', workers=workers,
                      wanted=Wanted(force=('review', 'judge'))) == 0
    found = engine.workspace.json('state/pipeline_checkpoint.json')
    return engine.clock.monotonic() - began, engine.workspace.contents('data/out'), found


def test_four_papers_with_four_workers_give_the_same_in_less_than_four_tenths(engine):
    """Time is the launcher's: it turns the clock from one end of a stage to the next."""
    engine.workspace.processor(COPY)
    for number in range(4):
        engine.workspace.write(f'data/papers/{number}.txt', f'{number}')
    engine.workspace.pipeline(
        *(stage(name, forEach='papers', inputs=['{item.path}'],
                outputDir=f'data/out/{name}/{{item.id}}') for name in ('review', 'judge')),
        items={'papers': {'glob': 'data/papers/*.txt'}})

    one_s, outputs, checkpoint = papers_with(engine, 1)
    four_s, same_outputs, other_checkpoint = papers_with(engine, 4)

    assert four_s < 0.4 * one_s
    assert {name: data for name, data in outputs.items() if name.endswith('.txt')} == {
        name: data for name, data in same_outputs.items() if name.endswith('.txt')} != {}
    assert checkpoint['stats'] == other_checkpoint['stats'] == {
        'total_stages': 2, 'completed_stages': 2, 'total_papers': 4, 'completed_papers': 4,
        'failed_papers': 0, 'retries': 0}
    assert {entry['stage'] for entry in other_checkpoint['papers'].values()} == {'completed'}


# -- simulated ---------------------------------------------------------------------------

def test_a_rehearsal_writes_what_would_be_and_says_that_it_is_simulated(tmp_path, clock):
    path = tmp_path / 'simulated.json'
    sink = SimulatedCheckpoint(str(path), 'r1', clock, workers=4,
                               collections={'review': 'papers'})
    for event in (
            TaskPlanned('gather', 'gather', 'skip', ()),
            StageExpanded('review', 2, True, members('a', ODD)),
            TaskPlanned('review[a]', 'review', 'skip', ()),
            TaskPlanned(named('review', ODD), 'review', 'run', (Reason('never ran'),))):
        sink.receive(event)
    before = path.exists()
    sink.close()

    now = stamp(clock.now())
    assert not before
    assert read_json(str(path)) == {
        'run_id': 'r1', 'version': '2.0.0', 'created_at': now, 'last_updated': now,
        'status': 'in_progress', 'dry_run': True, 'stages': {'gather': now}, 'papers': {
            'a': {'stage': 'completed', 'stages': {'review': now}, 'retries': 0,
                  'started_at': now, 'completed_at': now, 'dry_run': True},
            ODD: {'stage': 'not_started', 'stages': {}, 'retries': 0, 'dry_run': True}},
        'stats': {'total_stages': 2, 'completed_stages': 1, 'retries': 0, 'total_papers': 2,
                  'completed_papers': 1, 'failed_papers': 0},
        'config': {'max_workers': 4}}


def test_items_that_nobody_can_know_yet_are_not_made_up(tmp_path, clock):
    sink = SimulatedCheckpoint(str(tmp_path / 'x.json'), 'r1', clock,
                               collections={'review': 'papers'})
    sink.receive(TaskPlanned('review[*]', 'review', 'maybe', ()))
    sink.close()

    assert read_json(str(tmp_path / 'x.json'))['papers'] == {}


# -- entries of the queue ------------------------------------------------------------

def test_entries_of_the_queue_join_under_their_own_id(tell):
    data = tell(RunStarted('r1', 'p', 'begin', ('a',), 1, {'a': 'jobs'}),
                StageExpanded('a', 0, True), EntryLeased('doi:1/x', 'now', 1, 'doi%3A1%2Fx'),
                EntryLeased('y', 'now', 1, 'y'),
                TaskDone('a[doi%3A1%2Fx]', 'then', 1.0, 1, 'k'),
                RunEnded('r1', 'end', 1.0, 'completed'))

    assert {name: entry['stage'] for name, entry in data['jobs'].items()} == {
        'doi:1/x': 'completed', 'y': 'not_started'}
    assert (data['stats']['total_jobs'], data['stats']['completed_jobs']) == (2, 1)


def test_an_entry_that_is_tried_again_is_completed_when_all_stages_are_done_in_one_lease(tell):
    """What was done in the lease before is skipped in this one, and counts once."""
    started = RunStarted('r1', 'p', 'begin', ('a', 'b'), 1, {'a': 'jobs', 'b': 'jobs'})
    first = (EntryLeased('x', 'now', 1, 'x'), TaskDone('a[x]', 'then', 1.0, 1, 'k'),
             TaskRetrying('b[x]', 2, 3, 1.0, 'transient', 'e'))
    again = (EntryLeased('x', 'now', 2, 'x'), TaskSkipped('a[x]', 'then', '', 'k', 'then'))
    end = RunEnded('r1', 'end', 1.0, 'completed')

    data = tell(started, StageExpanded('a', 0, True), StageExpanded('b', 0, True), *first, *again,
                end)

    assert data['jobs']['x']['stage'] == 'in_progress'
    data = tell(TaskDone('b[x]', 'then', 1.0, 2, 'k'), end)
    assert (data['jobs']['x']['stage'], data['jobs']['x']['retries']) == ('completed', 1)

"""The checkpoint file of documents 000 and 001: all stages and items of a run at a glance.

For people and their scripts; the runner decides nothing by it.  It is written
after each stage and, where items are at work, at most once a second, but never
so often that writing takes more than a twentieth of the run's time, and at
the end.  What happens to items in between goes into a journal beside it.
"""

from __future__ import annotations

import json
import os

from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.errors import StateError
from stagerunner.errors import os_fault
from stagerunner.events import EntryLeased
from stagerunner.events import Event
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import Sink
from stagerunner.events import StageEnded
from stagerunner.events import StageExpanded
from stagerunner.events import TaskDone
from stagerunner.events import TaskFailed
from stagerunner.events import TaskPlanned
from stagerunner.events import TaskRetrying
from stagerunner.events import TaskSkipped
from stagerunner.events import TasksSkipped
from stagerunner.events import TaskStarted
from stagerunner.events import in_one_line
from stagerunner.events import stage_of
from stagerunner.files import make_folder
from stagerunner.files import write_blocks
from stagerunner.records import TYPE_CHECKING
from stagerunner.state.entries import COMPLETED
from stagerunner.state.entries import FAILED
from stagerunner.state.entries import IN_PROGRESS
from stagerunner.state.entries import NOT_STARTED
from stagerunner.state.entries import UNTOUCHED
from stagerunner.state.entries import VERSION
from stagerunner.state.entries import amend
from stagerunner.state.entries import apply
from stagerunner.state.entries import as_plain_text
from stagerunner.state.entries import is_document
from stagerunner.state.entries import new_entry
from stagerunner.state.entries import new_stats
from stagerunner.state.entries import recount
from stagerunner.state.entries import render
from stagerunner.state.entries import spell
from stagerunner.state.names import StateNames
from stagerunner.state.snapshots import Snapshots

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import Optional
    from typing import Tuple

#: Between two snapshots for the sake of items lie so many seconds at least.
_ITEMS_REST_S = 1.0

#: In its first bytes a checkpoint file says whose it is.
_HEAD = 4096


class PipelineCheckpoint(Sink):
    """Keeps the checkpoint file up to date: the one at `path`, or where `names` has it.

    With `resumes` a run goes on with what its file says already, if that is
    the file of an unfinished run with the same id.
    """

    def __init__(self, names: StateNames, clock: Clock, path: str = '', *,
                 resumes: bool = False):
        self.path = path or names.pipeline_checkpoint()
        self.is_chosen = bool(path)
        self.clock = clock
        self.resumes = resumes
        self.data: Dict[str, Any] = {}
        self.items = _Items()
        self.snapshots = Snapshots(self.path, clock)
        #: False once another run writes to the same file: the last one to write a snapshot wins.
        self.has_journal = False
        #: True when there is a snapshot of this run that a journal can go on from.
        self.has_base = False
        self.is_resumed = False

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._begin(event)
        elif isinstance(event, StageExpanded):
            self.items.add(self.data, event)
            if event.stage in self.items.collections and not self.has_base:
                self._write_base()
        elif isinstance(event, EntryLeased):
            self.items.join(self.data, event)
        elif isinstance(event, RunEnded):
            self._end(event)
        elif isinstance(event, StageEnded):
            if not set(event.counts) - {'ok', 'skipped'}:
                self._complete(event.stage, event.at)
                self._write_if_due(0.0)
        elif isinstance(event, (TaskStarted, TaskDone, TaskSkipped, TaskRetrying, TaskFailed)):
            change = self.items.change(event, self.clock)
            if change is not None:
                self._change(change, is_new=not isinstance(event, TaskSkipped))
            else:
                self._receive_stage(event)

    def receive_skips(self, event: TasksSkipped) -> None:
        if event.tasks[0] != stage_of(event.tasks[0]):
            for skipped in event.singly():
                self.receive(skipped)
            return
        self.data['stages'].update(zip(event.tasks, event.done_at))
        self.data['stats']['completed_stages'] += len(event.tasks)

    def _receive_stage(self, event: Any) -> None:
        """Take note of something that is not about an item."""
        if isinstance(event, TaskRetrying):
            self.data['stats']['retries'] += 1
        elif event.task != stage_of(event.task):
            # A job: the end of its stage is told too.
            return
        elif isinstance(event, TaskDone):
            self._complete(event.task, event.at)
            self._write_if_due(0.0)
        elif isinstance(event, TaskSkipped):
            self._complete(event.task, event.done_at)

    # -- beginning and end -------------------------------------------------------

    def _begin(self, event: RunStarted) -> None:
        if self.is_chosen:
            _claim(self.path)
        self.items = _Items(event.collections)
        former = self._former(event.run_id) if self.resumes else None
        stats: Dict[str, int] = {'total_stages': len(event.stages), 'completed_stages': 0}
        for collection in self.items.names:
            stats.update(new_stats(collection))
        self.data = {'run_id': event.run_id, 'version': VERSION, 'created_at': event.at,
                     'last_updated': event.at, 'status': 'in_progress', 'stages': {}}
        self.data.update((collection, {}) for collection in self.items.names)
        self.data.update(stats=dict(stats, retries=0), config={'max_workers': event.workers})
        if former is not None:
            self._go_on_from(former)

    def _go_on_from(self, former: Dict[str, Any]) -> None:
        self.is_resumed = True
        self.data['created_at'] = former['created_at']
        self.data['stats']['retries'] = former['stats'].get('retries', 0)
        for collection in self.items.names:
            for name, entry in former.get(collection, {}).items():
                if entry['stage'] != COMPLETED:
                    entry['stage'] = IN_PROGRESS if 'started_at' in entry else NOT_STARTED
                self.data[collection][name] = spell(entry)
            recount(self.data, collection)

    def _former(self, run_id: str) -> Optional[Dict[str, Any]]:
        """Return what the file says of the same run, None where that is nothing."""
        try:
            if self.items.names:
                with self.snapshots:
                    found = self.snapshots.read()
            else:
                found = self.snapshots.read()
        except StateError:
            # The file is for people, and is about to be written anew.
            return None
        if found is None or not is_document(found.data, *self.items.names):
            return None
        data: Dict[str, Any] = found.data
        if (data.get('run_id') != run_id or data.get('status') == 'completed'
                or not isinstance(data.get('created_at'), str)):
            return None
        data.setdefault('stats', {})
        for change in found.changes:
            data.setdefault(change['in'], {})
            apply(data, change)
        return data

    def _end(self, event: RunEnded) -> None:
        if not self.data:
            return
        self.data['status'] = event.state
        self._write()
        if self.has_journal:
            with self.snapshots:
                self.snapshots.discard_journal()
        self.snapshots.close()

    # -- changes -------------------------------------------------------------------

    def _complete(self, stage: str, at: str) -> None:
        self.data['stages'][stage] = at
        self.data['stats']['completed_stages'] += 1

    def _change(self, change: Dict[str, Any], *, is_new: bool) -> None:
        """Note what happened to an item; what was so before is not worth a line of the journal."""
        if is_new and self.has_journal:
            with self.snapshots:
                self.has_journal = self.snapshots.news() is not None
                if self.has_journal:
                    self.snapshots.append(change)
        apply(self.data, change, as_text=True)
        self._write_if_due(_ITEMS_REST_S)

    def _write_if_due(self, floor_s: float) -> None:
        n_entries = len(self.data['stages']) + self.items.n
        if self.snapshots.is_due(n_entries, floor_s=floor_s):
            self._write()

    def _write(self) -> None:
        self.data['last_updated'] = stamp(self.clock.now())
        if not self.items.collections:
            self.snapshots.write(render(self.data), durable=False)
            return
        self._write_with_journal(self.data)

    def _write_base(self) -> None:
        """Give the journal something to go on from: all items, or none where they are many.

        What was known of them before is never left out.
        """
        is_cheap = self.is_resumed or self.snapshots.is_due(self.items.n, floor_s=0.0)
        self._write_with_journal(self.data if is_cheap else dict(
            self.data, **{name: {} for name in self.items.names}))

    def _write_with_journal(self, data: Dict[str, Any]) -> None:
        with self.snapshots:
            self.snapshots.write(render(data, self.items.names), durable=False)
        self.has_journal = self.has_base = True


def _claim(path: str) -> None:
    """Make the folder of a file that people chose; refuse one that is about something else.

    Before a run, not after all of its work.
    """
    folder = os.path.dirname(os.path.abspath(path))
    try:
        make_folder(folder)
        # Fails where a file is in the way.
        os.stat(os.path.join(folder, ''))
        if not os.path.lexists(path):
            return
        if not os.path.isfile(path):
            raise StateError(path, 'is not a regular file')
        with open(path, 'rb') as file:
            begin = file.read(_HEAD)
    except OSError as error:
        raise StateError(path, os_fault(error)) from error
    if begin.strip(b' \n\0') and b'"run_id"' not in begin:
        raise StateError(path, 'is no checkpoint file and is left as it is; name another one')


def is_of_a_run(path: str) -> bool:
    """True for the checkpoint file of a real run, which no rehearsal may replace."""
    try:
        with open(path, 'rb') as file:
            begin = file.read(_HEAD)
    except OSError:
        # Who writes there tells what is wrong.
        return False
    return b'"run_id"' in begin and b'"dry_run": true' not in begin.partition(b'"stages"')[0]


class _Items:
    """The collections of a run: which stage works on which, and what their items are called."""

    def __init__(self, collections: Optional[Dict[str, str]] = None):
        #: Stage to collection.
        self.collections = collections or {}
        self.names = sorted(set(self.collections.values()))
        #: How many items there are in all.
        self.n = 0
        self._n_stages: Dict[str, int] = {}
        for collection in self.collections.values():
            self._n_stages[collection] = self._n_stages.get(collection, 0) + 1
        #: Of each collection the ids that are spelled in another way in the names of tasks.
        self._ids: Dict[str, Dict[str, str]] = {}
        #: Of items that have come through some of several stages, through how many.
        self._done: Dict[Tuple[str, str], int] = {}
        self._failed: Dict[Tuple[str, str], bool] = {}

    def add(self, data: Dict[str, Any], event: StageExpanded) -> None:
        """Take in the items of a stage, where they are not known from another one."""
        collection = self.collections.get(event.stage)
        if collection is None or collection in self._ids:
            return
        self._ids[collection] = {item.encoded: as_plain_text(item.id) for item in event.items
                                 if item.encoded != item.id}
        entries = data[collection]
        for item in event.items:
            entries.setdefault(as_plain_text(item.id), UNTOUCHED)
        data['stats'][f'total_{collection}'] = len(entries)
        self.n += len(event.items)

    def join(self, data: Dict[str, Any], event: EntryLeased) -> None:
        """Take in an entry of the queue; what an earlier lease of it came to does not count."""
        name = as_plain_text(event.artifact_id)
        for collection in self.names:
            if event.encoded != name:
                self._ids.setdefault(collection, {})[event.encoded] = name
            self.n += name not in data[collection]
            data[collection].setdefault(name, UNTOUCHED)
            data['stats'][f'total_{collection}'] = len(data[collection])
            self._done.pop((collection, name), None)
            self._failed.pop((collection, name), None)

    def change(self, event: Any, clock: Clock) -> Optional[Dict[str, Any]]:
        """Return what an event means for the entry of its item, None when there is no item."""
        stage, _, rest = event.task.partition('[')
        collection = self.collections.get(stage)
        if collection is None or not rest:
            return None
        encoded = rest[:-1]
        item = self._ids.get(collection, {}).get(encoded, encoded)
        at = getattr(event, 'done_at', None) or getattr(event, 'at', None) or stamp(clock.now())
        change = {'in': collection, 'id': item, 'at': at}
        if isinstance(event, TaskStarted):
            return dict(change, stage=self._standing(collection, item))
        if isinstance(event, (TaskDone, TaskSkipped)):
            return dict(change, stage=self._advanced(collection, item), stages={stage: at})
        error = as_plain_text(in_one_line(event.error))
        if isinstance(event, TaskRetrying):
            return dict(change, retries=1, error=error)
        self._failed[collection, item] = True
        return dict(change, stage=FAILED, error=error)

    def _standing(self, collection: str, item: str) -> str:
        return FAILED if (collection, item) in self._failed else IN_PROGRESS

    def _advanced(self, collection: str, item: str) -> str:
        """Return where an item stands that has come through one more stage."""
        if self._n_stages[collection] == 1:
            return COMPLETED
        n_done = self._done.get((collection, item), 0) + 1
        self._done[collection, item] = n_done
        if n_done < self._n_stages[collection]:
            return self._standing(collection, item)
        del self._done[collection, item]
        return COMPLETED


class SimulatedCheckpoint(Sink):
    """Writes the checkpoint file of a run that is only rehearsed, once, when it is closed.

    What would be skipped is completed, what would run has not started; the
    document and every entry say that they are simulated.
    """

    hears_expansions = True

    def __init__(self, path: str, run_id: str, clock: Clock, *, workers: int = 1,
                 collections: Optional[Dict[str, str]] = None):
        self.path = path
        now = stamp(clock.now())
        self.items = _Items(collections)
        self.data: Dict[str, Any] = {
            'run_id': run_id, 'version': VERSION, 'created_at': now, 'last_updated': now,
            'status': 'in_progress', 'dry_run': True, 'stages': {}}
        self.data.update((name, {}) for name in self.items.names)
        self.data.update(stats={'total_stages': 0, 'completed_stages': 0, 'retries': 0},
                         config={'max_workers': workers})
        self.now = now
        #: Stages, and whether all of each would be skipped.
        self.stages: Dict[str, bool] = {}

    def receive(self, event: Event) -> None:
        if isinstance(event, StageExpanded):
            self.items.add(self.data, event)
        elif isinstance(event, TaskPlanned):
            is_skipped = event.decision == 'skip'
            self.stages[event.stage] = self.stages.get(event.stage, True) and is_skipped
            done = TaskSkipped(event.task, self.now, '', '', self.now)
            change = None if event.task.endswith('[*]') else self.items.change(done, Clock())
            if change is not None:
                self._plan(change, is_skipped=is_skipped)

    def _plan(self, change: Dict[str, Any], *, is_skipped: bool) -> None:
        entries = self.data[change['in']]
        entry = json.loads(entries[change['id']]) if change['id'] in entries else new_entry()
        if is_skipped:
            amend(entry, change)
        else:
            entry['stage'] = NOT_STARTED
        entry['dry_run'] = True
        entries[change['id']] = spell(entry)

    def close(self) -> None:
        self.data['stages'] = {name: self.now for name, is_done in self.stages.items() if is_done}
        self.data['stats'].update(total_stages=len(self.stages),
                                  completed_stages=len(self.data['stages']))
        for collection in self.items.names:
            recount(self.data, collection)
        _claim(self.path)
        write_blocks(self.path, render(self.data, self.items.names), durable=False)

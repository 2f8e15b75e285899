"""Every path under `state/`, in one place."""

from __future__ import annotations

import os
import re

from stagerunner.records import TYPE_CHECKING
from stagerunner.spelling import encode
from stagerunner.spelling import is_name

if TYPE_CHECKING:
    from typing import Iterator
    from typing import List
    from typing import Tuple

FOLDER = 'state'

# Compiled when they are needed, which most runs never do.

#: Files that belong to one run, and others that may be thrown away.
_OF_A_RUN = r'(?:run|metrics)_(.+)\.(?:json|prom)'
_RECORD = (r'(?:stage|checkpoint|progress|retry)_.+\.json|(?:index|pipeline_checkpoint)'
           r'\.json(?:\.journal)?|report\.html|.+\.corrupt-[0-9]+|.+\.[0-9]+-[0-9]+\.tmp')

#: What is set aside of these, or half-written, is looked at before it goes.
_KEPT = ('audit_', 'items_', 'workqueue')

_BUG_LOG = r'bug-[0-9]+\.log'
_BINDING = r'checkpoint_(.+)\.json'
_JOURNAL = r'items_(.+)\.jsonl'


class StateNames:
    """Paths of state files below a workspace root; `task` is a stage or `stage[name]`."""

    def __init__(self, root: str):
        self.folder = os.path.join(root, FOLDER)

    def run(self, run_id: str) -> str:
        """The record of a run."""
        return os.path.join(self.folder, f'run_{run_id}.json')

    def metrics(self, run_id: str) -> str:
        """The figures of a run."""
        return os.path.join(self.folder, f'metrics_{run_id}.json')

    def textfile(self, run_id: str) -> str:
        """The figures of a run for a collector of metrics."""
        return os.path.join(self.folder, f'metrics_{run_id}.prom')

    def audit(self, run_id: str) -> str:
        """Every event of a run, hash-chained."""
        # A run may be called like the journal of heads; no id has a tilde.
        mark = '~' if run_id.lower() == 'head' else ''
        return os.path.join(self.folder, f'audit_{mark}{run_id}.jsonl')

    def audit_head(self) -> str:
        """The journal of heads: where the audit of each run begins and ends."""
        return os.path.join(self.folder, 'audit_head.jsonl')

    def audited_runs(self) -> List[str]:
        """Return the ids of all runs that have an audit, by name."""
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        found = [(name, name[6:-6].lstrip('~')) for name in names
                 if name.startswith('audit_') and name.endswith('.jsonl')]
        return sorted(run_id for name, run_id in found if is_name(run_id)
                      and os.path.basename(self.audit(run_id)) == name)

    def report(self, run_id: str) -> str:
        """The report of a run."""
        return os.path.join(self.folder, f'report_{run_id}.html')

    def live_report(self) -> str:
        """The report of the last run that lasted a while, as far as it had come."""
        return os.path.join(self.folder, 'report.html')

    def stage(self, task: str) -> str:
        """The last result of a task, for people."""
        return os.path.join(self.folder, f'stage_{task}.json')

    def checkpoint(self, task: str) -> str:
        """What binds the progress of a task."""
        return os.path.join(self.folder, f'checkpoint_{task}.json')

    def progress(self, task: str) -> str:
        """What a processor last committed."""
        return os.path.join(self.folder, f'progress_{task}.json')

    def retry(self, task: str) -> str:
        """What a processor says of its next attempt."""
        return os.path.join(self.folder, f'retry_{task}.json')

    def logs(self, run_id: str) -> str:
        """The folder of what the processors of a run printed."""
        return os.path.join(self.folder, 'logs', run_id)

    def log(self, run_id: str, task: str, attempt: int) -> str:
        """What one attempt printed."""
        return os.path.join(self.logs(run_id), f'{task}.{attempt}.log')

    def hook_log(self, run_id: str, hook: str) -> str:
        """What a command printed that was called at the end of a run."""
        return os.path.join(self.logs(run_id), f'hook_{hook}.log')

    def hook_input(self, run_id: str, hook: str) -> str:
        """What it was told."""
        return os.path.join(self.logs(run_id), f'hook_{hook}.json')

    def bug_log(self) -> str:
        """Where the traceback of a bug in the runner goes."""
        return os.path.join(self.folder, 'logs', f'bug-{os.getpid()}.log')

    def limits(self) -> str:
        """The folder of the buckets of quotas."""
        return os.path.join(self.folder, 'limits')

    def quota(self, name: str) -> str:
        """What was granted lately of one quota; its name is free text."""
        return os.path.join(self.limits(), f'{encode(name)}.json')

    def index(self) -> str:
        """The derived index: may be deleted at any time."""
        return os.path.join(self.folder, 'index.json')

    def work_queue(self) -> str:
        """The durable queue."""
        return os.path.join(self.folder, 'workqueue.sqlite')

    def pipeline_checkpoint(self) -> str:
        """The checkpoint file of documents 000 and 001: all stages at a glance."""
        return os.path.join(self.folder, 'pipeline_checkpoint.json')

    def items(self, stage: str) -> str:
        """The journal of a stage's jobs or items: one line per success."""
        return os.path.join(self.folder, f'items_{stage}.jsonl')

    def item_folders(self) -> List[str]:
        """The folders of all collections whose items have files here."""
        top = os.path.dirname(self.item_folder('x'))
        try:
            return [entry.path for entry in os.scandir(top) if entry.is_dir()]
        except OSError:
            return []

    def item_folder(self, collection: str) -> str:
        """Where the item files of a collection lie."""
        return os.path.join(self.folder, 'items', collection)

    def item_file(self, collection: str, encoded: str) -> str:
        """The file of one row or queue entry, by its encoded id."""
        return os.path.join(self.item_folder(collection), f'{encoded}.json')

    def finished_runs(self) -> List[str]:
        """Return the ids of all runs that have a record, oldest record first."""
        found = []
        for entry in os.scandir(self.folder):
            name = entry.name
            # A foreign file with half a name must not lead anywhere: `run_...json`.
            if (name.startswith('run_') and name.endswith('.json')
                    and is_name(name[4:-5])):
                try:
                    found.append((entry.stat(follow_symlinks=False).st_mtime_ns, name[4:-5]))
                except FileNotFoundError:
                    # Another run has just removed it.
                    continue
        return [run_id for _, run_id in sorted(found)]

    def records(self) -> Iterator[Tuple[str, str]]:
        """Yield what decides nothing and may go: paths, and ids where a file is of one run.

        Neither the audit is among it nor the queue, the quotas and the journals of items.
        """
        try:
            names = sorted(os.listdir(self.folder))
        except OSError:
            return
        for name in names:
            found = re.fullmatch(_OF_A_RUN, name)
            if found and is_name(found.group(1)):
                yield os.path.join(self.folder, name), found.group(1)
            elif re.fullmatch(_RECORD, name) and not name.startswith(_KEPT):
                yield os.path.join(self.folder, name), ''

    def log_folders(self) -> Iterator[Tuple[str, str]]:
        """Yield what lies among the logs and is ours: folders with their run, logs of bugs."""
        top = os.path.dirname(self.logs('x'))
        try:
            entries = sorted(os.scandir(top), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and is_name(entry.name):
                yield entry.path, entry.name
            elif re.fullmatch(_BUG_LOG, entry.name):
                yield entry.path, ''

    def bindings(self) -> Iterator[Tuple[str, str]]:
        """Yield what binds the progress of tasks: paths and tasks."""
        for path, _ in self.records():
            found = re.fullmatch(_BINDING, os.path.basename(path))
            if found:
                yield path, found.group(1)

    def journals(self) -> List[str]:
        """Return the stages that have a journal of items, by name."""
        try:
            found = [re.fullmatch(_JOURNAL, name) for name in os.listdir(self.folder)]
        except OSError:
            return []
        return sorted(name.group(1) for name in found if name and is_name(name.group(1)))

    def relative(self, path: str) -> str:
        """Return a path of this folder as people write it: `state/…`."""
        return f'{FOLDER}/' + os.path.relpath(path, self.folder).replace(os.sep, '/')


class AsideNames(StateNames):
    """Names for a task that may not reach `state/`: its progress and retry note lie aside."""

    def __init__(self, root: str, aside: str):
        super().__init__(root)
        self.aside = aside

    def progress(self, task: str) -> str:
        return os.path.join(self.aside, 'progress.json')

    def retry(self, task: str) -> str:
        return os.path.join(self.aside, 'retry.json')

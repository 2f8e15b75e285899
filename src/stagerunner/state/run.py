"""The record of a run: `state/run_<id>.json`, and the removal of old runs."""

from __future__ import annotations

from stagerunner import __version__
from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import os_fault
from stagerunner.files import leftovers
from stagerunner.files import read_json
from stagerunner.files import remove_tree
from stagerunner.files import write_json
from stagerunner.locks import is_held
from stagerunner.locks import lock_folders
from stagerunner.locks import run_lock
from stagerunner.locks import try_lock
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.state.names import StateNames

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import Iterator
    from typing import List
    from typing import Optional

RUNNING, COMPLETED, FAILED, INTERRUPTED = 'running', 'completed', 'failed', 'interrupted'


#: Keys of a record whose values are text.
_TEXTS = ('pipeline', 'version', 'startedAt', 'endedAt', 'state', 'host', 'firstFailure',
          'auditHead')


class RunRecord(NamedTuple):
    """What is known of a run; `ended_at` is None while it goes on."""

    run_id: str
    pipeline: str
    version: str
    started_at: str
    ended_at: Optional[str] = None
    state: str = RUNNING
    pid: int = 0
    host: str = ''
    first_failure: Optional[str] = None
    isolation: Optional[Dict[str, Any]] = None
    #: The last entry of the audit's journal of heads when the run had ended.
    audit_head: Optional[str] = None
    #: How the command that is called at the end of a run ended.
    hook: Optional[Dict[str, Any]] = None


def not_looked_at(mode: str = 'auto') -> Dict[str, Any]:
    """Return what a record says of the fence when no processor was launched."""
    return {'mode': mode, 'enforced': None, 'mechanisms': [], 'files': None}


def write_run(names: StateNames, record: RunRecord) -> None:
    """Write the record durably: a run that was acknowledged is on the disk."""
    write_json(names.run(record.run_id), _to_json(record), durable=True)


def _to_json(record: RunRecord) -> Dict[str, Any]:
    return {'runId': record.run_id, 'pipeline': record.pipeline, 'version': record.version,
            'startedAt': record.started_at, 'endedAt': record.ended_at, 'state': record.state,
            'pid': record.pid, 'host': record.host, 'runnerVersion': __version__,
            'firstFailure': record.first_failure, 'isolation': record.isolation,
            'auditHead': record.audit_head, 'hook': record.hook}


def read_run(names: StateNames, run_id: str) -> Optional[RunRecord]:
    """Return the record of a run, None where there is none that can be read."""
    found = _read(names, run_id)
    texts = {name: value if isinstance(value, str) else None
             for name, value in ((name, found.get(name)) for name in _TEXTS)}
    pipeline, began, state = texts['pipeline'], texts['startedAt'], texts['state']
    if pipeline is None or began is None or state is None:
        return None
    pid, isolation = found.get('pid'), found.get('isolation')
    return RunRecord(run_id, pipeline, texts['version'] or '', began, texts['endedAt'], state,
                     pid if isinstance(pid, int) else 0, texts['host'] or '',
                     texts['firstFailure'],
                     isolation if isinstance(isolation, dict) else None, texts['auditHead'])


def known_runs(names: StateNames) -> List[RunRecord]:
    """Return the records of all runs that can be read, the one that began last at the end."""
    records = (read_run(names, run_id) for run_id in _all_runs(names))
    return sorted((record for record in records if record), key=lambda run: run.started_at)


def started_at(names: StateNames, run_id: str) -> Optional[str]:
    """Return when a former run with this id began, None where nothing can be read of it."""
    found = _read(names, run_id).get('startedAt')
    return found if isinstance(found, str) else None


def _read(names: StateNames, run_id: str) -> Dict[str, Any]:
    try:
        record = read_json(names.run(run_id))
    except Unreadable:
        return {}
    return record if isinstance(record, dict) else {}


def unfinished_run(names: StateNames, root: str, run_id: Optional[str] = None) -> Optional[str]:
    """Return the last run that was not completed and is not alive, or `run_id` if it is one.

    What failed before the last completed run is settled by that one.
    """
    for candidate in [run_id] if run_id else reversed(_all_runs(names)):
        state = _read(names, candidate).get('state')
        if state in (FAILED, INTERRUPTED):
            return candidate
        if state == RUNNING and is_dead(root, candidate):
            return candidate
        if state == COMPLETED:
            return None
    return None


def _all_runs(names: StateNames) -> List[str]:
    try:
        return names.finished_runs()
    except FileNotFoundError:
        return []


def is_dead(root: str, run_id: str) -> bool:
    """True when nobody holds the lock of a run; changes nothing."""
    return not is_held(run_lock(root, run_id))


def forget_run(names: StateNames, run_id: str) -> None:
    """Remove the figures and logs of a former run with this id; its record is about to be new."""
    for path in (names.metrics(run_id), names.textfile(run_id), names.logs(run_id),
                 names.report(run_id)):
        _remove(path)


def forget_old_runs(names: StateNames, root: str, keep: int) -> None:
    """Remove record, figures and logs of all but the newest `keep` runs, live ones excepted."""
    runs = names.finished_runs()
    for run_id in runs[:-keep]:
        lock = try_lock(run_lock(root, run_id))
        if lock is None:
            continue
        try:
            for path in (names.metrics(run_id), names.textfile(run_id), names.logs(run_id),
                         names.report(run_id), names.run(run_id)):
                remove_tree(path)
        except PermissionError:
            # Somebody reads one of them (Windows): the record stays, the next run tries again.
            pass
        except OSError as error:
            raise StateError(names.run(run_id), os_fault(error)) from error
        finally:
            lock.discard()


def sweep(names: StateNames, root: str) -> None:
    """Remove what killed runners and processors left half-written beside records and locks."""
    for folder in (names.folder, names.limits(), *names.item_folders(), *lock_folders(root)):
        for path in list(_leftovers(folder)):
            _remove(path)


def _leftovers(folder: str) -> Iterator[str]:
    try:
        yield from leftovers(folder)
    except FileNotFoundError:
        return


def _remove(path: str) -> None:
    try:
        remove_tree(path)
    except OSError as error:
        raise StateError(path, os_fault(error)) from error

"""Where each paper stands, in a checkpoint file that survives a kill at any moment.

An update is kept when the call returns: it was appended to the journal beside
the file (`state.snapshots`), and `load` counts the journal in.  So an update
costs the same at ten papers and at a hundred thousand, and the file itself is
brought up to date at most once a second, with `save`, and when the manager
or the program ends.  Managers of one file, in any number of threads and
processes, see and keep each other's updates.
"""

from __future__ import annotations

import os
import weakref
from typing import Any
from typing import Dict
from typing import List
from typing import Optional
from typing import Sequence
from typing import Union

from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.errors import StateError
from stagerunner.files import make_folder
from stagerunner.state.entries import IN_PROGRESS
from stagerunner.state.entries import NOT_STARTED
from stagerunner.state.entries import STAGES
from stagerunner.state.entries import VERSION
from stagerunner.state.entries import apply
from stagerunner.state.entries import as_plain_text
from stagerunner.state.entries import is_document
from stagerunner.state.entries import new_stats
from stagerunner.state.entries import recount
from stagerunner.state.entries import render
from stagerunner.state.snapshots import Content
from stagerunner.state.snapshots import Snapshots

_PAPERS = 'papers'

#: Between two snapshots lie so many seconds at least.
_REST_S = 1.0


class CheckpointManagerV2:
    """Keeps the checkpoint file of a program that processes papers itself.

    What the file says already is taken in by `load`, or else by the first
    update: nothing that was kept is ever lost to a new manager.  In a dry run
    everything that is written is marked as simulated, and a file that is not
    simulated itself is never touched.
    """

    def __init__(self, checkpoint_file: Union[str, os.PathLike[str]], dry_run: bool = False,
                 *, clock: Optional[Clock] = None):
        self.checkpoint_file = checkpoint_file
        self.dry_run = dry_run
        self._kept = _Kept(os.fspath(checkpoint_file), clock or Clock(), is_simulated=dry_run)
        self._end = weakref.finalize(self, _Kept.finish, self._kept)

    @property
    def data(self) -> Dict[str, Any]:
        """The whole document as it is now."""
        return self._kept.data

    @data.setter
    def data(self, value: Dict[str, Any]) -> None:
        self._kept.data = value

    def load(self) -> bool:
        """Take in what the file says; False where it is missing or empty.

        Raises `StateError` for a file that is no checkpoint file.
        """
        return self._kept.load()

    def save(self) -> None:
        """Bring the file itself up to date, durably, making folders that are missing."""
        self._kept.save()

    def update_paper_status(self, paper_id: str, stage: str,
                            stages_completed: Optional[Sequence[str]] = None,
                            error: Optional[str] = None) -> None:
        """Note where a paper stands: `not_started`, `in_progress`, `completed` or `failed`.

        `stages_completed` are noted with the time at which they were first
        said to be; an `error` becomes the last one and joins the history.
        """
        if stage not in STAGES:
            raise ValueError(f'stage must be one of {", ".join(STAGES)}, got {stage!r}')
        change: Dict[str, Any] = {'stage': stage}
        if error is not None:
            change['error'] = as_plain_text(str(error))
        self._kept.change(_id_of(paper_id), change, tuple(map(str, stages_completed or ())))

    def increment_retries(self, paper_id: str) -> None:
        """Count one more attempt at a paper."""
        self._kept.change(_id_of(paper_id), {'retries': 1})

    def get_paper_status(self, paper_id: str) -> Optional[Dict[str, Any]]:
        """Return a copy of what is said of a paper, None where that is nothing."""
        return self._kept.get(_id_of(paper_id))

    def get_incomplete_papers(self) -> List[str]:
        """Return the papers that are not started or in progress, as they came."""
        return self._kept.ids_in(NOT_STARTED, IN_PROGRESS)


def _id_of(paper: Any) -> str:
    return as_plain_text(os.fspath(paper))


class _Kept:
    """The document and its file; it does not know the manager, which may end before it."""

    def __init__(self, path: str, clock: Clock, *, is_simulated: bool):
        import threading

        self.clock = clock
        self.is_simulated = is_simulated
        # A link is written through, as an editor would.
        self.snapshots = Snapshots(os.path.realpath(path), clock)
        self.lock = threading.RLock()
        self.pid = os.getpid()
        now = clock.now()
        self.data: Dict[str, Any] = {
            'run_id': f'{stamp(now)[:26]}_{self.pid:x}', 'version': VERSION,
            'created_at': stamp(now), 'last_updated': stamp(now), 'status': 'in_progress',
            _PAPERS: {}, 'stats': dict(new_stats(_PAPERS), retries=0)}
        if is_simulated:
            self.data['dry_run'] = True
        #: True when the document is what the file and its journal say.
        self.is_synced = False
        #: True when the journal has something that the file has not.
        self.is_ahead = False

    # -- reading ---------------------------------------------------------------

    def load(self) -> bool:
        with self.lock:
            if not self.snapshots.exists():
                return False
            if self.snapshots.has_journal():
                with self.snapshots:
                    content = self.snapshots.read()
            else:
                # Looking leaves nothing behind.
                content = self.snapshots.read()
            if content is None:
                return False
            self._take(content)
            return True

    def get(self, paper: str) -> Optional[Dict[str, Any]]:
        with self.lock:
            entry = self.data[_PAPERS].get(paper)
            return None if entry is None else dict(
                entry, stages=dict(entry.get('stages', {})),
                **({'errors': [dict(error) for error in entry['errors']]}
                   if 'errors' in entry else {}))

    def ids_in(self, *stages: str) -> List[str]:
        with self.lock:
            return [paper for paper, entry in self.data[_PAPERS].items()
                    if entry['stage'] in stages]

    def _take(self, content: Content) -> None:
        data = content.data
        if not is_document(data, _PAPERS):
            raise StateError(self.snapshots.path, 'is not a checkpoint file; rename it to begin '
                                                  'a new one')
        for key, value in self.data.items():
            if key not in (_PAPERS, 'dry_run'):
                data.setdefault(key, value)
        data.setdefault(_PAPERS, {})
        data['stats'].setdefault('retries', 0)
        for change in content.changes:
            apply(data, change)
        recount(data, _PAPERS)
        self.data = data
        self.is_synced = True
        self.is_ahead = bool(content.changes)

    # -- writing ---------------------------------------------------------------

    def change(self, paper: str, change: Dict[str, Any], stages: Sequence[str] = ()) -> None:
        with self.lock:
            if not self._may_write():
                self._apply(paper, change, stages)
                return
            with self.snapshots:
                if not self._catch_up():
                    self._apply(paper, change, stages)
                    self._write(durable=True)
                    return
                whole = self._completed(paper, change, stages)
                self.snapshots.append(whole)
                apply(self.data, whole)
                self.is_ahead = True
                if self.snapshots.is_due(len(self.data[_PAPERS]), floor_s=_REST_S):
                    self._write(durable=True)

    def save(self) -> None:
        with self.lock:
            if self._may_write():
                make_folder(os.path.dirname(self.snapshots.path))
                with self.snapshots:
                    self._catch_up()
                    self._write(durable=True)

    def finish(self) -> None:
        """Bring the file up to date if it is not; the journal has all of it in any case."""
        try:
            if self.is_ahead and self.pid == os.getpid() and self.snapshots.has_journal():
                self.save()
        except (StateError, OSError):
            # There is nobody left to tell, and nothing is lost.
            pass
        self.snapshots.close()

    def _catch_up(self) -> bool:
        """Take in what other managers wrote; False where there is no file yet."""
        news = self.snapshots.news() if self.is_synced else None
        if news is not None:
            for change in news:
                apply(self.data, change)
            return True
        content = self.snapshots.read()
        if content is None:
            return False
        mine = {} if self.is_synced else self.data[_PAPERS]
        self._take(content)
        for paper, entry in mine.items():
            self.data[_PAPERS].setdefault(paper, entry)
        return True

    def _may_write(self) -> bool:
        """False in a dry run beside a file that is a real one."""
        if not self.is_simulated or self.data.get('dry_run') is not True:
            return not self.is_simulated
        if self.is_synced or not self.snapshots.exists():
            return True
        content = self.snapshots.read()
        return content is None or (isinstance(content.data, dict)
                                   and content.data.get('dry_run') is True)

    def _completed(self, paper: str, change: Dict[str, Any],
                   stages: Sequence[str]) -> Dict[str, Any]:
        now = stamp(self.clock.now())
        whole = dict({'in': _PAPERS, 'id': paper, 'at': now}, **change)
        known = self.data[_PAPERS].get(paper, {}).get('stages', {})
        new = {name: now for name in stages if name not in known}
        if new:
            whole['stages'] = new
        if self.is_simulated:
            whole['simulated'] = True
        return whole

    def _apply(self, paper: str, change: Dict[str, Any], stages: Sequence[str]) -> None:
        apply(self.data, self._completed(paper, change, stages))

    def _write(self, *, durable: bool) -> None:
        self.data['last_updated'] = stamp(self.clock.now())
        self.snapshots.write(render(self.data), durable=durable)
        self.is_synced = True
        self.is_ahead = False

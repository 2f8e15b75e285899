"""Process many papers at once with a function of the caller's, and keep the checkpoint."""

from __future__ import annotations

import os
from typing import Any
from typing import Callable
from typing import Dict
from typing import Iterable
from typing import List
from typing import Optional
from typing import Tuple

from stagerunner.embedding.papers import CheckpointManagerV2
from stagerunner.embedding.quota import SimpleQuotaManager

#: What the `status` of a result says when the paper did not come through.
_FAILURES = ('failed', 'failure', 'error')


class ParallelPipelineCoordinator:
    """Calls a function for each paper, `max_workers` at a time, one token per call."""

    def __init__(self, max_workers: int = 4, quota_manager: Optional[SimpleQuotaManager] = None,
                 checkpoint_manager: Optional[CheckpointManagerV2] = None,
                 dry_run: bool = False):
        import threading

        if isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1:
            raise ValueError(f'max_workers must be a whole number above 0, got {max_workers!r}')
        self.max_workers = max_workers
        self.quota_manager = quota_manager
        self.checkpoint = checkpoint_manager
        self.dry_run = dry_run
        self.stats: Dict[str, int] = {'total_processed': 0, 'successful': 0, 'failed': 0}
        self._lock = threading.Lock()

    def get_stats(self) -> Dict[str, int]:
        """Return how many papers were processed so far, and how."""
        with self._lock:
            return dict(self.stats)

    def process_papers_parallel(self, papers: Iterable[Any], process_func: Callable[[Any], Any],
                                use_threads: bool = True) -> List[Dict[str, Any]]:
        """Return one dictionary per paper, in the order of `papers`.

        An exception of `process_func` becomes the result of its paper.  Without
        `use_threads` it is called in processes, for work that keeps a
        processor busy: it and its results must then be such that `pickle`
        can hand them over.  Raises `StateError` when the checkpoint cannot be
        written.
        """
        todo = list(papers)
        if self.dry_run:
            results = [self._rehearsed(paper) for paper in todo]
        elif use_threads:
            results = self._in_threads(todo, process_func)
        else:
            results = self._in_processes(todo, process_func)
        if self.checkpoint is not None and self._keeps_checkpoint():
            self.checkpoint.save()
        return results

    # -- ways to do it -------------------------------------------------------------

    def _in_threads(self, todo: List[Any], func: Callable[[Any], Any]) -> List[Dict[str, Any]]:
        import threading
        from concurrent.futures import Future
        from concurrent.futures import ThreadPoolExecutor

        results: List[Dict[str, Any]] = [{}] * len(todo)
        faults: List[BaseException] = []
        # A few are handed over at a time, so that many papers do not take much memory.
        places = threading.Semaphore(2 * self.max_workers)

        def one(index: int) -> None:
            if not faults:
                self._begin(todo[index])
                results[index] = self._end(todo[index], _outcome(func, todo[index]))

        def ended(future: Future[None]) -> None:
            error = future.exception()
            if error is not None:
                faults.append(error)
            places.release()

        with ThreadPoolExecutor(self.max_workers) as pool:
            try:
                for index in range(len(todo)):
                    places.acquire()
                    pool.submit(one, index).add_done_callback(ended)
            except BaseException as error:
                # What was handed over and has not begun is not begun any more.
                faults.append(error)
                raise
        if faults:
            raise faults[0]
        return results

    def _in_processes(self, todo: List[Any], func: Callable[[Any], Any]) -> List[Dict[str, Any]]:
        """As many papers are begun as there are processes: what is in progress really is."""
        import pickle
        from concurrent.futures import FIRST_COMPLETED
        from concurrent.futures import BrokenExecutor
        from concurrent.futures import Future
        from concurrent.futures import ProcessPoolExecutor
        from concurrent.futures import wait

        # A function that cannot be handed over is a mistake of the caller's, not of each paper.
        pickle.dumps(func)
        results: List[Dict[str, Any]] = [{}] * len(todo)
        left = list(enumerate(todo))[::-1]
        while left:
            running: Dict[Future[Any], Tuple[int, Any]] = {}
            is_broken = False
            with ProcessPoolExecutor(min(self.max_workers, len(left))) as pool:
                while running or (left and not is_broken):
                    while left and not is_broken and len(running) < self.max_workers:
                        index, paper = left.pop()
                        self._begin(paper)
                        running[pool.submit(_outcome, func, paper)] = (index, paper)
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        index, paper = running.pop(future)
                        error = future.exception()
                        # With one process the pool is lost; the papers that are left get another.
                        is_broken = is_broken or isinstance(error, BrokenExecutor)
                        outcome = _failure(paper, error) if error else future.result()
                        results[index] = self._end(paper, outcome)
        return results

    def _rehearsed(self, paper: Any) -> Dict[str, Any]:
        """Pretend: no call, no token, and in a real checkpoint file no word of it."""
        if self._keeps_checkpoint():
            self._note(paper, 'completed')
        self._count(is_ok=True)
        return {'paper': paper, 'status': 'success', 'dry_run': True}

    # -- before and after each paper -------------------------------------------------

    def _keeps_checkpoint(self) -> bool:
        return self.checkpoint is not None and (not self.dry_run or self.checkpoint.dry_run)

    def _begin(self, paper: Any) -> None:
        if self.quota_manager is not None:
            self.quota_manager.consume(1, wait=True)
        self._note(paper, 'in_progress')

    def _end(self, paper: Any, result: Dict[str, Any]) -> Dict[str, Any]:
        is_ok = str(result.get('status')).lower() not in _FAILURES
        error = None if is_ok else str(result.get('error') or 'failed')
        stages = result.get('stages_completed')
        self._note(paper, 'completed' if is_ok else 'failed',
                   stages if isinstance(stages, (list, tuple)) else None, error)
        self._count(is_ok=is_ok)
        return result

    def _note(self, paper: Any, stage: str, stages: Any = None,
              error: Optional[str] = None) -> None:
        if self.checkpoint is not None:
            name = os.fspath(paper) if isinstance(paper, (str, os.PathLike)) else str(paper)
            self.checkpoint.update_paper_status(name, stage, stages, error)

    def _count(self, *, is_ok: bool) -> None:
        with self._lock:
            self.stats['total_processed'] += 1
            self.stats['successful' if is_ok else 'failed'] += 1


def _outcome(func: Callable[[Any], Any], paper: Any) -> Dict[str, Any]:
    """Return what became of one paper; runs in a thread or process of its own."""
    try:
        value = func(paper)
    except Exception as error:
        return _failure(paper, error)
    if isinstance(value, dict):
        return dict({'paper': paper, 'status': 'success'}, **value)
    return {'paper': paper, 'status': 'success', 'result': value}


def _failure(paper: Any, error: BaseException) -> Dict[str, Any]:
    return {'paper': paper, 'status': 'failed', 'error': str(error) or type(error).__name__}

"""Record outputs that are there already as current, without running anything."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Any
from typing import Dict
from typing import List

from stagerunner.adoption import Adoption
from stagerunner.clock import Clock
from stagerunner.clock import stamp
from stagerunner.commands.flags import add_config
from stagerunner.commands.flags import audit_key
from stagerunner.commands.flags import load_all
from stagerunner.errors import OK
from stagerunner.errors import LockTimeout
from stagerunner.errors import UsageError
from stagerunner.events import RunEnded
from stagerunner.events import RunStarted
from stagerunner.events import Sink
from stagerunner.facts import Observer
from stagerunner.files import make_folder
from stagerunner.fingerprint import Digests
from stagerunner.launch.system import interpreter_version
from stagerunner.ledger import Ledger
from stagerunner.locks import Lock
from stagerunner.locks import holder_of
from stagerunner.locks import run_lock
from stagerunner.locks import stage_lock
from stagerunner.locks import try_lock
from stagerunner.report.audit import Audit
from stagerunner.report.console import Console
from stagerunner.report.console import JsonLines
from stagerunner.schema import no_stage
from stagerunner.session import Broadcast
from stagerunner.session import new_run_id
from stagerunner.state.names import StateNames
from stagerunner.state.run import COMPLETED
from stagerunner.state.stage import StageRecords
from stagerunner.tasks import Group
from stagerunner.tasks import expand_known
from stagerunner.tasks import make_groups

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py adopt stage_copy
'''


def add_arguments(parser: Any) -> None:
    """Add what is adopted."""
    parser.add_argument('stage', metavar='STAGE',
                        help="the stage whose outputs are in its 'outputDir' already: those that "
                        "its 'outputs' name, or all files there that no other stage published")
    add_config(parser)


def main(arguments: Any, system: Any) -> int:
    """Adopt the outputs of a stage; the next run skips it while nothing changes.

    It is no run and leaves no record of one: what a run left unfinished stays so.
    """
    clock, loaded = Clock(), load_all(arguments)
    root = loaded.workspace.root
    groups = make_groups(loaded.workspace)
    group = _group(groups, arguments.stage)
    expand_known(groups)
    group.expand()
    _, version = interpreter_version(loaded.workspace.pipeline.python, root,
                                     os.path.basename(arguments.pipeline))
    names, run_id = StateNames(root), new_run_id(clock, system.pid)
    digests = Digests(names.index(), clock)
    digests.load()
    observer = Observer(root, digests, version, system.environment, Ledger(root))
    holder = {'pid': system.pid, 'host': system.host, 'since': stamp(clock.now()),
              'runId': run_id}
    console: Sink = (JsonLines(system.out) if arguments.json
                     else Console(system.out, system.err, clock))
    key = audit_key(None, system.environment, loaded.settings, root)
    with _take(root, arguments.stage, holder), closing(observer.ledger):
        make_folder(names.folder)
        audit = Audit(names, run_id, clock, key)
        adoption = Adoption(observer, groups, clock, Broadcast(
            [audit, StageRecords(names, run_id), console]), run_id)
        found = adoption.look(group)
        # The audit takes whoever has no such lock for dead.
        lock = try_lock(run_lock(root, run_id))
        try:
            audit.prepare()
            audit.receive(RunStarted(run_id, loaded.workspace.pipeline.name,
                                     stamp(clock.now()), (arguments.stage,)))
            adoption.record(group, found)
            audit.end(RunEnded(run_id, stamp(clock.now()), 0.0, COMPLETED))
        finally:
            audit.close()
            if lock is not None:
                lock.discard()
    return OK


def _group(groups: List[Group], name: str) -> Group:
    """Return the group of a stage, or raise `UsageError`."""
    for group in groups:
        if group.stage.name == name:
            if group.is_fed:
                raise UsageError(f"stage '{name}' is fed by the queue, one entry at a time; "
                                 f'it cannot be adopted')
            return group
    raise UsageError(no_stage(name, [group.stage.name for group in groups]))


def _take(root: str, stage: str, holder: Dict[str, object]) -> Lock:
    path = stage_lock(root, stage)
    lock = try_lock(path)
    if lock is None:
        raise LockTimeout(f"stage '{stage}'", os.path.relpath(path, root).replace(os.sep, '/'),
                          0.0, holder_of(path))
    lock.note(holder)
    return lock

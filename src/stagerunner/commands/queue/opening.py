"""Where a workspace keeps its queue, and how commands about it open it and answer."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import Any
from typing import Dict
from typing import Iterator
from typing import Optional

from stagerunner.documents import read_document
from stagerunner.errors import UsageError
from stagerunner.files import try_stat
from stagerunner.schema import printable
from stagerunner.state.names import StateNames
from stagerunner.work.entries import Entry
from stagerunner.work.store import WorkQueue


def example(parser: Any, *lines: str) -> None:
    """End the help of a command with examples."""
    shown = ''.join(f'  python src/pipeline_runner.py {line}\n' for line in lines)
    parser.epilog = f'example:\n{shown}'


def names_of(arguments: Any) -> StateNames:
    """Return the names of the workspace of the pipeline file, which has to exist.

    It is not read: an entry can be put in while somebody edits the stages.
    """
    if try_stat(arguments.pipeline) is None:
        read_document(arguments.pipeline, '--pipeline')
    return StateNames(os.path.dirname(os.path.abspath(arguments.pipeline)))


@contextmanager
def opened(arguments: Any) -> Iterator[WorkQueue]:
    """Give the queue of a workspace, which is made where there is none yet.

    What the queue refuses to take is a mistake of the caller (`UsageError`).
    """
    queue = WorkQueue(names_of(arguments).work_queue())
    try:
        yield queue
    except ValueError as error:
        raise UsageError(str(error)) from error
    finally:
        queue.close()


@contextmanager
def opened_if_there(arguments: Any) -> Iterator[Optional[WorkQueue]]:
    """Give the queue of a workspace, or None where there is none: nothing is made."""
    if try_stat(names_of(arguments).work_queue()) is None:
        yield None
        return
    with opened(arguments) as queue:
        yield queue


def as_json(entry: Entry) -> Dict[str, Any]:
    """Return an entry as `queue import` would take it, and what the queue knows beside that."""
    fields = entry._asdict()
    del fields['id']
    text = fields.pop('artifact_json')
    return {'artifact_id': fields.pop('artifact_id'), 'artifact': json.loads(text), **fields}


def entries(n: int) -> str:
    """Spell a number of entries.

    >>> entries(1), entries(2)
    ('1 entry', '2 entries')
    """
    return '1 entry' if n == 1 else f'{n} entries'


def answer(arguments: Any, system: Any, text: str, **fields: Any) -> None:
    """Print what came of a command: a line for people, or with `--json` an object."""
    if arguments.json:
        text = json.dumps(fields)
    system.out.line('\n'.join(printable(line) for line in text.split('\n')))

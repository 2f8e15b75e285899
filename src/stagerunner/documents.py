"""Read a JSON file that a person wrote, or refuse it in lines that the person can use."""

from __future__ import annotations

import os

from stagerunner.errors import DefinitionError
from stagerunner.errors import Unreadable
from stagerunner.files import MAX_JSON_BYTES
from stagerunner.files import parse_json
from stagerunner.files import read_bytes
from stagerunner.records import TYPE_CHECKING
from stagerunner.schema import Fault
from stagerunner.schema import in_file_order
from stagerunner.schema import printable

if TYPE_CHECKING:
    from typing import Any
    from typing import List
    from typing import NoReturn


def read_document(path: str, flag: str) -> Any:
    """Return the decoded file; `DefinitionError` names `flag` where there is no such file."""
    try:
        return parse_json(read_bytes(path, MAX_JSON_BYTES), _shown(path))
    except FileNotFoundError:
        raise DefinitionError((f'{printable(path) or flag}: there is no such file; '
                               f'name one with {flag}',)) from None
    except Unreadable as error:
        hint = '; name the file in it' if os.path.isdir(path) else ''
        raise DefinitionError((f'{_shown(path)}: {error.fault}{hint}',)) from error


def refuse(path: str, document: Any, faults: List[Fault]) -> NoReturn:
    """Raise `DefinitionError` with every fault, once each, in the order of the file."""
    raise DefinitionError(tuple(fault_lines(path, document, faults)))


def fault_lines(path: str, document: Any, faults: List[Fault]) -> List[str]:
    """Return every fault as a line, once each, in the order of the file."""
    return list(dict.fromkeys(fault.line(_shown(path))
                              for fault in in_file_order(faults, document)))


def _shown(path: str) -> str:
    return os.path.basename(path) or path

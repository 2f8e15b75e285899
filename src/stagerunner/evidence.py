"""What a finished task leaves in the audit: what its key was made of, and what it published.

A marker knows the newest success only.  With this two runs can be compared
long after, whatever ran since.
"""

from __future__ import annotations

from stagerunner.files import digest_bytes
from stagerunner.fingerprint import canonical
from stagerunner.records import TYPE_CHECKING
from stagerunner.state.marker import Output
from stagerunner.state.marker import output_to_json

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List
    from typing import Sequence

#: Longer lists, and values of more bytes, are told by their digest.
MOST_ENTRIES, MOST_BYTES = 1000, 1000


def evidence(parts: Dict[str, Any], folder: str, outputs: Sequence[Output]) -> Dict[str, Any]:
    """Return the parts of a key, and a manifest with its folder, as JSON of a bounded size."""
    found = dict(parts, inputs=_bounded(parts['inputs']), outputDir=folder,
                 outputs=_bounded([output_to_json(output) for output in outputs]))
    for field in ('params', 'env', 'options'):
        found[field] = {name: _small(value) for name, value in parts[field].items()}
    return found


def _bounded(entries: List[Any]) -> Any:
    if len(entries) <= MOST_ENTRIES:
        return entries
    return {'count': len(entries), 'digest': digest_bytes(canonical(entries))}


def _small(value: Any) -> Any:
    data = canonical(value)
    return value if len(data) <= MOST_BYTES else {'digest': digest_bytes(data)}

"""Put one entry into the queue."""

from __future__ import annotations

from typing import Any

from stagerunner.commands.queue.opening import answer
from stagerunner.commands.queue.opening import example
from stagerunner.commands.queue.opening import opened
from stagerunner.errors import OK
from stagerunner.errors import UsageError
from stagerunner.strictjson import parse


def add_arguments(parser: Any) -> None:
    """Add the entry and how it is to be treated."""
    parser.add_argument('id', metavar='ID', help='name of the entry; the same one is never added '
                        'twice')
    parser.add_argument('artifact', metavar='JSON', nargs='?', default='{}',
                        help='what the entry is about, as JSON: the item file of the stages '
                        '(default: %(default)s)')
    parser.add_argument('--priority', metavar='N', type=int, default=0,
                        help='entries with a higher number come first (default: %(default)s)')
    parser.add_argument('--delay', metavar='SEC', type=float, default=0.0,
                        help='hand it out so many seconds from now at the earliest')
    parser.add_argument('--resolver', metavar='HINT',
                        help='the service that it needs, for max_per_resolver of the config')
    example(parser, "queue enqueue doi:10.1234/x '{\"url\": \"https://example.org/x\"}'")


def main(arguments: Any, system: Any) -> int:
    """Add the entry, and say whether it is new."""
    artifact = parse_artifact(arguments.artifact)
    if '\0' in arguments.id:  # pragma: no cover - no shell can pass one
        raise UsageError('ID: must not hold a NUL character')
    with opened(arguments) as queue:
        is_new = queue.enqueue(arguments.id, artifact, arguments.resolver, arguments.priority,
                               arguments.delay)
        entry = queue.find(arguments.id)
    state = entry.state if entry else 'queued'
    text = f'enqueued {arguments.id}' if is_new else f'already queued {arguments.id} ({state})'
    answer(arguments, system, text, event='enqueued' if is_new else 'already_queued',
           artifact_id=arguments.id, state=state)
    return OK


def parse_artifact(text: str) -> Any:
    """Return strict JSON decoded, or raise `UsageError`."""
    try:
        return parse(text.encode('utf-8', 'surrogateescape'), refuses_repeats=True)
    except ValueError as error:
        raise UsageError(f'JSON: {error}') from error

"""The command line: parse, load the command, print errors as one line, return the exit code.

The only module that looks at `sys.argv` and the runner's own environment, and
the last to see an exception: nothing leaves it as a traceback.
"""

from __future__ import annotations

import importlib
import io
import os
import sys

from stagerunner import __version__
from stagerunner import errors
from stagerunner.plainly import plain_run
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple
from stagerunner.report.console import Stream
from stagerunner.schema import printable
from stagerunner.state.names import StateNames

if TYPE_CHECKING:
    from typing import Any
    from typing import Iterator
    from typing import List
    from typing import Mapping
    from typing import Optional
    from typing import Tuple

#: The last of the numbers of standard streams.
_STDERR = 2

#: Every command and what it does; its module is loaded when it is called (of two words: from a
#: folder with the name of the first).
COMMANDS = {
    'run': 'Run the stages of a pipeline offline; skip what is done, resume what was stopped.',
    'plan': 'Say what a run would do and why, and change nothing.',
    'why': 'Say why a stage would run or be skipped, with old and new values.',
    'graph': 'Draw the stages of a pipeline and what waits for what.',
    'validate': 'Check a definition, its config and its processors, and run nothing.',
    'schema': 'Print the JSON Schema of a definition or a config, for editors.',
    'verify': 'Hold outputs against their manifests, or make them again and compare.',
    'trace': 'Say where a published file came from, back to the source files.',
    'impact': 'Say which tasks and outputs would change if a file changed.',
    'audit verify': 'Say whether the audit is as it was written, and what is not.',
    'queue enqueue': 'Put one entry into the durable queue; one that is there already stays.',
    'queue import': 'Put all rows of a file into the durable queue, or none of them.',
    'queue run': 'Work on the entries of the queue with the stages that it feeds.',
    'queue stats': 'Tell how many entries of the queue are in which state.',
    'queue list': 'List entries of the queue.',
    'queue show': 'Tell all that is known of one entry of the queue.',
    'queue retry-failed': 'Queue all entries that ended in error again.',
    'queue pause': 'Hand out nothing of the queue any more, to nobody.',
    'queue resume': 'Hand out entries of the queue again.',
    'queue purge': 'Forget finished entries of the queue.',
    'report': 'Write the report of a run: one HTML file with everything in it.',
    'status': 'Tell which runs there were, and how far one is that goes on.',
    'logs': 'Show what processors printed, also while they do.',
    'init': 'Make a new workspace that runs at once.',
    'adopt': 'Record outputs that are there already as current, without running anything.',
    'diff': 'Compare two runs: inputs, params, durations, outputs.',
    'clean': 'Remove what the runner made and nobody changed.',
    'doctor': 'Tell what this host can promise, and which settings hold.',
}


class System(NamedTuple):
    """What a command may know of the process that it runs in."""

    out: Stream
    err: Stream
    environment: Mapping[str, str]
    pid: int
    host: str

    @property
    def input(self) -> Any:
        """What is read from stdin, as bytes."""
        return sys.stdin.buffer if sys.stdin is not None else io.BytesIO()

    def spread(self) -> float:
        """Return a random number from -1 to 1, for the jitter of delays."""
        import random

        return random.uniform(-1, 1)

    def version_of(self, module: str, name: str = '') -> Optional[str]:
        """Return the version that a standard module tells, None where it is missing."""
        try:
            return str(getattr(importlib.import_module(module), name, ''))
        except ImportError:
            return None

    def load(self, name: str) -> Any:
        """Return a module of the package that only some calls of a command need."""
        return importlib.import_module(f'stagerunner.{name}')


def main(argv: Optional[List[str]] = None) -> int:
    """Run the command line `argv` (default: the process's own) and return its exit code."""
    try:
        if None in (sys.stdin, sys.stdout, sys.stderr):
            _fill_standard_places()
        code = _run_command(sys.argv[1:] if argv is None else argv, _system())
    except KeyboardInterrupt:
        code = 130
    _leave_quietly()
    return code


def _fill_standard_places() -> None:
    """See to it that no file of ours gets a number that standard streams have in a child.

    Whoever closed them wants to hear nothing, and still does not.
    """
    try:
        while True:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor > _STDERR:
                os.close(descriptor)
                return
    except OSError:
        # Without /dev/null no processor can be started, which is told then.
        pass


def _system() -> System:
    host = os.uname().nodename if hasattr(os, 'uname') else os.environ.get('COMPUTERNAME', '')
    return System(Stream(sys.stdout), Stream(sys.stderr), dict(os.environ), os.getpid(), host)


def _run_command(argv: List[str], system: System) -> int:
    workspace = os.curdir
    try:
        name, flags = _command_of(argv)
        if name not in COMMANDS:
            system.out.line(_verbs_help(name))
            return errors.OK
        arguments = plain_run(argv) if name == 'run' else None
        if arguments is not None:
            workspace = _workspace_of(arguments.pipeline)
            done: Optional[int] = _command('swift').main(arguments, system)
            if done is not None:
                return done
        command = _command(name)
        read: Any = None if arguments else _parser(name, command).parse_args
        try:
            arguments = arguments or read(flags)
        except (OSError, AttributeError):
            # Help was asked for, and stdout takes nothing, or is closed (Python 3.7 then falls).
            return errors.OK
        workspace = _workspace_of(arguments.pipeline)
        code: int = command.main(arguments, system)
        return code
    except errors.RunnerError as error:
        for line in str(error).split('\n'):
            system.err.line(printable(line))
        return error.exit_code
    except SystemExit as asked:
        return int(asked.code or 0)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the last line: a bug of ours
        system.err.line(_report_bug(error, workspace))
        return errors.BUG


def _command_of(argv: List[str]) -> Tuple[str, List[str]]:
    """Return the command that is called and its arguments; without one it is a run.

    What all commands take may stand before it too.  Of a command with two words the
    first alone is returned when help is asked for.
    """
    at = 0
    while at < len(argv) and argv[at].startswith('-'):
        if argv[at] == '--pipeline':
            at += 2
        elif argv[at] == '--json' or argv[at].startswith('--pipeline='):
            at += 1
        else:
            return 'run', argv
    before, words = argv[:at], argv[at:]
    for length in (2, 1):
        name = ' '.join(words[:length])
        if name in COMMANDS:
            return name, before + words[length:]
    if not words:
        return 'run', argv
    verbs = _verbs_of(words[0])
    if verbs and words[1:2] in (['--help'], ['-h']):
        return words[0], []
    if not verbs:
        hint = ('; a definition is named with --pipeline' if words[0].endswith('.json')
                else f'{_nearest(words[0])}; see --help')
        raise errors.UsageError(f'unknown command {words[0]!r}{hint}')
    asked = words[1] if words[1:] else ''
    raise errors.UsageError(f'{words[0]}: expected one of {", ".join(verbs)}, '
                            f'got {asked or "nothing"}; each has a --help')


def _command(name: str) -> Any:
    """Load a command by its name."""
    return importlib.import_module(
        f'stagerunner.commands.{name.replace(" ", ".").replace("-", "_")}')


def _parser(name: str, command: Any) -> Any:
    """Return the parser of a command; a plain run has no use for what is loaded here."""
    return importlib.import_module('stagerunner.parser').make_parser(name, command, COMMANDS)


def _verbs_of(word: str) -> List[str]:
    return [name.partition(' ')[2] for name in COMMANDS if name.startswith(f'{word} ')]


def _verbs_help(word: str) -> str:
    lines = [f'  {verb:16}{COMMANDS[f"{word} {verb}"]}' for verb in _verbs_of(word)]
    return '\n'.join([f'usage: pipeline_runner.py {word} VERB [flags]', '',
                      'verbs (each with --help):', *lines])


def _nearest(word: str) -> str:
    import difflib

    found = difflib.get_close_matches(word, {name.partition(' ')[0] for name in COMMANDS}, 1)
    return f', did you mean {found[0]!r}?' if found else ''


def _workspace_of(pipeline: str) -> str:
    try:
        return os.path.dirname(os.path.abspath(pipeline))
    except FileNotFoundError:
        raise errors.UsageError('the current folder does not exist any more; '
                                'name the definition by its whole path') from None


def _report_bug(error: BaseException, workspace: str) -> str:
    """Keep the traceback in a file and return the one line that is printed."""
    import traceback

    text = ''.join(traceback.format_exception(type(error), error, error.__traceback__))
    text = f'stagerunner {__version__}, Python {sys.version}, {sys.platform}\n{text}'
    what = f'bug in the runner: {type(error).__name__}: {error}'.partition('\n')[0]
    for path in _bug_logs(workspace):
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, 'w', encoding='utf-8') as log:
                log.write(text)
        except OSError:
            continue
        return f'{what}; please report it with {path}'
    return what


def _bug_logs(workspace: str) -> Iterator[str]:
    """Yield where the traceback may go; on a full disk there may not even be a folder for it."""
    import tempfile

    yield StateNames(workspace).bug_log()
    try:
        yield os.path.join(tempfile.gettempdir(), f'stagerunner-bug-{os.getpid()}.log')
    except OSError:
        pass


def _leave_quietly() -> None:
    """Keep Python from failing with code 120 at exit because a reader of ours went away."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            except (OSError, ValueError):
                continue

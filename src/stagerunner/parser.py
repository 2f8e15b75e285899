"""Read the flags of a command with `argparse`: for all command lines but the plainest."""

from __future__ import annotations

import argparse
import re
from typing import Any
from typing import Container
from typing import Mapping
from typing import NoReturn

from stagerunner import __version__
from stagerunner.errors import UsageError
from stagerunner.schema import closest

_EPILOG = '''\
example:
  python src/pipeline_runner.py --pipeline pipeline.json --run-id demo1

exit codes:
  0 done   1 a stage failed   2 refused: usage or definition   3 a bug in the runner
  4 another run is busy   5 state cannot be read or written   128+n ended by signal n

The folder of the pipeline file is the workspace: records go to its state/ folder,
docs/ of this project tells what is in them.
'''



class _Parser(argparse.ArgumentParser):
    """Reports a mistake as one line that says where help is."""

    #: Words that are commands where they stand first.
    commands: Container[str] = ()

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Read the arguments; for a flag that there is not the nearest one is named."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            flag = next((word for word in unknown if word.startswith('-')), '')
            close = closest(flag.partition('=')[0].strip('-'),
                            sorted(set(re.findall('--([a-z-]+)', self.format_usage()))))
            hint = f", did you mean '--{close}'?" if close else ''
            if unknown[0] in self.commands:
                hint = f"; '{unknown[0]}' has to stand first, before flags"
            self.error(f'unrecognized arguments: {" ".join(unknown)}{hint}')
        return found

    def error(self, message: str) -> NoReturn:
        raise UsageError(f'{message}; see --help')


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    """Return a formatter of fixed width: asking for the terminal's costs 3 ms at each start."""
    return argparse.RawDescriptionHelpFormatter(prog, width=96)


def make_parser(name: str, command: Any, commands: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the parser of one command; the plain one, `run`, tells of the others too."""
    is_plain = name == 'run'
    parser = _Parser(
        prog='pipeline_runner.py' if is_plain else f'pipeline_runner.py {name}',
        formatter_class=_help_formatter, description=commands[name], allow_abbrev=False,
        epilog=_EPILOG + _other_commands(commands) if is_plain else _examples(command))
    parser.add_argument('--pipeline', metavar='FILE', default='pipeline.json',
                        help='the definition (default: %(default)s)')
    parser.add_argument('--json', action='store_true',
                        help='print JSON on stdout and nothing else')
    parser.add_argument('--version', action='version', version=f'stagerunner {__version__}')
    if is_plain:
        parser.commands = frozenset(known.partition(' ')[0] for known in commands)
    command.add_arguments(parser)
    return parser


def _examples(command: Any) -> str:
    # Every command has some (tests/test_cli.py); one without them must run all the same.
    return f"examples:\n{getattr(command, 'EXAMPLES', '')}"


def _other_commands(commands: Mapping[str, str]) -> str:
    lines = [f'  {name:20}{summary}' for name, summary in commands.items() if name != 'run']
    return '\n'.join(['', 'other commands (each with --help):', *lines]) + '\n'

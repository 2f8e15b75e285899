"""What the benchmarks share: how a command is measured, and how parts are chosen and told.

Standard library only; everything happens in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import Optional
from typing import Sequence

CHECKOUT = Path(__file__).resolve().parent.parent

#: Variables that would change what is measured.
_DROPPED = ('PYTHONUNBUFFERED', 'PYTHONDONTWRITEBYTECODE', 'PYTHONPATH', 'PYTHONPROFILEIMPORTTIME')
_DROPPED_PREFIXES = ('PIPELINE_', 'COVERAGE_', 'COV_CORE_')


class Bench:
    """Runs commands in folders of its own, and remembers what came out."""

    def __init__(self, python: str, folder: Path):
        self.python = python
        self.folder = folder
        self.results: Dict[str, Any] = {}
        self.missed: List[str] = []
        self.n_folders = 0
        self.env = {name: value for name, value in os.environ.items()
                    if name not in _DROPPED and not name.startswith(_DROPPED_PREFIXES)}

    def new_folder(self) -> Path:
        """Return a fresh folder: to remove a big tree would slow down the next turn."""
        self.n_folders += 1
        path = self.folder / str(self.n_folders)
        path.mkdir()
        return path

    def demo(self) -> Path:
        """Return a copy of the shipped demo that has not run yet."""
        root = self.new_folder()
        for name in ('src', 'bin', 'data/input'):
            shutil.copytree(str(CHECKOUT / name), str(root / name),
                            ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy(str(CHECKOUT / 'pipeline.json'), str(root))
        return root

    def runner(self, root: Path, *args: str) -> List[str]:
        """Return the command line of the runner that lies in `root`."""
        return [self.python, str(root / 'src' / 'pipeline_runner.py'), *args]

    def run(self, command: Sequence[str], cwd: Path, **env: str) -> subprocess.CompletedProcess:
        """Run a command that has to succeed."""
        done = subprocess.run(list(command), cwd=str(cwd), env=dict(self.env, **env),
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            sys.exit(f'{" ".join(command)} ended with {done.returncode}:\n'
                     f'{done.stderr.decode("utf-8", "replace")}')
        return done

    def seconds(self, command: Sequence[str], cwd: Path, **env: str) -> float:
        """Return how long a command took, from its start to its end."""
        began = time.perf_counter()
        self.run(command, cwd, **env)
        return time.perf_counter() - began

    def keep(self, name: str, result: Dict[str, Any], limit: float, value: float) -> None:
        """Remember a result, and whether it is within its limit."""
        self.results[name] = dict(result, limit=limit, isWithin=value < limit)
        if value >= limit:
            self.missed.append(f'{name}: {value:.2f}, limit {limit:g}')


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows in columns, the first to the left and the rest to the right."""
    cells = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    print(f'\n{title}')
    for row in cells:
        print('  ' + '  '.join(cell.rjust(width) if column else cell.ljust(width)
                               for column, (cell, width) in enumerate(zip(row, widths))))


def skip(bench: Bench, name: str, why: str) -> None:
    """Say that a part was left out: it did not pass."""
    print(f'\n{name}: SKIPPED, {why}')
    bench.results[name] = {'skipped': why}


#: The measurements of a script, by the names under which they are asked for.
Parts = Dict[str, Callable[[Bench, Any], None]]


def make_parser(about: str, parts: Parts) -> argparse.ArgumentParser:
    """Return a parser with what all scripts take; a script adds its own flags."""
    parser = argparse.ArgumentParser(description=about.split('\n', maxsplit=1)[0])
    parser.add_argument('parts', nargs='*', metavar='PART',
                        help=f'{", ".join(parts)} (default: all)')
    parser.add_argument('--python', default=sys.executable, metavar='PATH',
                        help='interpreter to measure with (default: this one)')
    parser.add_argument('--output', metavar='FILE', help='write the JSON there, not on stdout')
    parser.add_argument('--check', action='store_true', help='exit with 1 when a limit is missed')
    return parser


def measure_parts(parser: argparse.ArgumentParser, parts: Parts,
                  argv: Optional[Sequence[str]] = None) -> int:
    """Measure what was asked for, print it, and say whether it is within the limits."""
    options = parser.parse_args(argv)
    unknown = [part for part in options.parts if part not in parts]
    if unknown:
        parser.error(f'no such part: {unknown[0]} (there are {", ".join(parts)})')
    with tempfile.TemporaryDirectory(prefix='stagerunner-bench-') as folder:
        bench = Bench(shutil.which(options.python) or options.python, Path(folder))
        version = bench.run([bench.python, '-V'], Path(folder)).stdout.decode().strip()
        print(f'{platform.platform()}, {os.cpu_count()} CPUs, {bench.python}, {version}')
        for part in options.parts or parts:
            parts[part](bench, options)
    text = json.dumps({'platform': platform.platform(), 'python': bench.python,
                       'results': bench.results}, indent=1)
    if options.output:
        Path(options.output).write_text(text + '\n', encoding='utf-8')
    else:
        print(f'\n{text}')
    for missed in bench.missed:
        print(f'limit missed: {missed}', file=sys.stderr)
    return int(bool(bench.missed) and options.check)

"""Make a new workspace that runs at once: a pipeline, two processors, an input."""

from __future__ import annotations

import json
import os
from typing import Any
from typing import Dict

from stagerunner.errors import OK
from stagerunner.errors import StateError
from stagerunner.errors import UsageError
from stagerunner.errors import os_fault
from stagerunner.files import read_bytes
from stagerunner.schema import printable

#: How it is called, for `--help`.
EXAMPLES = '''\
  python src/pipeline_runner.py init my_pipeline
'''

_SCHEMA = 'pipeline.schema.json'

_PIPELINE = '''\
{
  "$schema": "pipeline.schema.json",
  "name": "my_pipeline",
  "version": "1.0.0",
  "stages": [
    { "name": "number", "processor": "bin/number.py", "inputs": ["data/input/sample.txt"],
      "outputDir": "data/numbered", "checkpoint": { "enabled": true, "lineInterval": 50 } },
    { "name": "count", "processor": "bin/count.py", "inputs": ["data/numbered/numbered.txt"],
      "outputDir": "data/count", "outputs": ["count.json"] }
  ]
}
'''

_NUMBER = '''\
"""Number the lines of all inputs; killed at any moment, it goes on where it was."""

import sys

from stagerunner.processor import Progress

with Progress() as progress:
    result = progress.open('numbered.txt')
    for line in progress.lines(sys.argv[1:]):
        result.write(f'{progress.line_offset + 1}\\t{line}')
'''

_COUNT = '''\
"""Count the lines and words of all inputs."""

import json
import sys

from stagerunner.processor import Progress

with Progress() as progress:
    lines = [line for line in progress.lines(sys.argv[1:])]
    words = sum(len(line.split()) for line in lines)
    progress.open('count.json').write(json.dumps({'lines': len(lines), 'words': words}) + '\\n')
'''

_SAMPLE = '''\
The first line of an input.
Change a line, and what depends on it runs again.
'''

_IGNORED = '''\
/state/
/locks/
/data/*
!/data/input/
__pycache__/
'''

_README = '''\
# my_pipeline

`number` numbers the lines of `data/input/sample.txt`, `count` counts them: see `pipeline.json`.
Run it:

    python3 src/pipeline_runner.py

with a copy of the runner's folder `src` in here. Or call the runner where it lies, from anywhere,
with `--pipeline` and the path of `pipeline.json`. Results are in `data/`, records in `state/`.
Run it again: both stages are skipped.
'''


def add_arguments(parser: Any) -> None:
    """Add where to make it."""
    parser.add_argument('folder', metavar='DIR', nargs='?', default=os.curdir,
                        help='the folder, made where it is missing (default: the current one); '
                        'nothing in it is overwritten')


def main(arguments: Any, system: Any) -> int:
    """Make the files, or none of them, and say how to run them."""
    folder = arguments.folder
    files = _files()
    paths = {name: os.path.join(folder, *name.split('/')) for name in files}
    there = [path for path in paths.values() if os.path.lexists(path)]
    if there:
        raise UsageError('\n'.join(f'{printable(path)}: is there already; nothing was made'
                                   for path in there))
    for name, content in files.items():
        _make(paths[name], content)
    command = _command(os.path.join(folder, 'pipeline.json'))
    if arguments.json:
        system.out.line(json.dumps({'folder': folder, 'files': list(files), 'run': command}))
        return OK
    for path in paths.values():
        system.out.line(f'made {printable(path)}')
    system.out.line(f'run it with: {printable(command)}')
    return OK


def _files() -> Dict[str, bytes]:
    """Return the files of a workspace by name; the schema is that of this version."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    texts = {'pipeline.json': _PIPELINE, 'bin/number.py': _NUMBER, 'bin/count.py': _COUNT,
             'data/input/sample.txt': _SAMPLE, '.gitignore': _IGNORED, 'README.md': _README}
    return dict({name: text.encode('utf-8') for name, text in texts.items()},
                **{_SCHEMA: read_bytes(os.path.join(package, _SCHEMA), 1 << 24)})


def _make(path: str, content: bytes) -> None:
    try:
        os.makedirs(os.path.dirname(path) or os.curdir, exist_ok=True)
        with open(path, 'xb') as file:
            file.write(content)
    except OSError as error:
        raise StateError(path, os_fault(error)) from error


def _command(pipeline: str) -> str:
    """Return the command that runs a pipeline from here with this copy of the runner."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    door = os.path.join(os.path.dirname(package), 'pipeline_runner.py')
    here = os.path.relpath(door)
    shown = door if here.startswith(os.pardir) else here
    python = 'python' if os.name == 'nt' else 'python3'
    command = f'{python} {_quoted(shown)}'
    return command if pipeline == os.path.join(os.curdir, 'pipeline.json') else (
        f'{command} --pipeline {_quoted(pipeline)}')


def _quoted(path: str) -> str:
    return path if all(c.isalnum() or c in '/\\.-_:+=@%,~' for c in path) else f'"{path}"'

"""Measure runs in which everything has to be done, beside who only starts the same processors.

    python benchmarks/cold.py                    all parts, some minutes
    python benchmarks/cold.py two chain          some of them; see --help

A trivial Python stage is run a thousand times, fifty times in a chain, and four
that sleep at once: by the runner, with the fence and every record durable, and
by a shell loop, `xargs` or ninja, which record nothing of the kind.  Standard
library only; everything happens in a temporary folder.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import NamedTuple

from bench import Bench
from bench import make_parser
from bench import measure_parts
from bench import table

#: The runner may take so many times as long as who starts the same processors.
MOST_BY_SHELL, MOST_BY_NINJA, MOST_CHAIN = 0.6, 0.6, 0.7

#: Four sleeps of 1 s with four workers may take so many seconds, beside one start of Python.
MOST_SLEEPS_S = 1.08

_PROCESSOR = '''\
import os
import sys

parts = []
for path in sys.argv[1:]:
    with open(path, 'rb') as source:
        parts.append(source.read(4096))
folder = os.environ['PIPELINE_OUTPUT_DIR']
os.makedirs(folder, exist_ok=True)
with open(os.path.join(folder, 'out.txt'), 'wb') as target:
    target.write(b''.join(parts).upper())
'''

_SLEEPER = _PROCESSOR.replace('import sys\n', 'import sys\nimport time\n\ntime.sleep(1)\n', 1)


class Spent(NamedTuple):
    """What a turn took: by the clock, and of all CPUs together."""

    seconds: float
    cpu_s: float


def lay_out(root: Path, python: str, n_stages: int, *, is_chain: bool = False,
            processor: str = _PROCESSOR) -> None:
    """Write the same stages for everybody: definition, shell loop, lines for xargs, ninja file."""
    for folder in ('bin', 'data/input', 'data/output'):
        (root / folder).mkdir(parents=True)
    (root / 'bin/work.py').write_text(processor, encoding='utf-8')
    stages, lines = [], []
    rules = ['rule stage', '  command = $line']
    for number in range(n_stages):
        source = f'data/output/{number - 1}/out.txt' if is_chain and number else \
            f'data/input/{number}.txt'
        if source.startswith('data/input'):
            (root / source).write_text(f'input number {number}\n', encoding='utf-8')
        folder = f'data/output/{number}'
        stages.append({'name': f's{number}', 'processor': 'bin/work.py', 'inputs': [source],
                       'outputDir': folder})
        line = f'PIPELINE_OUTPUT_DIR={folder} {python} bin/work.py {source}'
        lines.append(line)
        rules += [f'build {folder}/out.txt: stage bin/work.py {source}', f'  line = {line}']
    (root / 'pipeline.json').write_text(json.dumps({'name': 'cold', 'stages': stages}),
                                        encoding='utf-8')
    (root / 'loop.sh').write_text('\n'.join(['set -e', *lines, '']), encoding='utf-8')
    (root / 'lines').write_text('\n'.join([*lines, '']), encoding='utf-8')
    (root / 'build.ninja').write_text('\n'.join([*rules, '']), encoding='utf-8')


def command(name: str, bench: Bench, code: Path, workers: int) -> List[str]:
    """Return how one of those that are compared is called."""
    return {
        'runner': [bench.python, str(code / 'src/pipeline_runner.py'), '--max-workers',
                   str(workers)],
        'shell loop': ['sh', 'loop.sh'],
        'xargs': ['sh', '-c', f"tr '\\n' '\\0' <lines | xargs -0 -n1 -P{workers} sh -c"],
        'ninja': ['ninja', '--quiet', f'-j{workers}'],
    }[name]


def is_there(name: str) -> bool:
    """True for what can be measured here."""
    return shutil.which({'runner': 'sh', 'shell loop': 'sh'}.get(name, name)) is not None


def take_turns(bench: Bench, options: Any, names: List[str], workers: int,
               make: Callable[[Path], None]) -> Dict[str, List[Spent]]:
    """Let everybody do the same in turns, each time in a folder of its own."""
    code = bench.demo()
    found: Dict[str, List[Spent]] = {name: [] for name in names if is_there(name)}
    for name in set(names) - set(found):
        print(f'SKIPPED {name}: it is not installed')
    for turn in range(options.rounds):
        order = list(found)
        for name in order if turn % 2 else reversed(order):
            root = bench.new_folder()
            make(root)
            found[name].append(measure(bench, command(name, bench, code, workers), root))
    return found


def measure(bench: Bench, call: List[str], root: Path) -> Spent:
    """Run a command to its end; its CPU time is that of all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(call, cwd=str(root), env=bench.env, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Spent(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def ratio(found: Dict[str, List[Spent]], name: str, field: str) -> float:
    """Return the median of the ratios of turns that belong together."""
    return statistics.median(getattr(ours, field) / getattr(theirs, field)
                             for ours, theirs in zip(found['runner'], found[name]))


def report(bench: Bench, part: str, found: Dict[str, List[Spent]],
           limits: Dict[str, float]) -> None:
    """Print medians and ratios, and hold the latter to their limits."""
    rows = []
    for name, spent in found.items():
        rows.append([name, *(f'{statistics.median(getattr(one, field) for one in spent):.3f}'
                             for field in Spent._fields),
                     *(f'{ratio(found, name, field):.2f}' for field in Spent._fields)])
    table(part, ['who', 's', 'CPU s', 'runner by it', 'in CPU'], rows)
    for name, spent in found.items():
        figures = {'times': ratio(found, name, 'seconds'), 'cpuTimes': ratio(found, name, 'cpu_s'),
                   'sec': [turn.seconds for turn in spent],
                   'cpuSec': [turn.cpu_s for turn in spent]}
        if name in limits:
            bench.keep(f'{part}, by {name}', figures, limits[name], figures['times'])
        else:
            bench.results[f'{part}, by {name}'] = figures


def one(bench: Bench, options: Any) -> None:
    """Measure a thousand stages with one worker, beside a shell loop."""
    found = take_turns(bench, options, ['runner', 'shell loop'], 1,
                       lambda root: lay_out(root, bench.python, options.stages))
    report(bench, f'{options.stages} stages, one worker', found, {'shell loop': MOST_BY_SHELL})


def two(bench: Bench, options: Any) -> None:
    """Measure a thousand stages with two workers, beside ninja and xargs."""
    found = take_turns(bench, options, ['runner', 'ninja', 'xargs'], 2,
                       lambda root: lay_out(root, bench.python, options.stages))
    report(bench, f'{options.stages} stages, two workers', found, {'ninja': MOST_BY_NINJA})


def chain(bench: Bench, options: Any) -> None:
    """Measure fifty stages of which each reads what the one before it wrote."""
    found = take_turns(bench, options, ['runner', 'shell loop'], 1,
                       lambda root: lay_out(root, bench.python, 50, is_chain=True))
    report(bench, 'a chain of 50 stages', found, {'shell loop': MOST_CHAIN})


def sleeps(bench: Bench, options: Any) -> None:
    """Measure four sleeps of a second with four workers, beside one start of Python."""
    found = take_turns(bench, options, ['runner', 'xargs'], 4,
                       lambda root: lay_out(root, bench.python, 4, processor=_SLEEPER))
    start_s = statistics.median(
        measure(bench, [bench.python, '-c', 'pass'], bench.folder).seconds for _ in range(9))
    report(bench, 'four sleeps of 1 s, four workers', found, {})
    ours = statistics.median(spent.seconds for spent in found['runner'])
    bench.keep('four sleeps, seconds beyond a start', {'startSec': start_s}, MOST_SLEEPS_S,
               ours - start_s)


PARTS = {'one': one, 'two': two, 'chain': chain, 'sleeps': sleeps}


def main() -> int:
    """Measure what was asked for, print it, and say whether it is within the limits."""
    parser = make_parser(str(__doc__), PARTS)
    parser.add_argument('--stages', type=int, default=1000, help='how many (%(default)s)')
    parser.add_argument('--rounds', type=int, default=5, help='turns of each (%(default)s)')
    return measure_parts(parser, PARTS)


if __name__ == '__main__':
    raise SystemExit(main())

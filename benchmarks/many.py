"""Measure many tasks at once and very many items: time, memory, and the runner's own CPU.

    python benchmarks/many.py                    four jobs that sleep, 1,000 items
    python benchmarks/many.py --items 100000     a fan-out that takes its time

Everything happens in a temporary folder, with the standard library alone.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any
from typing import Dict
from typing import List
from typing import NamedTuple

from bench import Bench
from bench import make_parser
from bench import measure_parts
from bench import table

#: Four jobs that sleep 3 s may take so many seconds with four workers, and no less with one.
MOST_JOBS_S, LEAST_JOBS_S = 3.6, 12.0

#: The runner's CPU and memory with four workers may be so many times those with one.
MOST_TIMES = 2.0

#: With 100,000 items: memory of the runner, and seconds of a run with nothing to do.
MOST_MEMORY_MIB, MOST_NOOP_S = 300.0, 6.0

_SLEEPER = '''\
import os
import time

time.sleep(3)
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'out.txt'), 'w') as out:
    out.write('done\\n')
'''

_TRIVIAL = '''\
import os
import sys

with open(sys.argv[1]) as source:
    text = source.read()
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'],
                       os.environ['PIPELINE_ITEM_ID']), 'w') as out:
    out.write(text.upper())
'''


class Spent(NamedTuple):
    """What one run took: by the clock, of CPU by the runner alone, and of memory at most."""

    seconds: float
    cpu_s: float
    memory_mib: float


def measure(bench: Bench, command: List[str], cwd: Path) -> Spent:
    """Run the front door; its children do not count, but for the clock."""
    report = cwd / 'spent.json'
    began = time.perf_counter()
    bench.run([bench.python, str(Path(__file__).resolve()), '--measured', str(report), *command],
              cwd)
    seconds = time.perf_counter() - began
    found = json.loads(report.read_text(encoding='utf-8'))
    return Spent(seconds, found['cpuSec'], found['memoryMiB'])


def run_measured(report: str, command: List[str]) -> int:
    """Be the runner: execute the front door in this process, then write down what it used."""
    sys.path.insert(0, str(Path(command[0]).parent))
    from stagerunner.cli import main
    code = main(command[1:])
    used = resource.getrusage(resource.RUSAGE_SELF)
    Path(report).write_text(json.dumps({
        'cpuSec': used.ru_utime + used.ru_stime, 'memoryMiB': used.ru_maxrss / 1024}),
        encoding='utf-8')
    return code


def jobs(bench: Bench, options: Any) -> None:
    """Compare four jobs that sleep, and the runner's own part, with one and with four workers."""
    code = bench.demo()
    found: Dict[int, Spent] = {}
    for workers in (1, 4):
        root = bench.new_folder()
        (root / 'bin').mkdir()
        (root / 'bin' / 'sleep.py').write_text(_SLEEPER, encoding='utf-8')
        _write(root, {'name': 'sleepers', 'stages': [{
            'name': 'work', 'processor': 'bin/sleep.py', 'outputDir': 'out',
            'jobs': [{'name': f'j{number}', 'outputDir': f'out/j{number}'}
                     for number in range(4)]}]})
        found[workers] = measure(bench, _command(code, root, workers), root)
    _print('four jobs that sleep 3 s', found)
    bench.keep('jobs with four workers', {'sec': found[4].seconds}, MOST_JOBS_S, found[4].seconds)
    bench.keep('jobs with one worker', {'sec': found[1].seconds}, -LEAST_JOBS_S,
               -found[1].seconds)


def items(bench: Bench, options: Any) -> None:
    """Measure a cold run and one with nothing to do, over very many items."""
    code = bench.demo()
    cold: Dict[int, Spent] = {}
    noop: Dict[int, Spent] = {}
    for workers in (1, 4) if options.items <= 10_000 else (4,):
        root = bench.new_folder()
        for folder in ('bin', 'in'):
            (root / folder).mkdir()
        (root / 'bin' / 'work.py').write_text(_TRIVIAL, encoding='utf-8')
        for number in range(options.items):
            (root / 'in' / f'{number:06}.txt').write_text(f'item {number}\n', encoding='utf-8')
        _write(root, {'name': 'many', 'items': {'all': {'glob': 'in/*.txt'}}, 'stages': [{
            'name': 'work', 'processor': 'bin/work.py', 'inputs': ['{item.path}'],
            'outputDir': 'out', 'forEach': 'all'}]})
        cold[workers] = measure(bench, _command(code, root, workers), root)
        noop[workers] = measure(bench, _command(code, root, workers), root)
    _print(f'{options.items} items, cold: '
           f'{max(cold.values()).seconds / options.items * 1000:.2f} ms per item at most', cold)
    _print(f'{options.items} items, nothing to do', noop)
    for name, found in (('cold', cold), ('no-op', noop)):
        bench.results[f'items {name}'] = {
            str(workers): dict(spent._asdict(), perItemMs=spent.seconds / options.items * 1000)
            for workers, spent in found.items()}
        bench.keep(f'items {name} memory', {}, MOST_MEMORY_MIB,
                   max(spent.memory_mib for spent in found.values()))
    bench.keep('items no-op seconds', {}, MOST_NOOP_S,
               max(spent.seconds for spent in noop.values()))
    if len(cold) == 2:
        for field in ('cpu_s', 'memory_mib'):
            times = getattr(cold[4], field) / getattr(cold[1], field)
            bench.keep(f'items {field} of four workers by one', {'times': times}, MOST_TIMES,
                       times)


def _write(root: Path, definition: Dict[str, Any]) -> None:
    (root / 'pipeline.json').write_text(json.dumps(definition), encoding='utf-8')


def _command(code: Path, root: Path, workers: int) -> List[str]:
    return [str(code / 'src' / 'pipeline_runner.py'), '--pipeline', str(root / 'pipeline.json'),
            '--max-workers', str(workers), '--quiet']


def _print(title: str, found: Dict[int, Spent]) -> None:
    table(title, ['workers', 's', 'CPU of the runner s', 'its memory MiB'],
          [[workers, f'{spent.seconds:.2f}', f'{spent.cpu_s:.2f}', f'{spent.memory_mib:.1f}']
           for workers, spent in found.items()])


PARTS = {'jobs': jobs, 'items': items}


def main() -> int:
    """Measure what was asked for, print it, and say whether it is within the limits."""
    if sys.argv[1:2] == ['--measured']:
        return run_measured(sys.argv[2], sys.argv[3:])
    parser = make_parser(str(__doc__), PARTS)
    parser.add_argument('--items', type=int, default=1000, help='how many (%(default)s)')
    return measure_parts(parser, PARTS)


if __name__ == '__main__':
    raise SystemExit(main())

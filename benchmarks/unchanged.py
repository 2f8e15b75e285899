"""Measure runs in which little or nothing has changed, beside the least that a script would do.

    python benchmarks/unchanged.py               all parts, some minutes
    python benchmarks/unchanged.py noop change   some of them; see --help

The floors are a script that hashes every input and compares, one that looks at
each file, an interpreter that does nothing, and `openssl`.  Standard library
only; everything happens in a temporary folder.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import NamedTuple
from typing import Sequence

from bench import Bench
from bench import make_parser
from bench import measure_parts
from bench import skip
from bench import table

#: A run with nothing to do may take so many times as long as the script that hashes.
MOST_NOOP = {1_000: 1.5, 10_000: 2.0}

#: A run of 10,000 stages with nothing to do, beside one of 1,000; and its memory in MiB.
MOST_GROWTH, MOST_MIB = 12.0, 80.0

#: One changed input of many, beside the script that hashes and runs what changed.
MOST_CHANGE = 2.0

#: A run of the demo with nothing to do, beside an interpreter that does nothing.
MOST_DEMO = 3.5

#: A large input that did not change, beside an empty one, in ms; the share of OpenSSL's speed
#: for one that did; and how much sooner two are done than one after the other.
MOST_LARGE_MS, LEAST_SHARE, LEAST_TWO = 10.0, 0.85, 1.6

#: Time enough for a file system's clock: what was written before counts as old.
_OLD_S = 0.15

_PROCESSOR = '''\
import os, sys
with open(sys.argv[1], 'rb') as source:
    text = source.read(4096)
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'out.txt'), 'wb') as target:
    target.write(text.upper())
'''

#: Reads the definition, marks every processor and input, and runs the stages of which one differs;
#: with an argument it only keeps the marks.
_FLOOR = '''\
import json, os, sys
{mark}
kept = sys.argv[0] + '.json'
try:
    with open(kept) as source:
        known = json.load(source)
except FileNotFoundError:
    known = {{}}
with open('pipeline.json') as source:
    stages = json.load(source)['stages']
marks = {{}}
for stage in stages:
    for path in [stage['processor'], *stage['inputs']]:
        if path not in marks:
            marks[path] = mark(path)
    if len(sys.argv) == 1 and any(
            marks[path] != known.get(path) for path in [stage['processor'], *stage['inputs']]):
        import subprocess
        os.makedirs(stage['outputDir'], exist_ok=True)
        subprocess.run([sys.executable, stage['processor'], *stage['inputs']], check=True,
                       env=dict(os.environ, PIPELINE_OUTPUT_DIR=stage['outputDir']))
if marks != known:
    with open(kept, 'w') as target:
        json.dump(marks, target)
'''

_HASH = '''\
import hashlib
def mark(path):
    with open(path, 'rb') as source:
        if sys.version_info < (3, 11):
            return hashlib.sha256(source.read()).hexdigest()
        return hashlib.file_digest(source, 'sha256').hexdigest()
'''

_STAT = '''\
def mark(path):
    found = os.stat(path)
    return [found.st_mtime_ns, found.st_size]
'''


class Spent(NamedTuple):
    """What a command took: by the clock, of CPU with all it started, and of memory at most."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def spent(bench: Bench, command: Sequence[str], cwd: Path) -> Spent:
    """Run a command that has to succeed and return what it took."""
    began = time.perf_counter()
    process = subprocess.Popen(list(command), cwd=str(cwd), env=bench.env,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    taken = time.perf_counter() - began
    process.returncode = status
    if status:
        sys.exit(f'{" ".join(command)} ended with {status}')
    return Spent(taken, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def in_turns(turns: Dict[str, Callable[[], Spent]], rounds: int,
             before: Callable[[int], None] = lambda number: None) -> Dict[str, List[Spent]]:
    """Return what each turn took, one of each per round; the first round does not count."""
    taken: Dict[str, List[Spent]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        before(number)
        for name, turn in turns.items():
            found = turn()
            if number:
                taken[name].append(found)
    return taken


def tell(title: str, taken: Dict[str, List[Spent]], base: str) -> Dict[str, float]:
    """Print medians, and return the median of the ratios of turns that belong together."""
    ratios = {name: statistics.median(one.wall_s / other.wall_s
                                      for one, other in zip(found, taken[base]))
              for name, found in taken.items()}
    table(title, ['', 'median ms', 'CPU ms', 'peak MiB', f'times {base}'], [
        [name, f'{statistics.median(one.wall_s for one in found) * 1e3:.1f}',
         f'{statistics.median(one.cpu_s for one in found) * 1e3:.1f}',
         f'{max(one.peak_mib for one in found):.1f}', f'{ratios[name]:.2f}']
        for name, found in taken.items()])
    return ratios


def many_stages(bench: Bench, code: Path, n_stages: int) -> Path:
    """Return a workspace of independent stages of which all is done and known."""
    root = bench.new_folder()
    for folder in ('bin', 'data/input'):
        (root / folder).mkdir(parents=True)
    (root / 'bin/proc.py').write_text(_PROCESSOR, encoding='utf-8')
    for number in range(n_stages):
        (root / f'data/input/{number}.txt').write_text(f'input {number}\n', encoding='utf-8')
    _define(root, [f'data/input/{number}.txt' for number in range(n_stages)])
    for name, mark in (('hash', _HASH), ('stat', _STAT)):
        (root / f'{name}.py').write_text(_FLOOR.format(mark=mark), encoding='utf-8')
        spent(bench, [bench.python, f'{name}.py', 'mark'], root)
    _settle(bench, code, root)
    return root


def _define(root: Path, inputs: Sequence[str]) -> None:
    (root / 'pipeline.json').write_text(json.dumps({'name': 'bench', 'stages': [
        {'name': f's{number}', 'processor': 'bin/proc.py', 'inputs': [path],
         'outputDir': f'data/output/{number}'} for number, path in enumerate(inputs)]}, indent=1),
        encoding='utf-8')


def _settle(bench: Bench, code: Path, root: Path) -> None:
    """Do all there is to do, and let the next runs know it."""
    for _ in range(3):
        spent(bench, _runner(bench, code, root, '--max-workers', '2'), root)
        time.sleep(_OLD_S)


def _runner(bench: Bench, code: Path, root: Path, *args: str) -> List[str]:
    return bench.runner(code, '--pipeline', str(root / 'pipeline.json'), '--run-id', 'bench',
                        *args)


# -- the parts ---------------------------------------------------------------------------

def demo(bench: Bench, options: Any) -> None:
    """Compare a run of the demo with nothing to do with an interpreter that does nothing."""
    root = bench.demo()
    _settle(bench, root, root)
    taken = in_turns({'python -c pass': lambda: spent(bench, [bench.python, '-c', 'pass'], root),
                      'runner': lambda: spent(bench, _runner(bench, root, root), root)},
                     options.rounds * 2)
    ratio = tell('the demo, nothing to do', taken, 'python -c pass')['runner']
    bench.keep('demo', {'ratio': ratio}, MOST_DEMO, ratio)


def noop(bench: Bench, options: Any) -> None:
    """Compare runs with nothing to do with scripts that hash, and look at, the same files."""
    code = bench.demo()
    medians = {}
    for size in options.stages:
        root = many_stages(bench, code, size)
        taken = in_turns({
            'hash script': lambda root=root: spent(bench, [bench.python, 'hash.py'], root),
            'stat script': lambda root=root: spent(bench, [bench.python, 'stat.py'], root),
            'runner': lambda root=root: spent(bench, _runner(bench, code, root), root),
        }, options.rounds)
        ratio = tell(f'{size:,} stages, nothing to do', taken, 'hash script')['runner']
        medians[size] = statistics.median(one.wall_s for one in taken['runner'])
        peak = max(one.peak_mib for one in taken['runner'])
        bench.keep(f'noop {size}', {'ratio': ratio, 'medianSec': medians[size], 'peakMiB': peak},
                   MOST_NOOP.get(size, 2.0), ratio)
        bench.keep(f'noop {size} memory', {'peakMiB': peak}, MOST_MIB, peak)
    if len(medians) > 1:
        growth = medians[max(medians)] / medians[min(medians)]
        print(f'  {max(medians):,} stages take {growth:.1f} times as long as {min(medians):,}')
        bench.keep('noop growth', {'ratio': growth}, MOST_GROWTH, growth)


def change(bench: Bench, options: Any) -> None:
    """Compare a run in which one input has changed with a script that hashes all and runs it."""
    code, size = bench.demo(), min(options.stages)
    root = many_stages(bench, code, size)

    def edit(number: int) -> None:
        with open(str(root / f'data/input/{(number * 37 + 5) % size}.txt'), 'a') as target:
            target.write(f'changed in round {number}\n')
        time.sleep(_OLD_S)

    taken = in_turns({
        'hash script': lambda: spent(bench, [bench.python, 'hash.py'], root),
        'runner': lambda: spent(bench, _runner(bench, code, root), root)}, options.rounds, edit)
    ratio = tell(f'one input of {size:,} changed', taken, 'hash script')['runner']
    bench.keep('change', {'ratio': ratio}, MOST_CHANGE, ratio)


def large(bench: Bench, options: Any) -> None:
    """Compare runs over a large input, unchanged, changed and two of them, with OpenSSL."""
    openssl = shutil.which('openssl')
    if not openssl:
        skip(bench, 'large', 'there is no openssl to compare with')
        return
    code = bench.demo()
    roots = {name: _large_inputs(bench, code, sizes) for name, sizes in (
        ('empty', [0]), ('one', [options.mib]), ('two', [options.mib] * 2))}

    def run(name: str, *args: str) -> Callable[[], Spent]:
        return lambda: spent(bench, _runner(bench, code, roots[name], *args), roots[name])

    taken = in_turns({'empty': run('empty'), 'large': run('one')}, options.rounds)
    more_ms = statistics.median(one.wall_s - other.wall_s for one, other in
                                zip(taken['large'], taken['empty'])) * 1e3
    tell(f'an unchanged input of {options.mib} MiB', taken, 'empty')
    bench.keep('large unchanged', {'moreMs': more_ms}, MOST_LARGE_MS, more_ms)

    def touch(number: int) -> None:
        for name in ('one', 'two'):
            for path in (roots[name] / 'data/input').iterdir():
                os.utime(str(path))
        time.sleep(_OLD_S)

    big = str(roots['one'] / 'data/input/0.bin')
    taken = in_turns({
        'openssl': lambda: spent(bench, [openssl, 'dgst', '-sha256', big], roots['one']),
        'one': run('one'), 'two, two workers': run('two', '--max-workers', '2')},
        options.large_rounds, touch)
    ratios = tell(f'inputs of {options.mib} MiB that have to be hashed', taken, 'openssl')
    share, two = 1 / ratios['one'], 2 * statistics.median(
        one.wall_s / both.wall_s for one, both in zip(taken['one'], taken['two, two workers']))
    print(f'  {share:.2f} of the speed of OpenSSL (at least {LEAST_SHARE}), two at {two:.2f} '
          f'times the speed of one (at least {LEAST_TWO})')
    bench.keep('large speed', {'share': share}, 1 / LEAST_SHARE, ratios['one'])
    bench.keep('large two', {'times': two}, 1 / LEAST_TWO, 1 / two)


def _large_inputs(bench: Bench, code: Path, sizes: Sequence[int]) -> Path:
    root = bench.new_folder()
    for folder in ('bin', 'data/input'):
        (root / folder).mkdir(parents=True)
    (root / 'bin/proc.py').write_text(_PROCESSOR, encoding='utf-8')
    block = os.urandom(1 << 20)
    for number, size in enumerate(sizes):
        with open(str(root / f'data/input/{number}.bin'), 'wb') as target:
            for _ in range(size):
                target.write(block)
    _define(root, [f'data/input/{number}.bin' for number in range(len(sizes))])
    _settle(bench, code, root)
    return root


PARTS: Dict[str, Callable[[Bench, Any], None]] = {
    'demo': demo, 'noop': noop, 'change': change, 'large': large}


def main() -> int:
    """Measure what was asked for, print it, and say whether it is within the limits."""
    parser = make_parser(str(__doc__), PARTS)
    parser.add_argument('--stages', type=int, nargs='+', default=[1_000], metavar='N',
                        help='numbers of stages (1000; 1000 10000 takes minutes to set up)')
    parser.add_argument('--rounds', type=int, default=11, help='rounds (%(default)s)')
    parser.add_argument('--mib', type=int, default=1024, help='size of large inputs (%(default)s)')
    parser.add_argument('--large-rounds', type=int, default=5, metavar='N',
                        help='rounds in which large inputs are hashed (%(default)s)')
    return measure_parts(parser, PARTS)


if __name__ == '__main__':
    raise SystemExit(main())

"""Measure what the runner costs: start, share of a run, imports, flushes, fence, checkpoint.

    python benchmarks/run.py            all of it, about three minutes
    python benchmarks/run.py startup    one part; see --help

Standard library only; everything happens in a temporary folder.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import List

from bench import CHECKOUT
from bench import Bench
from bench import make_parser
from bench import measure_parts
from bench import skip
from bench import table

#: The runner may take so many times as long as an interpreter that does nothing.
MOST_STARTS = 5.0

#: So many percent may a run of stages take longer than a shell loop over the same scripts.
MOST_OVERHEAD = 2.0

#: So many milliseconds may the fence cost a stage, by launcher.
MOST_FENCE_MS = {'spawn': 3.0, 'warm': 0.3}

#: Of the time of a spawned stage, a warm one may take so much.
MOST_WARM_SHARE = 0.5

#: An update of a checkpoint with 100,000 papers may take so many times as long as one with 1,000.
MOST_UPDATE = 1.3

#: Turns before the ones that count.
WARM_UP = 3

#: A stage of the sequential benchmark: it waits, and writes one line.
_SLEEPER = '''\
import os
import time

time.sleep({seconds})
with open(os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], 'out.txt'), 'w') as out:
    out.write('done\\n')
'''

#: Launches processors in turns, in another order each time, and prints their seconds by kind.
_TASKS = '''\
import hashlib
import json
import os
import random
import sys
import time

sys.path.insert(0, sys.argv[1])
from stagerunner.clock import Clock
from stagerunner.clock import Stop
from stagerunner.launch.job import Job
from stagerunner.launch.linux import LinuxLauncher

path = os.path.abspath('work.py')
with open(path, 'rb') as source:
    digest = hashlib.sha256(source.read()).hexdigest()
launcher = LinuxLauncher(Clock(), Stop(), is_warm=True)
env = dict(os.environ)
taken = {}
if launcher.fence(sys.executable, env).is_enforced:
    kinds = [(name, how) for name in ('warm', 'spawn') for how in ('open', 'fenced')]
    taken = {' '.join(kind): [] for kind in kinds}
    for _ in range(int(sys.argv[2])):
        random.shuffle(kinds)
        for name, how in kinds:
            launcher.is_warm = name == 'warm'
            job = Job('work', ('work.py',), env, os.getcwd(), os.path.abspath('log'),
                      sys.executable, ((path, digest),), is_fenced=how == 'fenced')
            began = time.perf_counter()
            assert launcher.start(job) is None
            ended = []
            while not ended:
                ended = launcher.wait(None)
            taken[name + ' ' + how].append(time.perf_counter() - began)
            assert ended[0].exit_code == 0, ended
launcher.close()
print(json.dumps(taken))
'''

#: Updates a checkpoint for so many papers, once each; prints seconds per update.
_UPDATER = '''\
import sys
import time

sys.path.insert(0, sys.argv[1])
from stagerunner.orchestrator_v2 import CheckpointManagerV2

papers = ['paper_%06d.pdf' % number for number in range(int(sys.argv[2]))]
manager = CheckpointManagerV2('checkpoint.json')
began = time.perf_counter()
for paper in papers:
    manager.update_paper_status(paper, 'completed', ['journal_reviewer', 'judge'])
print((time.perf_counter() - began) / len(papers))
'''


def interleaved(turns: Dict[str, Callable[[], float]], rounds: int) -> Dict[str, List[float]]:
    """Return seconds by name: one turn of each per round, so that load hits all alike."""
    taken: Dict[str, List[float]] = {name: [] for name in turns}
    for number in range(WARM_UP + rounds):
        for name, turn in turns.items():
            seconds = turn()
            if number >= WARM_UP:
                taken[name].append(seconds)
    return taken


def ratio(taken: Dict[str, List[float]], name: str, base: str) -> float:
    """Return the median of the ratios of turns that belong to the same round."""
    return statistics.median(one / other for one, other in zip(taken[name], taken[base]))


def ms(seconds: float) -> str:
    """Return seconds as milliseconds for people."""
    return f'{seconds * 1000:.1f}'


# -- the parts ---------------------------------------------------------------------------

def startup(bench: Bench, options: Any) -> None:
    """Compare `--help` and a run with nothing to do with an interpreter that does nothing."""
    root = bench.demo()
    bench.run(bench.runner(root), root)
    commands = {'python -c pass': [bench.python, '-c', 'pass'],
                '--help': bench.runner(root, '--help'),
                'no-op demo': bench.runner(root, '--run-id', 'noop')}
    taken = interleaved({name: lambda command=command: bench.seconds(command, root)
                         for name, command in commands.items()}, options.rounds)
    rows = []
    for name in commands:
        times = ratio(taken, name, 'python -c pass')
        rows.append([name, ms(statistics.median(taken[name])), ms(min(taken[name])),
                     f'{times:.2f}'])
        if name != 'python -c pass':
            bench.keep(f'startup {name}', {
                'medianSec': statistics.median(taken[name]), 'ratio': times,
                'baseMedianSec': statistics.median(taken['python -c pass']),
                'rounds': options.rounds}, MOST_STARTS, times)
    table(f'start-up, {options.rounds} rounds (limit: {MOST_STARTS:g} times python -c pass)',
          ['command', 'median ms', 'min ms', 'times'], rows)


def sequential(bench: Bench, options: Any) -> None:
    """Compare a run of stages that sleep with a shell loop over the same scripts."""
    shell = shutil.which('sh')
    if not shell:
        skip(bench, 'sequential', 'there is no sh to compare with')
        return
    taken: Dict[str, List[float]] = {'runner': [], 'loop': []}
    code = bench.demo()
    bench.run(bench.runner(code), code)
    for _ in range(options.sequential_rounds):
        root = _sleeping_stages(bench, options)
        taken['runner'].append(bench.seconds(
            bench.runner(code, '--pipeline', str(root / 'pipeline.json')), root))
        root = _sleeping_stages(bench, options)
        loop = f'for n in $(seq {options.stages}); do "$0" bin/stage_$n.py || exit 1; done'
        taken['loop'].append(bench.seconds([shell, '-c', loop, bench.python], root,
                                           PIPELINE_OUTPUT_DIR=str(root)))
    percent = (ratio(taken, 'runner', 'loop') - 1) * 100
    table(f'{options.stages} stages that sleep {options.sleep:g} s, '
          f'{options.sequential_rounds} rounds (limit: {MOST_OVERHEAD:g} % overhead)',
          ['command', 'median s', 'min s', 'overhead'],
          [['shell loop', f'{statistics.median(taken["loop"]):.3f}', f'{min(taken["loop"]):.3f}',
            ''],
           ['runner', f'{statistics.median(taken["runner"]):.3f}', f'{min(taken["runner"]):.3f}',
            f'{percent:.2f} %']])
    bench.keep('sequential', {
        'stages': options.stages, 'sleepSec': options.sleep, 'rounds': options.sequential_rounds,
        'runnerMedianSec': statistics.median(taken['runner']),
        'loopMedianSec': statistics.median(taken['loop']), 'overheadPercent': percent},
        MOST_OVERHEAD, percent)


def _sleeping_stages(bench: Bench, options: Any) -> Path:
    root = bench.new_folder()
    (root / 'bin').mkdir()
    stages = []
    for number in range(1, options.stages + 1):
        script = f'bin/stage_{number}.py'
        (root / script).write_text(_SLEEPER.format(seconds=options.sleep), encoding='utf-8')
        stages.append({'name': f'stage_{number}', 'processor': script,
                       'outputDir': f'out/{number}'})
    (root / 'pipeline.json').write_text(json.dumps({'name': 'sleepers', 'stages': stages}),
                                        encoding='utf-8')
    return root


def imports(bench: Bench, options: Any) -> None:
    """Show which imports a run with nothing to do pays for."""
    root = bench.demo()
    bench.run(bench.runner(root), root)
    bench.run(bench.runner(root), root)
    done = bench.run([bench.python, '-X', 'importtime', *bench.runner(root)[1:]], root)
    found = re.findall(r'import time:\s+(\d+) \|\s+(\d+) \|\s*(\S+)',
                       done.stderr.decode('utf-8', 'replace'))
    rows = sorted(((int(own), int(total), name) for own, total, name in found), reverse=True)
    spent = sum(own for own, _, _ in rows)
    table(f'imports of a no-op demo: {len(rows)} modules, {spent / 1000:.1f} ms; the most costly',
          ['module', 'own us', 'with its imports us'],
          [[name, own, total] for own, total, name in rows[:options.top]])
    bench.results['imports'] = {
        'modules': len(rows), 'totalUs': spent,
        'top': [{'module': name, 'selfUs': own, 'cumulativeUs': total}
                for own, total, name in rows[:options.top]]}


def fsync(bench: Bench, options: Any) -> None:
    """Count flushes of runner and processors: their time depends on the disk, their number not."""
    strace = shutil.which('strace')
    if not strace:
        skip(bench, 'fsync', 'strace is not installed')
        return
    root = bench.demo()
    trace = root.parent / 'trace'
    counts = {}
    for name in ('cold demo', 'no-op demo'):
        bench.run([strace, '-f', '-qq', '-o', str(trace), '-e',
                   'trace=?fsync,?fdatasync,?syncfs,?sync_file_range', *bench.runner(root)], root)
        lines = trace.read_text(encoding='utf-8', errors='replace').splitlines()
        by_process: Dict[str, int] = {}
        for line in lines:
            if re.match(r'\d+ +(fsync|fdatasync|syncfs|sync_file_range)\(', line):
                pid = line.split()[0]
                by_process[pid] = by_process.get(pid, 0) + 1
        counts[name] = sorted(by_process.values(), reverse=True)
    table('flushes (fsync and its relatives)', ['run', 'all', 'by process'],
          [[name, sum(found), ' + '.join(str(count) for count in found) or '0']
           for name, found in counts.items()])
    bench.results['fsync'] = {name: {'all': sum(found), 'byProcess': found}
                              for name, found in counts.items()}


def fence(bench: Bench, options: Any) -> None:
    """Compare what one trivial processor takes with the fence and without, by both launchers."""
    if not sys.platform.startswith('linux'):
        skip(bench, 'fence', 'the kernel fence is for Linux')
        return
    root = bench.new_folder()
    (root / 'work.py').write_text('pass\n', encoding='utf-8')
    done = bench.run([bench.python, '-c', _TASKS, str(CHECKOUT / 'src'),
                      str(options.fence_rounds + WARM_UP)], root)
    taken = json.loads(done.stdout.decode('ascii'))
    if not taken:
        skip(bench, 'fence', 'the kernel gives no fence here')
        return
    taken = {name: seconds[WARM_UP:] for name, seconds in taken.items()}
    rows = []
    for launcher, limit in MOST_FENCE_MS.items():
        fenced, plain = taken[f'{launcher} fenced'], taken[f'{launcher} open']
        more = statistics.median(one - other for one, other in zip(fenced, plain)) * 1000
        times = ratio(taken, f'{launcher} fenced', f'{launcher} open')
        rows.append([launcher, f'{statistics.median(plain) * 1000:.2f}',
                     f'{statistics.median(fenced) * 1000:.2f}', f'{more:+.2f}', f'{times:.2f}',
                     f'{limit:g}'])
        bench.keep(f'fence {launcher}', {
            'rounds': options.fence_rounds, 'fencedMedianSec': statistics.median(fenced),
            'openMedianSec': statistics.median(plain), 'moreMs': more, 'ratio': times},
            limit, more)
    table(f'a trivial Python processor, from its launch to its end, {options.fence_rounds} rounds',
          ['launcher', 'open ms', 'fenced ms', 'more ms', 'times', 'limit ms'], rows)
    share = ratio(taken, 'warm fenced', 'spawn fenced')
    print(f'  with the fence a warm one takes {share:.2f} of a spawned one '
          f'(limit: {MOST_WARM_SHARE:g})')
    bench.keep('fence warm of spawn', {'ratio': share}, MOST_WARM_SHARE, share)


def checkpoint(bench: Bench, options: Any) -> None:
    """Compare what an update costs when there are many of them with when there are few."""
    def turn(updates: int) -> Callable[[], float]:
        return lambda: float(bench.run([bench.python, '-c', _UPDATER, str(CHECKOUT / 'src'),
                                        str(updates)], bench.new_folder()).stdout)

    counts = (1_000, 100_000)
    taken = interleaved({f'{count:,} updates': turn(count) for count in counts},
                        options.checkpoint_rounds)
    few, many = taken
    value = ratio(taken, many, few)
    table(f'checkpoint: one update, median of {options.checkpoint_rounds} rounds',
          ['', 'us per update'],
          [[name, f'{statistics.median(seconds) * 1e6:.1f}'] for name, seconds in taken.items()]
          + [['times as long', f'{value:.2f}']])
    bench.keep('checkpoint', {'usPerUpdate': {
        name: statistics.median(seconds) * 1e6 for name, seconds in taken.items()},
        'ratio': value}, MOST_UPDATE, value)


PARTS: Dict[str, Callable[[Bench, Any], None]] = {
    'startup': startup, 'sequential': sequential, 'imports': imports, 'fsync': fsync,
    'fence': fence, 'checkpoint': checkpoint}


def main() -> int:
    """Measure what was asked for, print it, and say whether it is within the limits."""
    parser = make_parser(str(__doc__), PARTS)
    parser.add_argument('--rounds', type=int, default=40, help='rounds of startup (%(default)s)')
    parser.add_argument('--stages', type=int, default=20,
                        help='stages of sequential (%(default)s)')
    parser.add_argument('--sleep', type=float, default=0.5, metavar='SEC',
                        help='how long each of them sleeps (%(default)s)')
    parser.add_argument('--sequential-rounds', type=int, default=3, metavar='N',
                        help='rounds of sequential (%(default)s)')
    parser.add_argument('--fence-rounds', type=int, default=500, metavar='N',
                        help='rounds of fence (%(default)s)')
    parser.add_argument('--checkpoint-rounds', type=int, default=5, metavar='N',
                        help='rounds of checkpoint (%(default)s)')
    parser.add_argument('--top', type=int, default=30, help='imports to show (%(default)s)')
    return measure_parts(parser, PARTS)


if __name__ == '__main__':
    raise SystemExit(main())

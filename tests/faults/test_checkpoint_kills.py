"""Programs that keep a checkpoint are killed: no update that was acknowledged is ever lost.

Eight threads of a program update papers, and tell of each update after it was
acknowledged. The program is killed at a random moment. Whoever loads the file
then finds at least what was told, and the file itself parses, also while
the program was at work.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from faults.harness import SEED
from faults.harness import Tally
from faults.harness import environment
from faults.harness import kill
from faults.harness import real_interpreter
from faults.harness import sizes
from stagerunner.orchestrator_v2 import CheckpointManagerV2
from support import PATIENCE_S
from support import SOURCE
from support import wait_until

#: The program: what was acknowledged goes into a file, one byte per update, one file per thread.
PROGRAM = '''\
import os
import sys
import threading

sys.path.insert(0, sys.argv[1])
from stagerunner.orchestrator_v2 import CheckpointManagerV2

updates = int(sys.argv[2])
manager = CheckpointManagerV2('checkpoint.json')
manager.load()
print('ready', flush=True)


def work(number):
    told = os.open('told-%d' % number, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for count in range(updates):
        paper = 'paper_%d_%d.pdf' % (number, count % 700)
        if count % 3:
            manager.increment_retries(paper)
        else:
            manager.update_paper_status(paper, 'in_progress', ['stage %d' % (count % 4)],
                                        error='e' if count % 5 else None)
        os.write(told, b'r' if count % 3 else b's')


threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print('done', flush=True)
'''

THREADS = 8
UPDATES = 5000

#: More updates than any thread makes before it is killed, however late that is.
ENDLESS = 10 ** 9


def told(folder: Path, number: int) -> str:
    try:
        return (folder / f'told-{number}').read_text()
    except FileNotFoundError:
        return ''


def check(folder: Path) -> int:
    """Compare what can be loaded with what was told, thread by thread; return how much that is."""
    json.loads((folder / 'checkpoint.json').read_text('utf-8'))
    manager = CheckpointManagerV2(folder / 'checkpoint.json')
    assert manager.load(), 'nothing could be loaded'
    papers = manager.data['papers']
    n_told = 0
    for number in range(THREADS):
        updates = told(folder, number)
        n_told += len(updates)
        expected = Counter(count % 700 for count in range(len(updates)) if count % 3)
        for paper in range(min(700, len(updates))):
            entry = papers.get(f'paper_{number}_{paper}.pdf')
            assert entry, f'paper {paper} of thread {number} is missing'
            extra = entry['retries'] - expected[paper]
            # One update may be kept whose writer was killed before it could tell.
            assert 0 <= extra <= 1, f'paper {paper} of thread {number}: {extra} more retries'
    counted = sum(entry['retries'] for entry in papers.values())
    assert manager.data['stats']['retries'] == counted
    return n_told


@sizes(2, 50)
def test_every_acknowledged_update_survives_a_kill(tmp_path, size):
    rng = random.Random(SEED)
    tally = Tally('checkpoint kills', SEED)
    for number in range(size):
        folder = tmp_path / str(number)
        folder.mkdir()
        # A part of the work, so that kills meet files small and large, early and late.
        goal = rng.randrange(1, THREADS * UPDATES * 3 // 4)
        with tally.trial(f'kill after {goal} updates') as trial, subprocess.Popen(
                [real_interpreter(), '-c', PROGRAM, str(SOURCE), str(ENDLESS)], cwd=str(folder),
                stdout=subprocess.PIPE, env=environment()) as process:
            try:
                assert process.stdout.readline() == b'ready\n'
                parsed = watch(folder, process, goal)
            finally:
                kill(process.pid)
                rest = process.stdout.read()
                process.wait(PATIENCE_S)
            assert rest == b'', 'the program ended before it could be killed'
            trial.fired()
            tally.notes['updates'] = tally.notes.get('updates', 0) + check(folder)
            tally.notes['reads'] = tally.notes.get('reads', 0) + parsed
    tally.conclude()


def watch(folder: Path, process: subprocess.Popen, goal: int) -> int:
    """Read the file again and again until so much was told; return how often it parsed."""
    parsed = 0

    def is_reached() -> bool:
        nonlocal parsed
        if (folder / 'checkpoint.json').exists():
            json.loads((folder / 'checkpoint.json').read_text('utf-8'))
            parsed += 1
        n_told = sum((folder / f'told-{number}').stat().st_size for number in range(THREADS)
                     if (folder / f'told-{number}').exists())
        return n_told >= goal or process.poll() is not None

    wait_until(is_reached, f'{goal} updates', timeout_s=PATIENCE_S)
    return parsed


@sizes(1, 10)
def test_a_program_that_is_killed_again_and_again_loses_nothing_of_any_life(tmp_path, size):
    """Each life goes on in the file that the one before left behind."""
    rng = random.Random(SEED)
    tally = Tally('checkpoint lives', SEED)
    for number in range(size):
        folder = tmp_path / str(number)
        folder.mkdir()
        with tally.trial(f'folder {number}') as trial:
            before = 0
            for _ in range(3):
                with subprocess.Popen(
                        [real_interpreter(), '-c', PROGRAM, str(SOURCE), str(ENDLESS)],
                        cwd=str(folder), stdout=subprocess.PIPE, env=environment()) as process:
                    assert process.stdout.readline() == b'ready\n'
                    deadline = time.monotonic() + rng.uniform(0.01, 0.3)
                    wait_until(lambda deadline=deadline: time.monotonic() > deadline)
                    kill(process.pid)
                    process.wait(PATIENCE_S)
                manager = CheckpointManagerV2(folder / 'checkpoint.json')
                manager.load()
                n_told = sum(told(folder, thread).count('r') for thread in range(THREADS))
                kept = manager.data['stats']['retries']
                assert n_told <= kept
                assert before <= n_told
                before = n_told
            trial.fired()
    tally.conclude()


def test_the_program_itself_does_what_the_check_expects(tmp_path):
    """Not killed, it tells of all that it did, and a check that finds less would say so."""
    subprocess.run([sys.executable, '-c', PROGRAM, str(SOURCE), '50'], cwd=str(tmp_path),
                   check=True, timeout=PATIENCE_S, stdout=subprocess.DEVNULL)

    assert check(tmp_path) == THREADS * 50

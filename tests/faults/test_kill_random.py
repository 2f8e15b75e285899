"""kill -9 of runner and processor at random moments of a long stage loses and doubles nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import NamedTuple
from typing import Optional

import pytest

from faults.harness import RESULT
from faults.harness import SEED
from faults.harness import Install
from faults.harness import Tally
from faults.harness import check_skips
from faults.harness import kill
from faults.harness import kill_all
from faults.harness import leftovers
from faults.harness import make_demo
from faults.harness import make_text
from faults.harness import need_linux
from faults.harness import outputs
from faults.harness import sizes
from faults.harness import unparsable
from stagerunner.files import leftovers as leftovers_of_the_dead
from support import PATIENCE_S
from support import Workspace
from support import is_alive
from support import processes_below
from support import wait_until

#: The stage is this long in the full campaign, and in the sample.
N_LINES, N_LINES_OF_SAMPLE = 200_000, 8_000

#: A processor in bash that commits lines together with the length of what they became.
BASH = r'''#!/usr/bin/env bash
set -eu
export LC_ALL=C
result=$PIPELINE_OUTPUT_DIR/result.txt
lines=$PIPELINE_LINE_OFFSET
[ "$lines" -gt 0 ] || : >"$result"
length=$(wc -c <"$result")
exec <"$1"
[ "$lines" -eq 0 ] || mapfile -n "$lines" skipped
while mapfile -n "$PIPELINE_LINE_INTERVAL" block && [ "${#block[@]}" -gt 0 ]; do
    printf -v text '%s' "${block[@]^^}"
    printf '%s' "$text" >>"$result"
    lines=$((lines + ${#block[@]}))
    length=$((length + ${#text}))
    printf '{"lineOffset": %d, "outputs": {"result.txt": %d}}\n' "$lines" "$length" \
        >"$PIPELINE_PROGRESS_PATH.new"
    mv -f "$PIPELINE_PROGRESS_PATH.new" "$PIPELINE_PROGRESS_PATH"
done
'''


#: Killed between writing and committing at its second commit, in its first attempt.
DYING = BASH.replace('    printf \'{', '''\
    [ "$PIPELINE_ATTEMPT" -gt 1 ] || [ "$lines" -le "$PIPELINE_LINE_INTERVAL" ] || kill -9 $$
    printf '{''')


class Subject(NamedTuple):
    """A workspace to be killed in, and what an undisturbed run makes of it."""

    workspace: Workspace
    golden: Dict[str, bytes]
    duration_s: float
    #: A tree in which an older input was done, and the outputs that came of it.
    past: Path
    past_outputs: Dict[str, bytes]
    text: Path


@pytest.fixture
def make_subject(tmp_path: Path, install: Install) -> Callable[..., Subject]:
    """Return a maker of subjects: it runs the pipeline once over an old input, once over ours."""
    def make(processor: str, interval: int, n_lines: int) -> Subject:
        root = tmp_path / 'subject'
        workspace = make_demo(root, install, make_text(1000, seed=2), interval=interval,
                              upper=processor)
        if not processor.endswith('.py'):
            workspace.processor(BASH, processor)
        assert install.run(workspace).code == 0
        past_outputs = outputs(workspace)
        past = tmp_path / 'past'
        shutil.copytree(str(root), str(past))
        text = tmp_path / 'text'
        text.write_bytes(make_text(n_lines))
        shutil.copy(str(text), str(workspace.path('data/input/sample.txt')))
        began = time.monotonic()
        assert install.run(workspace).code == 0
        return Subject(workspace, outputs(workspace), time.monotonic() - began, past,
                       past_outputs, text)
    return make


@sizes(2, 100)
@pytest.mark.integration
@pytest.mark.parametrize('processor', ['bin/stage_upper.py', 'bin/upper.bash'])
def test_a_killed_run_goes_on_at_its_last_committed_line(
        processor: str, size: int, install: Install,
        make_subject: Callable[..., Subject]) -> None:
    """Between kills nobody does anything but start the runner again.

    A round starts from nothing or from an older success, is killed one to four
    times, and is then left in peace; its result is that of an undisturbed run.
    """
    need_linux()
    if processor.endswith('.bash') and not shutil.which('bash'):
        pytest.skip('bash is not installed')
    rng = random.Random(f'{SEED} {processor}')
    tally = Tally(f'kill-random {processor}', SEED)
    if size < 100:
        subject = make_subject(processor, 200, N_LINES_OF_SAMPLE)
    else:
        # What takes bash longest is to commit: a process each time.
        subject = make_subject(processor, 500 if processor.endswith('.bash') else 50, N_LINES)
    tally.notes['resumed'] = 0
    while tally.n < size or not tally.notes['resumed']:
        has_past = rng.random() < 0.5
        _start_over(subject, has_past)
        old = subject.past_outputs if has_past else {}
        for _ in range(rng.randint(1, 4)):
            if not _kill_once(install, subject, rng, tally, old) or tally.n == size:
                break
        _finish(install, subject, tally)
    tally.conclude()


def _start_over(subject: Subject, has_past: bool) -> None:
    root = subject.workspace.root
    for name in ('state', 'locks', 'data/work', 'data/output'):
        shutil.rmtree(str(root / name), ignore_errors=True)
        if has_past:
            shutil.copytree(str(subject.past / name), str(root / name))


def _kill_once(install: Install, subject: Subject, rng: random.Random, tally: Tally,
               old: Dict[str, bytes]) -> bool:
    """Start the runner, kill it at a random moment, look; False when it was done before."""
    workspace = subject.workspace
    expected = expected_resume(workspace)
    with open(str(workspace.root) + '.out', 'w+') as out:
        process = install.start(workspace, stdout=out, stderr=out)
        # A moment by the clock: whatever is going on then is what gets killed.
        time.sleep(rng.uniform(0, subject.duration_s))
        _kill_whole_tree(process, workspace, rng)
        out.seek(0)
        said = out.read()
    if process.returncode >= 0:
        return False
    with tally.trial(f'kill {tally.n + 1}') as trial:
        trial.fired()
        tally.notes['resumed'] += _check_resume(said, expected, may_be_early=True)
        for name, data in outputs(workspace).items():
            is_whole = data == old.get(name) or data == subject.golden[name]
            assert is_whole, f'{name} has {len(data)} bytes that are neither old nor new'
        assert not unparsable(workspace)
    return True


def _kill_whole_tree(process: Any, workspace: Workspace, rng: random.Random) -> None:
    """Kill runner and processor, in an order that differs from time to time."""
    pids = processes_below(workspace.root)
    rng.shuffle(pids)
    for pid in pids:
        kill(pid)
    kill(process.pid)
    process.wait(PATIENCE_S)
    kill_all(workspace)


def _finish(install: Install, subject: Subject, tally: Tally) -> None:
    """Let the next run go on undisturbed and compare what came of it."""
    workspace = subject.workspace
    expected = expected_resume(workspace)
    done = install.run(workspace)
    try:
        assert done.code == 0, done
        tally.notes['resumed'] += _check_resume(done.out, expected)
        assert outputs(workspace) == subject.golden, 'the result differs from an undisturbed one'
        assert not leftovers(workspace), leftovers(workspace)
        check_skips(install, workspace)
    except AssertionError as error:
        tally.bad.append(f'round that ended after kill {tally.n}: {error}')


def expected_resume(workspace: Workspace) -> Optional[int]:
    """Return the line at which the next run must go on, None where it cannot.

    Read off the files alone: the last committed line counts while the work it
    belongs to is under way and all of its committed bytes are there.
    """
    try:
        progress = workspace.json('state/progress_stage_upper.json')
        binding = workspace.json('state/checkpoint_stage_upper.json')
        partial = workspace.path('data/output/.stage_upper.partial/result.txt')
        is_there = os.path.getsize(str(partial)) >= progress['outputs']['result.txt']
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if binding['finished'] or not is_there or not progress['lineOffset']:
        return None
    return int(progress['lineOffset'])


@pytest.mark.slow
@pytest.mark.integration
def test_what_was_written_and_not_committed_is_cut_off(tmp_path: Path, install: Install) -> None:
    """At the one moment that random kills may miss, and without the help of our own module."""
    if not shutil.which('bash'):
        pytest.skip('bash is not installed')
    workspace = make_demo(tmp_path / 'w', install, make_text(130), interval=20,
                          upper='bin/upper.bash')
    workspace.processor(DYING, 'bin/upper.bash')
    definition = workspace.json('pipeline.json')
    workspace.pipeline(*definition['stages'], defaults={'retry': {'baseDelaySec': 0}})

    done = install.run(workspace)

    assert done.code == 0 and '[RESUME] stage_upper at line 20' in done.lines, done
    assert len(workspace.read_bytes(RESULT).splitlines()) == 130
    assert workspace.read_bytes(RESULT).lower() == make_text(130).lower()


@pytest.mark.integration
def test_what_a_zombie_left_half_written_is_a_leftover(tmp_path: Path) -> None:
    """Killed and not waited for, a process is still listed: it will write nothing any more.

    Where process 1 reaps late or never, the temporary file of a killed processor
    outlived the next run.
    """
    need_linux()
    with subprocess.Popen([sys.executable, '-c', '']) as child:
        wait_until(lambda: not is_alive(child.pid), 'the end of the child')
        left = tmp_path / f'progress.json.{child.pid}-0.tmp'
        left.write_text('')

        assert list(leftovers_of_the_dead(str(tmp_path))) == [str(left)]
        assert os.path.exists(f'/proc/{child.pid}')


def _check_resume(said: str, expected: Optional[int], *, may_be_early: bool = False) -> bool:
    """Assert that a run went on where it had to; one killed early may not have come so far."""
    lines = [line for line in said.splitlines() if line.startswith('[RESUME]')]
    first = lines[0] if lines else None
    if first is None and may_be_early:
        return False
    wanted = None if expected is None else f'[RESUME] stage_upper at line {expected}'
    if wanted is None and may_be_early and '[RETRY]' in said:
        # The processor died first and its next attempt went on.
        return True
    assert first == wanted, f'expected {wanted!r}, got {first!r}'
    return first is not None

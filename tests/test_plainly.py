"""Tests of `stagerunner.plainly`: it says what `argparse` says, or nothing."""

from __future__ import annotations

import random

import pytest

from stagerunner.cli import COMMANDS
from stagerunner.commands import run
from stagerunner.errors import UsageError
from stagerunner.parser import make_parser
from stagerunner.plainly import plain_run

pytestmark = pytest.mark.unit

WORDS = ['--pipeline', '--run-id', '--max-workers', '--json', '--quiet', '--keep-going',
         '--force', '--run', '--', '-', '-1', '', 'x', 'a b', '--run-id=x', '--help',
         '--version', '2', 'plan', '--dry-run', '--config', 'é', '-x y']


@pytest.fixture(scope='module')
def parser():
    return make_parser('run', run, COMMANDS)


def check(parser, words):
    """Assert that both agree; True when the plain way was taken."""
    found = plain_run(words)
    if found is not None:
        assert vars(found) == vars(parser.parse_args(words)), words
    return found is not None


@pytest.mark.parametrize('words', [
    [], ['--json'], ['--pipeline', 'p.json', '--run-id', 'x', '--max-workers', '4', '--quiet'],
    ['--run-id', 'a', '--run-id', 'b'], ['--keep-going', '--run-id', ''],
])
def test_a_plain_command_line_is_read_without_argparse(parser, words):
    assert check(parser, words)


@pytest.mark.parametrize('words', [
    ['--run-id'], ['--run-id', '-x'], ['--run-id=x'], ['--jso'], ['x'], ['--'], ['--help'],
    ['--force', 'a'], ['--json', 'x'],
])
def test_anything_else_is_left_to_argparse(parser, words):
    assert plain_run(words) is None


def test_of_random_command_lines_both_say_the_same(parser):
    rng = random.Random(8)
    lines = [rng.choices(WORDS[:6] if rng.random() < 0.5 else WORDS, k=rng.randint(0, 4))
             for _ in range(400)]

    try:
        n_plain = sum(check(parser, words) for words in lines)
    except (UsageError, SystemExit) as error:
        pytest.fail(f'argparse refuses what was read plainly: {error}')

    assert n_plain > 30

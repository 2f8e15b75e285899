"""The examples do what the README says of them: they run, and run again with nothing to do."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from typing import Dict
from typing import List

import pytest

from stagerunner.imports import load_program
from stagerunner.offline import violations
from support import CHECKOUT
from support import Finished
from support import Workspace

EXAMPLES = CHECKOUT / 'examples'

#: What runs leave, which is not part of an example.
LEFT = shutil.ignore_patterns('state', 'locks', 'work', 'output', '__pycache__')


def runs_for_real(test: Any) -> Any:
    """Mark a test that runs an example from beginning to end."""
    return pytest.mark.integration(pytest.mark.slow(test))


@pytest.fixture
def example(tmp_path: Path, main: Any) -> Any:
    """Return a function that copies an example to a folder of the test."""
    def copy(name: str) -> _Example:
        shutil.copytree(str(EXAMPLES / name), str(tmp_path / name), ignore=LEFT)
        return _Example(tmp_path / name, main)
    return copy


class _Example(Workspace):
    """A copy of an example, and the command of the README to run it."""

    def __init__(self, root: Path, main: Any):
        super().__init__(root)
        self.main = main

    def run(self, run_id: str) -> Finished:
        """Run it as the README says, but here."""
        return self.main('--pipeline', self.pipeline_file, *flags_of(self.root.name),
                         '--run-id', run_id)

    def rows(self, run_id: str) -> List[Any]:
        """Return name, status and counts of each stage of a run."""
        metrics = json.loads(self.path(f'state/metrics_{run_id}.json').read_text('utf-8'))
        return [(row['stage'], row['status'], row.get('tasks')) for row in metrics['stages']]

    def outputs(self) -> Dict[str, bytes]:
        """Return the results, without the marker."""
        return {path.name: path.read_bytes() for path in self.path('data/output').iterdir()
                if not path.name.startswith('.')}


def flags_of(name: str) -> List[str]:
    """Return the flags beside `--pipeline` with which the README runs an example."""
    found = re.search(rf'^python3 src/pipeline_runner\.py --pipeline '
                      rf'examples/{name}/pipeline\.json(.*)$',
                      (CHECKOUT / 'README.md').read_text('utf-8'), re.M)
    assert found
    return found.group(1).split()


@runs_for_real
def test_papers_are_gathered_once(example):
    papers = example('papers')

    first, second = papers.run('one'), papers.run('two')

    stages = ['clean', 'count_words', 'summarize']
    assert (first.code, first.err, second.code, second.err) == (0, '', 0, '')
    assert papers.rows('one') == [
        *((stage, 'ok', {'total': 20, 'ok': 20}) for stage in stages), ('gather', 'ok', None)]
    assert papers.rows('two') == [
        *((stage, 'skipped', {'total': 20, 'skipped': 20}) for stage in stages),
        ('gather', 'skipped', None)]
    digest = papers.path('data/output/digest.md').read_text('utf-8')
    titles = [path.read_text('utf-8').partition('\n')[0]
              for path in papers.path('data/input').glob('*.txt')]
    assert digest.startswith('# 20 papers, ')
    assert re.findall('^## (.*)', digest, re.M) == sorted(titles)


@runs_for_real
def test_a_paper_that_changes_runs_alone_and_everything_is_gathered_anew(example):
    papers = example('papers')
    papers.run('one')
    with papers.path('data/input/zero.txt').open('a', encoding='utf-8') as paper:
        paper.write('\nAmong merchants merchants wrote of merchants.\n')

    papers.run('two')

    assert papers.rows('two') == [
        *((stage, 'ok', {'total': 20, 'ok': 1, 'skipped': 19})
          for stage in ('clean', 'count_words', 'summarize')), ('gather', 'ok', None)]
    words = json.loads(papers.path('data/output/words.json').read_text('utf-8'))
    assert words['merchants'] == ['zero.txt']


@runs_for_real
def test_four_accounts_are_ingested_once(example):
    accounts = example('parallel_ingest')

    first, second = accounts.run('one'), accounts.run('two')

    jobs = [f'ingest[ingest_gmail_acct{number}]' for number in range(1, 5)]
    assert (first.code, first.err, second.code, second.err) == (0, '', 0, '')
    assert re.findall(r'^\[RUN\] (ingest\[.*\])', first.out, re.M) == jobs
    assert accounts.rows('one') == [('ingest', 'ok', {'total': 4, 'ok': 4}),
                                    ('combine', 'ok', None)]
    assert accounts.rows('two') == [('ingest', 'skipped', {'total': 4, 'skipped': 4}),
                                    ('combine', 'skipped', None)]
    messages = [json.loads(line) for line in
                accounts.path('data/output/messages.jsonl').read_text('utf-8').splitlines()]
    assert Counter(message['Account'][-5:] for message in messages) == {
        'acct1': 2, 'acct2': 1, 'acct3': 2, 'acct4': 1}
    assert sorted(message['Date'] for message in messages) == [
        message['Date'] for message in messages]


@runs_for_real
def test_four_accounts_are_at_work_at_the_same_time(example):
    """A job ends only when all four have begun: one after another they would never end."""
    accounts = example('parallel_ingest')
    waits = MEETS.format(folder=str(accounts.path('met')))
    source = accounts.path('bin/ingest.py').read_text('utf-8')
    accounts.write('bin/ingest.py', source.replace('    time.sleep(', f'{waits}    time.sleep('))
    accounts.path('met').mkdir()

    assert accounts.run('one').code == 0

    assert len(list(accounts.path('met').iterdir())) == 4


MEETS = '''\
    open(os.path.join({folder!r}, job), 'w').close()
    deadline = time.monotonic() + 60
    while len(os.listdir({folder!r})) < 4:
        if time.monotonic() > deadline:
            sys.exit('the others did not come')
        time.sleep(0.01)
'''


@runs_for_real
def test_one_worker_makes_the_same_of_the_papers(example):
    papers = example('papers')
    assert papers.run('many').code == 0
    made = papers.outputs()
    for folder in ('state', 'data/work', 'data/output'):
        shutil.rmtree(str(papers.path(folder)))

    assert papers.main('--pipeline', papers.pipeline_file, '--run-id', 'alone').code == 0

    assert len(made) == 2 and papers.outputs() == made


@runs_for_real
def test_orders_go_through_the_queue(example):
    """By the commands of its page and of the README, called here."""
    orders = example('queue')
    shown = [(CHECKOUT / name).read_text('utf-8') for name in
             ('README.md', 'examples/queue/README.md')]
    commands = re.findall(r'^python3 src/pipeline_runner\.py (queue .*?)(?: &&)?$', shown[1], re.M)
    assert set(commands[:2]) <= set(re.findall(r'queue (?:import|run) .*?json(?= &&|$)', shown[0],
                                               re.M))
    imports, drains, enqueues = (
        shlex.split(command.replace('examples/queue/', f'{orders.root}/'))
        for command in commands)

    told = [orders.main(*command) for command in (imports, drains, drains)]

    assert [(done.code, done.err) for done in told] == [(0, '')] * 3
    assert [done.lines[-1] for done in told] == [
        'imported 6 of 6 entries', '6 done, 2 put off; 0 entries left in the queue',
        'nothing done; 0 entries left in the queue']
    assert len(list(orders.path('data/output/invoices').glob('order-*.txt'))) == 6
    assert (orders.main(*enqueues).code, orders.main(*drains).code) == (0, 1)
    assert orders.main('--pipeline', orders.pipeline_file).code == 0
    assert orders.path('data/output/total.txt').read_text('utf-8') == '6 invoices, 179.00\n'


@pytest.mark.parametrize('processor', sorted(EXAMPLES.glob('*/bin/*.py')),
                         ids=lambda path: f'{path.parent.parent.name}: {path.name}')
def test_processors_of_examples_reach_no_network(processor):
    program = load_program(str(processor.parent.parent), f'bin/{processor.name}', ())

    assert violations(program) == []

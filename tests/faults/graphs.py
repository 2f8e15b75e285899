"""Random pipelines, and random edits of what they read, wrote and are."""

from __future__ import annotations

import hashlib
import json
import os
import random
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Dict
from typing import List
from typing import Tuple

from stagerunner.launch.job import Job
from support import Workspace

#: Files that stages may name, and folders of items of the same kind.
N_FILES = 4

Stage = Dict[str, Any]


def work(job: Job) -> None:
    """Do what a stage of a random pipeline does: a digest of what it read, often a coarse one.

    `params` say how: `size` is how many letters of the digest are kept (of few,
    changed inputs often make equal outputs), `many` lets their number depend on it.
    """
    params = json.loads(job.env['PIPELINE_PARAMS'])
    total = hashlib.sha256(str(params.get('salt')).encode())
    for name in job.argv[1:]:
        for path in _files(Path(job.cwd, name)):
            total.update(path.read_bytes())
    digest = total.hexdigest()[:params['size']]
    stem = params['stem']
    item = job.env.get('PIPELINE_ITEM_ID')
    name = f'{stem}-{item}' if item else f'{stem}.txt'
    names = [name]
    if params.get('many'):
        names = [f'{stem}-{number}.txt' for number in range(1 + int(digest[0], 16) % 4)]
    for name in names:
        Path(job.env['PIPELINE_OUTPUT_DIR'], name).write_text(digest)


def _files(path: Path) -> List[Path]:
    if not path.is_dir():
        return [path]
    return sorted(found for found in path.rglob('*')
                  if found.is_file() and '/.' not in str(found.relative_to(path.parent)))


class Graph:
    """A pipeline of five to nine stages, made by chance."""

    def __init__(self, workspace: Workspace, rng: random.Random):
        self.workspace = workspace
        self.rng = rng
        self.stages: List[Stage] = []
        self.items: Dict[str, Any] = {'docs': {'glob': 'data/docs/*.txt'}}
        #: What a later stage may read of an earlier one, and chains of stages over one collection.
        self.sources: List[str] = []
        self.chains: Dict[str, Tuple[str, str]] = {}
        self.n_docs = 0

    def make(self) -> None:
        """Write the whole workspace."""
        for number in range(N_FILES):
            self.workspace.write(f'data/input/f{number}.txt', f'file {number}')
        for _ in range(self.rng.randint(1, 4)):
            self.add_doc()
        self.sources = [f'data/input/f{number}.txt' for number in range(N_FILES)]
        self.sources.append('data/docs/*.txt')
        kinds = [self._plain, self._plain, self._jobs, self._items, self._next_items,
                 self._many_and_items, self._sharing]
        while len(self.stages) < self.rng.randint(5, 9):
            self.rng.choice(kinds)()
        self._add('last', inputs=sorted({'data/shared', *self._pick(2)}))
        self.workspace.write('data/shared/hand.txt', 'made by hand')
        self.write()

    def add_doc(self) -> None:
        """Add a member to the collection `docs`."""
        self.n_docs += 1
        self.workspace.write(f'data/docs/d{self.n_docs}.txt', f'doc {self.n_docs}')

    def write(self) -> None:
        """Write the definition."""
        self.workspace.pipeline(*self.stages, items=self.items)

    # -- kinds of stages ---------------------------------------------------------

    def _pick(self, most: int) -> List[str]:
        return self.rng.sample(self.sources, self.rng.randint(1, most))

    def _add(self, name: str, **keys: Any) -> Stage:
        params = {'stem': name, 'size': self.rng.choice([1, 1, 8])}
        params.update(keys.pop('params', {}))
        stage = dict({'name': name, 'processor': f'bin/{name}.py', 'outputDir': f'data/{name}',
                      'params': params}, **keys)
        if self.stages and self.rng.random() < 0.2:
            stage['dependsOn'] = [self.rng.choice(self.stages)['name']]
        self.workspace.processor('pass\n', stage['processor'])
        self.stages.append(stage)
        return stage

    def _name(self) -> str:
        return f's{len(self.stages)}'

    def _plain(self) -> None:
        name = self._name()
        self._add(name, inputs=self._pick(3))
        self.sources += [f'data/{name}/{name}.txt', f'data/{name}']

    def _sharing(self) -> None:
        name = self._name()
        self._add(name, inputs=self._pick(2), outputDir='data/shared')
        self.sources.append(f'data/shared/{name}.txt')

    def _jobs(self) -> None:
        name = self._name()
        jobs = [{'name': f'j{number}', 'inputs': self._pick(2),
                 'params': {'stem': f'{name}-j{number}', 'size': self.rng.choice([1, 8])}}
                for number in range(self.rng.randint(2, 3))]
        self._add(name, jobs=jobs)
        self.sources += [f'data/{name}/*.txt', f'data/{name}/{name}-j0.txt']

    def _items(self) -> None:
        name = self._name()
        folder = f'data/{name}' + self.rng.choice(['', '/{item.id}'])
        self._add(name, forEach='docs', inputs=['{item.path}'], outputDir=folder)
        self.chains[name] = 'docs', f'{folder}/{name}-{{item.id}}'
        self.sources += [f'data/{name}']

    def _next_items(self) -> None:
        if not self.chains:
            self._items()
        else:
            name, (collection, source) = self.rng.choice(sorted(self.chains.items()))
            self._follow(collection, source)

    def _follow(self, collection: str, source: str) -> None:
        name = self._name()
        self._add(name, forEach=collection, inputs=[source, *self._pick(1)])
        self.chains[name] = collection, f'data/{name}/{name}-{{item.id}}'
        self.sources += [f'data/{name}/*.txt']

    def _many_and_items(self) -> None:
        maker = self._name()
        self._add(maker, inputs=self._pick(2), params={'many': True})
        self.items[f'of_{maker}'] = {'glob': f'data/{maker}/*.txt'}
        self._follow(f'of_{maker}', '{item.path}')


def edits(graph: Graph) -> Dict[str, Callable[[], Any]]:
    """Return what may happen to a workspace between two runs."""
    workspace, rng = graph.workspace, graph.rng

    def change(path: Path) -> None:
        path.write_text(path.read_text() + rng.choice('abc'))

    def touch(path: Path) -> None:
        os.utime(str(path), ns=(0, rng.randrange(10 ** 18)))

    def inputs() -> List[Path]:
        return sorted([*workspace.path('data/input').iterdir(),
                       *workspace.path('data/docs').iterdir()])

    def outputs() -> List[Path]:
        return [path for path in _files(workspace.path('data'))
                if path.parent.name not in ('input', 'docs')]

    def markers() -> List[Path]:
        return sorted(workspace.path('data').rglob('.*.done'))

    def change_params() -> None:
        stage = rng.choice(graph.stages)
        stage['params']['salt'] = rng.random()
        graph.write()

    def remove_doc() -> None:
        docs = sorted(workspace.path('data/docs').iterdir())
        if len(docs) > 1:
            rng.choice(docs).unlink()

    return {
        'nothing': lambda: None,
        'input edited': lambda: change(rng.choice(inputs())),
        'input touched': lambda: touch(rng.choice(inputs())),
        'processor edited': lambda: change(workspace.path(rng.choice(graph.stages)['processor'])),
        'output edited': lambda: change(rng.choice(outputs())),
        'output removed': lambda: rng.choice(outputs()).unlink(),
        'output touched': lambda: touch(rng.choice(outputs())),
        'marker removed': lambda: rng.choice(markers()).unlink(),
        'item added': graph.add_doc,
        'item removed': remove_doc,
        'params changed': change_params,
    }


def differences(planned: Dict[str, str], ran: List[str], skipped: List[str]) -> List[str]:
    """Return where a run was not what the plan had announced; the plan may say `stage[*]`."""
    executed, found = set(ran), []
    if len(executed) != len(ran):
        found.append(f'executed twice: {sorted(ran)}')
    for task, decision in planned.items():
        if task.endswith('[*]'):
            continue
        if decision in ('run', 'resume') and task not in executed:
            found.append(f'{task} was to run and did not')
        if decision == 'skip' and task not in skipped:
            found.append(f'{task} was to be skipped and was not')
        if decision == 'maybe' and task not in executed and task not in skipped:
            found.append(f'{task} was left out')
    for task in sorted(executed):
        if task not in planned and task.partition('[')[0] + '[*]' not in planned:
            found.append(f'{task} was not announced')
    return found



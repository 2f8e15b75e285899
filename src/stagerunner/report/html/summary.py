"""The head of the report: how the run stands in figures, and what went wrong first."""

from __future__ import annotations

from typing import Any
from typing import Dict
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Sequence
from typing import Tuple

from stagerunner.diagram import Diagram
from stagerunner.report.html.parts import bullets
from stagerunner.report.html.parts import code
from stagerunner.report.html.parts import count
from stagerunner.report.html.parts import facts
from stagerunner.report.html.parts import kind_of
from stagerunner.report.html.parts import moment
from stagerunner.report.html.parts import seconds
from stagerunner.report.html.parts import section
from stagerunner.report.markup import escaped
from stagerunner.report.sight import CRASHED
from stagerunner.report.story import StageStory
from stagerunner.report.story import Story
from stagerunner.report.story import seconds_of
from stagerunner.state.run import RUNNING
from stagerunner.state.run import RunRecord

_NO_RECORD = RunRecord('', '', '', '')

#: In which order statuses are told.
_ORDER = ('ok', 'skipped', 'failed', 'blocked', 'cancelled', 'interrupted', 'unfinished',
          'running', 'waiting', 'not started')


class Account(NamedTuple):
    """All that a report is made of.

    `record` is the record of the run, if there is one; `tails`
    the last lines of logs by their path; `refresh_s` is set on a page that is
    written anew while the run goes on.
    """

    run_id: str
    state: str
    story: Story
    now: float
    record: Optional[RunRecord] = None
    diagram: Optional[Diagram] = None
    #: Why there is no diagram.
    fault: str = ''
    tails: Dict[str, Sequence[str]] = {}
    refresh_s: Optional[int] = None
    #: So many entries may the lists of all stages have together, about.
    entries: int = 2000

    @property
    def is_over(self) -> bool:
        """True when nothing will happen any more."""
        return self.state != RUNNING

    def status_of(self, stage: StageStory) -> str:
        """Return how a stage stands."""
        return stage.told_status(is_over=self.is_over)

    def duration_s(self) -> float:
        """Return how long the run took, or has taken so far."""
        story = self.story
        if story.ended is not None:
            return story.ended.duration_s
        began = seconds_of(story.started.at) if story.started else story.last
        return max(0.0, (self.now if self.state == RUNNING else story.last) - began)


def by_status(account: Account) -> List[Tuple[str, int]]:
    """Return how many stages there are of each status."""
    found: Dict[str, int] = {}
    for stage in account.story.stages.values():
        status = account.status_of(stage)
        found[status] = found.get(status, 0) + 1
    return [(status, found[status]) for status in _ORDER if status in found]


def summary(account: Account) -> str:
    """Return the figures of the run."""
    counts = by_status(account)
    cards = ''.join(
        f'<div><dt>{escaped(name)}</dt><dd id="total-{kind_of(key)}">{escaped(value)}</dd></div>'
        for key, name, value in _cards(account, counts))
    total = sum(number for _, number in counts) or 1
    said = ', '.join(f'{number} {status}' for status, number in counts)
    bar = ''.join(f'<span class="{kind_of(status)}" style="width:{100 * number / total:.2f}%">'
                  f'</span>' for status, number in counts)
    return section('summary', 'Summary', (
        f'<div class="bar" role="img" aria-label="Stages: {escaped(said)}">{bar}</div>'
        f'<dl class="cards">{cards}</dl>{facts(_facts(account))}'))


def _cards(account: Account, counts: Sequence[Tuple[str, int]]) -> Iterator[Tuple[str, str, str]]:
    stages = list(account.story.stages.values())
    yield 'stages', 'stages', f'{len(stages):,}'
    for status, number in counts:
        yield status, status, f'{number:,}'
    tasks = sum(stage.tasks or 0 for stage in stages)
    if tasks:
        yield 'tasks', 'tasks of fan-outs', f'{tasks:,}'
    yield 'duration', 'duration', seconds(account.duration_s())
    yield 'attempts', 'attempts', f'{sum(stage.attempts for stage in stages):,}'
    yield 'retries', 'retries', f'{sum(stage.retries for stage in stages):,}'
    throttled = sum(stage.throttled for stage in stages)
    if throttled:
        yield 'throttled', 'waits for permits', f'{throttled:,}'
    yield 'workers', 'workers', f'{account.story.started.workers if account.story.started else 1}'


def _facts(account: Account) -> Iterator[Tuple[str, str]]:
    record, story = account.record or _NO_RECORD, account.story
    pipeline = story.started.pipeline if story.started else record.pipeline
    yield 'pipeline', f'{escaped(pipeline)} {escaped(record.version)}'.strip()
    yield 'started', moment(record.started_at or (story.started and story.started.at))
    yield 'ended', moment(story.ended.at) if story.ended else ''
    yield 'host', f'{escaped(record.host)}, process {record.pid}' if record.host else ''
    yield 'isolation', isolation_text(record.isolation)
    head = (story.ended.audit_head if story.ended else '') or record.audit_head
    yield 'audit head', (f'{code(head)} (<code>audit verify --expect-head</code> checks it)'
                         if head else '')


def isolation_text(found: Any) -> str:
    """Return what kept processors from the network, as a record has it."""
    if not isinstance(found, dict):
        return ''
    mechanisms = ', '.join(map(str, found.get('mechanisms') or ()))
    if found.get('mode') == 'off':
        return 'off: nothing kept processors from the network'
    if found.get('enforced') is None:
        return f'{escaped(str(found.get("mode") or "auto"))}; nothing was launched'
    kept = 'enforced by the kernel' if found.get('enforced') else 'not enforced on this host'
    mode = f'{escaped(str(found["mode"]))}: ' if found.get('mode') else ''
    return f'{mode}{kept}' + (f' ({escaped(mechanisms)})' if mechanisms else '')


def trouble(account: Account) -> str:
    """Return what went wrong first, or nothing."""
    failure = account.story.first_failure
    told = []
    if account.state == CRASHED:
        running = sorted(account.story.running)
        told.append('<p>The runner was killed: it neither ended this run nor is it alive. What '
                    'was done is kept; run again, or with <code>--resume</code> under this id, '
                    'and the rest is done.</p>')
        if running:
            told.append(f'<p>It was at work on {count(len(running), "task")}:</p>'
                        + bullets([code(task) for task in running[:20]], len(running)))
    if failure is not None:
        name = failure.task.partition('[')[0]
        told.append(f'<p><a href="#stage-{escaped(name)}">{escaped(failure.task)}</a> failed '
                    f'after {count(failure.attempts, "attempt")} '
                    f'({escaped(failure.error_class)}).</p>'
                    f'<pre>{escaped(failure.error)}</pre>')
        if failure.log:
            told.append(f'<p class="soft">Log: {code(failure.log)}; its last lines:</p>')
        if failure.tail:
            told.append(f'<pre>{escaped(chr(10).join(failure.tail))}</pre>')
    if not told:
        return ''
    return section('trouble', 'What went wrong first', ''.join(told), 'alert')


def warnings(account: Account) -> str:
    """Return what people should look at."""
    story = account.story
    if not story.warnings:
        return ''
    entries = [f'{code(warning.task)}: {escaped(warning.message)}' if warning.task
               else escaped(warning.message) for warning in story.warnings]
    return section('warnings', 'Warnings', bullets(entries, story.n_warnings))

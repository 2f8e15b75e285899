"""The stages of a report: their picture, a row for each, and what is known of each one."""

from __future__ import annotations

from typing import Any
from typing import Dict
from typing import Iterator
from typing import List
from typing import Optional
from typing import Sequence
from typing import Tuple

from stagerunner.diagram import DECLARED
from stagerunner.events import AttemptEnded
from stagerunner.events import Reason
from stagerunner.report.drawing import Shape
from stagerunner.report.drawing import draw
from stagerunner.report.html.parts import SIGNS
from stagerunner.report.html.parts import badge
from stagerunner.report.html.parts import bullets
from stagerunner.report.html.parts import code
from stagerunner.report.html.parts import count
from stagerunner.report.html.parts import facts
from stagerunner.report.html.parts import kind_of
from stagerunner.report.html.parts import moment
from stagerunner.report.html.parts import seconds
from stagerunner.report.html.parts import section
from stagerunner.report.html.parts import size
from stagerunner.report.html.parts import table
from stagerunner.report.html.summary import Account
from stagerunner.report.html.summary import isolation_text
from stagerunner.report.markup import escaped
from stagerunner.report.markup import shortened
from stagerunner.report.story import StageStory

#: So many stages are drawn, have a row, have details; those that went wrong come first.
_DRAWN, _ROWS, _DETAILED = 400, 1000, 300

#: No list of a stage has more entries.
_MOST = 50

#: Characters of an error, and of a value that changed.
_ERROR, _VALUE = 1500, 90

_FINE = ('ok', 'skipped')


def graph(account: Account) -> str:
    """Return the picture of all stages, each with its status."""
    diagram = account.diagram
    if diagram is None:
        return section('graph', 'Stages', f'<p class="soft">There is no picture: '
                                          f'{escaped(account.fault)}</p>') if account.fault else ''
    if len(diagram.nodes) > _DRAWN:
        return section('graph', 'Stages', f'<p class="soft">{count(len(diagram.nodes), "stage")} '
                                          f'are too many for a picture.</p>')
    shapes = []
    for node in diagram.nodes:
        stage = account.story.stages.get(node.stage)
        status = account.status_of(stage) if stage else 'not in this run'
        note = f'{SIGNS.get(status, "·")} {status}'
        if stage is not None and stage.tasks is not None:
            done = sum(stage.counts.get(word, 0) for word in _FINE)
            note += f', {done:,} of {stage.tasks:,}'
        elif stage is not None and stage.duration_s:
            note += f', {seconds(stage.duration_s)}'
        shapes.append(Shape(node.stage, note, kind_of(status), f'{node.stage}: {note[2:]}',
                            f'#stage-{node.stage}' if stage else ''))
    drawing = draw(shapes, diagram.needs(), f'Stages of {diagram.pipeline}', style='',
                   declared=[(node.stage, need.stage) for node in diagram.nodes
                             for need in node.needs if need.kinds == (DECLARED,)])
    omitted = (f'<p class="soft">{drawing.omitted:,} lines that follow from others are not '
               f'drawn.</p>' if drawing.omitted else '')
    return section('graph', 'Stages', (
        f'<section class="scroll graph" tabindex="0" aria-label="Picture of all stages">'
        f'{drawing.svg}</section>{omitted}'))


def _worst_first(account: Account, most: int) -> List[StageStory]:
    """Return stages in their order; of too many, all that went wrong and the first others."""
    stages = list(account.story.stages.values())
    if len(stages) <= most:
        return stages
    ranked = sorted(range(len(stages)), key=lambda index: (
        account.status_of(stages[index]) in _FINE, index))[:most]
    return [stages[index] for index in sorted(ranked)]


def rows(account: Account) -> str:
    """Return the table of all stages."""
    listed = _worst_first(account, _ROWS)
    detailed = {stage.name for stage in _worst_first(account, _DETAILED)}
    content = table(
        f'{count(len(listed), "stage")} in the order of the definition',
        ('stage', 'status', 'tasks', 'duration', 'attempts', 'retries', 'peak memory', 'why'),
        (_row(account, stage, stage.name in detailed) for stage in listed),
        numbers=(2, 3, 4, 5, 6))
    more = len(account.story.stages) - len(listed)
    if more:
        content += f'<p class="soft">{count(more, "stage")} more are done or were skipped.</p>'
    return section('stages', 'All stages', content)


def _row(account: Account, stage: StageStory, has_details: bool) -> List[str]:
    name = escaped(stage.name)
    link = f'<a href="#stage-{name}">{name}</a>' if has_details else name
    return [link, badge(account.status_of(stage)), _tasks(stage),
            seconds(stage.duration_s) if stage.attempts else '–', f'{stage.attempts:,}',
            f'{stage.retries:,}', size(stage.peak_bytes), _why(stage)]


def _tasks(stage: StageStory) -> str:
    if stage.tasks is None:
        return '1'
    parts = [f'{number:,} {escaped(status)}' for status, number in sorted(stage.counts.items())]
    return f'{stage.tasks:,}' + (f'<br><small class="soft">{", ".join(parts)}</small>'
                                 if parts else '')


def _why(stage: StageStory) -> str:
    if stage.reasons:
        more = f' and {len(stage.reasons) - 1} more' if len(stage.reasons) > 1 else ''
        return escaped(shortened(str(stage.reasons[0]), _VALUE) + more)
    if stage.skipped is not None:
        return escaped(stage.skipped.why)
    return escaped(stage.why)


# -- what is known of one stage ------------------------------------------------------

def details(account: Account) -> str:
    """Return a part for each stage that opens and closes; what went wrong is open."""
    listed = _worst_first(account, _DETAILED)
    most = min(_MOST, 1 + account.entries // max(1, len(listed)))
    return section('details', 'Stage by stage', '\n'.join(
        _details(account, stage, most) for stage in listed))


def _details(account: Account, stage: StageStory, most: int) -> str:
    status = account.status_of(stage)
    is_open = ' open' if status in ('failed', 'interrupted', 'unfinished') else ''
    over = f'{count(stage.tasks, "task")}' if stage.tasks is not None else ''
    took = seconds(stage.duration_s) if stage.attempts else ''
    said = ', '.join(filter(None, (over, took)))
    return (f'<details id="stage-{escaped(stage.name)}"{is_open}><summary>{badge(status)}'
            f'{escaped(stage.name)} <small>{escaped(said)}</small></summary>'
            f'{"".join(_parts(account, stage, most))}</details>')


def _parts(account: Account, stage: StageStory, most: int) -> Iterator[str]:
    yield facts(_facts(stage))
    if stage.reasons:
        yield '<h3>Why it ran</h3>' + bullets(
            [_reason(reason) for reason in stage.reasons[:most]], len(stage.reasons))
    if stage.notes:
        yield '<h3>Notes</h3>' + bullets([escaped(note) for note in stage.notes])
    if len(stage.tries) > 1 or any(attempt.error for attempt in stage.tries):
        yield table(f'Attempts of {stage.name}', ('attempt', 'status', 'takes', 'exit code',
                                                  'error', 'waits'),
                    (_attempt(attempt) for attempt in stage.tries[-most:]), numbers=(2, 3, 5))
    if stage.failures:
        yield '<h3>Failures</h3>' + bullets(
            [_failure(failure) for failure in stage.failures[:most]],
            max(stage.counts.get('failed', 0), len(stage.failures)))
    if stage.slowest:
        yield _slowest(stage, most)
    yield from _made(stage, most)
    yield from _log(account, stage, most)


def _facts(stage: StageStory) -> Iterator[Tuple[str, str]]:
    key = stage.done.key if stage.done else stage.skipped.key if stage.skipped else ''
    yield 'key', code(key) if key else ''
    yield 'outputs made', moment(stage.skipped.done_at) if stage.skipped else ''
    yield 'fans out over', escaped(stage.collection)
    yield 'reason', escaped(stage.why)
    yield 'CPU time', seconds(stage.cpu_s) if stage.cpu_s is not None else ''
    yield 'peak memory', size(stage.peak_bytes) if stage.peak_bytes is not None else ''
    yield 'written', size(stage.written_bytes) if stage.written_bytes is not None else ''
    if stage.throttled:
        yield 'waits for permits', f'{stage.throttled:,}, {seconds(stage.throttled_s)}'
    yield 'isolation', _isolation(stage.isolation)
    if stage.done is not None and not stage.done.is_staged:
        yield 'outputs', 'written to the output folder directly'
    if stage.done is not None and stage.done.line_offset is not None:
        yield 'lines', f'{stage.done.line_offset:,}'


def _isolation(found: Dict[str, Any]) -> str:
    if not found:
        return ''
    files = '; files: only what is declared' if found.get('files') == 'declared' else ''
    if found.get('network') == 'allow':
        return f'network allowed{files}'
    return isolation_text(found) + files


def _reason(reason: Reason) -> str:
    values = ''
    if reason.old is not None or reason.new is not None:
        values = f' <span class="soft">{_value(reason.old)} → {_value(reason.new)}</span>'
    return f'{escaped(str(reason))}{values}'


def _value(value: Optional[str]) -> str:
    return 'nothing' if value is None else code(shortened(str(value), _VALUE))


def _attempt(attempt: AttemptEnded) -> Sequence[str]:
    error = shortened(attempt.error or '', _ERROR)
    shown = f'<pre>{escaped(error)}</pre>' if '\n' in error else escaped(error)
    if attempt.error_class:
        shown = f'{escaped(attempt.error_class)}: {shown}'
    return (str(attempt.attempt), badge(attempt.status), seconds(attempt.duration_s),
            '–' if attempt.exit_code is None else str(attempt.exit_code), shown,
            '–' if attempt.delay_s is None else seconds(attempt.delay_s))


def _failure(failure: Any) -> str:
    first, *more = [line for line in failure.error.split('\n') if line.strip()] or ['']
    headline = shortened(f'{first}: {more[-1].strip()}' if more else first, 200)
    log = f' <span class="soft">{code(failure.log)}</span>' if failure.log else ''
    return (f'{code(failure.task)}: {escaped(headline)} '
            f'({escaped(failure.error_class)}, {count(failure.attempts, "attempt")}){log}')


def _slowest(stage: StageStory, most: int) -> str:
    found = sorted(stage.slowest, key=lambda bar: -bar.duration_s)[:most]
    return ('<details class="plain"><summary>Slowest tasks</summary>' + table(
        f'The {count(len(found), "slowest attempt")} of {stage.name}',
        ('task', 'attempt', 'status', 'takes'),
        ([code(bar.task), str(bar.attempt), escaped(bar.status), seconds(bar.duration_s)]
         for bar in found), numbers=(1, 3)) + '</details>')


def _made(stage: StageStory, most: int) -> Iterator[str]:
    """Yield what a plain stage was made of and what it made."""
    made = stage.done.made if stage.done else {}
    for title, key in (('Inputs', 'inputs'), ('Outputs', 'outputs')):
        entries = made.get(key) or ()
        if isinstance(entries, dict):
            yield (f'<h3>{title}</h3><p>{code(entries.get("count"))} files, digest of all '
                   f'{code(entries.get("digest"))}</p>')
        elif isinstance(entries, list) and entries:
            folder = f'{made.get("outputDir")}/' if key == 'outputs' else ''
            yield f'<h3>{title}</h3>' + bullets(
                [_file(entry, folder) for entry in entries[:most]], len(entries))


def _file(entry: Any, folder: str) -> str:
    if isinstance(entry, dict):
        number = entry.get('size')
        shown = size(number if isinstance(number, int) else None)
        return (f'{code(folder + str(entry.get("path")))} <span class="soft">{shown}, '
                f'{code(entry.get("sha256"))}</span>')
    if isinstance(entry, list) and len(entry) == 2:
        return f'{code(entry[0])} <span class="soft">{code(entry[1])}</span>'
    return code(entry)


def _log(account: Account, stage: StageStory, most: int) -> Iterator[str]:
    if stage.failures and stage.tasks is None and stage.failures[0].tail:
        lines: Sequence[str] = stage.failures[0].tail[-most:]
        path = stage.failures[0].log
    else:
        path = (stage.tries[-1].log if stage.tries else None) or ''
        lines = account.tails.get(path, ())[-most:]
    if lines:
        yield (f'<h3>Last lines of <code>{escaped(path)}</code></h3>'
               f'<pre>{escaped(chr(10).join(lines))}</pre>')

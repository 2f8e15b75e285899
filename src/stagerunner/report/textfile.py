"""The figures of a run as text for a Prometheus node exporter's textfile collector."""

from __future__ import annotations

from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import List


#: Figure of the metrics file, name of the metric, what it is.
_TOTALS = (
    ('durationSec', 'stagerunner_run_duration_seconds', 'How long the run took.'),
    ('attempts', 'stagerunner_attempts', 'Attempts that ended.'),
    ('retries', 'stagerunner_retries', 'Attempts that were followed by another one.'),
    ('throttled', 'stagerunner_throttled', 'Attempts that waited for a permit or a quota.'),
    ('throttledSec', 'stagerunner_throttled_seconds', 'How long they waited.'),
    ('workers', 'stagerunner_workers', 'How many tasks could run at once.'),
)


def metrics_text(summary: Dict[str, Any]) -> str:
    """Return the figures of `metrics_<id>.json` in the text format of Prometheus.

    >>> print(metrics_text({'pipeline': 'p', 'runId': 'r', 'attempts': 2, 'stages': []}))
    # HELP stagerunner_attempts Attempts that ended.
    # TYPE stagerunner_attempts gauge
    stagerunner_attempts{pipeline="p",run="r"} 2
    <BLANKLINE>
    """
    labels = f'pipeline="{_escaped(summary["pipeline"])}",run="{_escaped(summary["runId"])}"'
    lines: List[str] = []
    for key, name, text in _TOTALS:
        if key in summary:
            lines += _head(name, text) + [f'{name}{{{labels}}} {summary[key]}']
    if summary['stages']:
        lines += _head('stagerunner_stage_duration_seconds', 'Seconds of all attempts of a stage.')
        lines += [f'stagerunner_stage_duration_seconds{{{labels},stage="{row["stage"]}",'
                  f'status="{row["status"]}"}} {row["durationSec"]}'
                  for row in summary['stages']]
    return '\n'.join(lines) + '\n'


def _head(name: str, text: str) -> List[str]:
    return [f'# HELP {name} {text}', f'# TYPE {name} gauge']


def _escaped(text: str) -> str:
    return text.replace('\\', '\\\\').replace('"', '\\"').replace('\n', '\\n')

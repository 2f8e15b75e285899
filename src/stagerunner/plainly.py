"""Read the command line of a plain run without `argparse`, which takes longer than such a run.

Only what is beyond doubt: flags spelled in full, each value a word of its own
that begins with no dash.  For all else, mistakes and help included, `argparse`
is asked, and a test holds both to the same answers.
"""

from __future__ import annotations

from stagerunner.records import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import List
    from typing import Optional


_WITH_VALUE = {'--pipeline': 'pipeline', '--run-id': 'run_id', '--max-workers': 'max_workers'}
_SWITCHES = {'--json': 'json', '--quiet': 'quiet', '--keep-going': 'keep_going'}


class PlainRun:
    """The arguments of a run, all at their defaults until a flag says otherwise."""

    def __init__(self) -> None:
        self.pipeline = 'pipeline.json'
        self.run_id: Optional[str] = None
        self.max_workers: Optional[str] = None
        self.json = self.quiet = self.keep_going = False
        self.resume = self.dry_run = self.enable_experimental = False
        self.config: Optional[str] = None
        self.only: List[str] = []
        self.until: List[str] = []
        self.force: List[str] = []
        self.resume_from: Optional[str] = None
        self.lock_timeout = 10.0
        self.isolation = self.launcher = 'auto'
        self.checkpoint_file: Optional[str] = None
        self.log_file: Optional[str] = None
        self.log_level: Optional[str] = None


def plain_run(argv: List[str]) -> Optional[PlainRun]:
    """Return the arguments of a plain run, None where `argparse` has to read them.

    >>> plain_run(['--run-id', 'r1', '--json']).run_id, plain_run(['--run-id=r1'])
    ('r1', None)
    """
    found = PlainRun()
    words = iter(argv)
    for word in words:
        if word in _SWITCHES:
            setattr(found, _SWITCHES[word], True)
            continue
        value = next(words, '-') if word in _WITH_VALUE else '-'
        if value.startswith('-'):
            return None
        setattr(found, _WITH_VALUE[word], value)
    return found

"""The report in headless Chromium: what is on the page is what the metrics file says.

Skipped by name where there is no Chromium; nothing is installed for it.
"""

from __future__ import annotations

import re
import shutil
from typing import Any
from typing import List

import pytest

from support import run_process
from support import stage

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser',
                                                'google-chrome'))), None)

pytestmark = [pytest.mark.integration, pytest.mark.slow,
              pytest.mark.skipif(CHROMIUM is None, reason='there is no Chromium here')]

FLAGS = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
         '--disable-background-networking', '--disable-component-update', '--disable-sync',
         '--disable-dev-shm-usage', '--disable-extensions', '--window-size=1200,900')

#: Fails for the items that are called so, and is busy once.
WORK = '''\
import os, sys
item = os.environ.get('PIPELINE_ITEM_ID', '')
if item.startswith('bad'):
    sys.exit(65)
if os.environ['PIPELINE_STAGE_NAME'] == 'flaky' and os.environ['PIPELINE_ATTEMPT'] == '1':
    sys.exit(75)
'''


@pytest.fixture
def browse(tmp_path: Any) -> Any:
    """Return a function that opens a page in Chromium and returns its DOM as text."""
    def call(path: Any, *flags: str) -> str:
        done = run_process(CHROMIUM, *FLAGS, *flags, f'--user-data-dir={tmp_path / "profile"}',
                           '--dump-dom', path.as_uri(), cwd=tmp_path, is_measured=False)
        assert done.code == 0, done.err[-2000:]
        return done.out
    return call


def text_of(dom: str, name: str) -> str:
    found = re.search(rf'id="{name}"[^>]*>([^<]*)<', dom)
    return found.group(1) if found else ''


def test_the_figures_on_the_page_are_those_of_the_metrics_file(workspace, browse):
    workspace.simple(WORK)
    workspace.pipeline(
        stage('done'), stage('flaky', retry={'baseDelaySec': 0.01}),
        stage('each', forEach='papers', inputs=[], stopOnFailure=False),
        stage('after', inputs=['data/each/*']),
        items={'papers': {'list': ['a', 'b', 'bad 1', 'bad <2>']}})
    assert workspace.run('--run-id', 'first', '--only', 'done').code == 0
    assert workspace.run('--run-id', 'r', '--keep-going', '--max-workers', '2').code == 1
    assert workspace.run('report', 'r').code == 0
    metrics = workspace.json('state/metrics_r.json')

    dom = browse(workspace.path('state/report_r.html'))

    told = {key: text_of(dom, f'total-{key}') for key in (
        'stages', 'ok', 'skipped', 'failed', 'blocked', 'attempts', 'retries', 'workers')}
    assert told == {
        'stages': str(metrics['totalStages']), 'ok': str(metrics['okStages']),
        'skipped': str(metrics['skippedStages']), 'failed': str(metrics['failedStages']),
        'blocked': str(metrics['blockedStages']), 'attempts': str(metrics['attempts']),
        'retries': str(metrics['retries']), 'workers': str(metrics['workers'])}
    assert told['failed'] == '1' and told['blocked'] == '1'
    for row in metrics['stages']:
        assert badges(dom, row['stage']) == [row['status']]
    assert metrics['auditHead'] in dom
    assert 'bad%20%3C2%3E' in dom and '<2>' not in dom


def badges(dom: str, name: str) -> List[str]:
    """Return the status in the row of a stage."""
    row = re.search(rf'<th scope="row"><a href="#stage-{name}">.*?</tr>', dom, re.S)
    return re.findall(r'class="badge ([\w-]+)"', row.group()) if row else []

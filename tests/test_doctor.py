"""`doctor` tells which settings hold and where each is from; what a host can do: `tests/fence`."""

from __future__ import annotations

import json
import os
from typing import Any
from typing import Dict

import pytest

from stagerunner.commands.doctor import BUILT_IN
from stagerunner.commands.doctor import effective
from stagerunner.settings import Settings
from stagerunner.settings import Workers
from stagerunner.settings import parse
from support import CHECKOUT
from support import Workspace


@pytest.fixture
def doctor(workspace: Workspace, main: Any) -> Any:
    """Return a function that calls the doctor in this process."""
    def call(*args: Any) -> Any:
        return main('doctor', '--pipeline', workspace.pipeline_file, *args)
    return call


def told(**given: Any) -> Dict[str, Any]:
    """Return value and source of each setting of a config that is not built in."""
    found, faults = parse(given)
    assert found is not None and faults == []
    return {name: (value, source) for name, value, source in
            effective(found, Workers(1, BUILT_IN)) if source != BUILT_IN}


def test_without_a_config_everything_is_built_in():
    found = {name: (value, source) for name, value, source in
             effective(Settings(), Workers(1, BUILT_IN))}

    assert {source for _, source in found.values()} == {'built-in'}
    assert [found[name][0] for name in (
        'workers', 'retry.maxAttempts', 'retry.baseDelaySec', 'limits.default', 'safetyGate',
        'queue.lease_ttl_seconds', 'timeoutSec')] == [1, 3, 0.5, 8, [], 600, None]


@pytest.mark.parametrize('name', ['document_000', 'document_001'])
def test_every_value_of_a_complete_config_is_there_with_its_key(name):
    config = json.loads((CHECKOUT / 'tests' / 'configs' / f'{name}.json').read_text('utf-8'))
    found, _ = parse(config)
    assert found is not None

    sources = {source for _, source in told(**config).values()}

    assert sources == set(found.sources.values()) - {'version'}


@pytest.mark.parametrize('given, name, value, source', [
    ({'max_workers': 3}, 'max_workers', 3, 'max_workers'),
    ({'dry_run': True}, 'dry_run', True, 'dry_run'),
    ({'safetyGate': ['x']}, 'safetyGate', ['x'], 'safetyGate'),
    ({'v2_features': {'quota': {'a.b': {'rate': 3, 'per_seconds': 1}}}}, 'quota.a.b',
     {'rate': 3, 'per_seconds': 1}, 'v2_features.quota.a.b'),
    ({'limits': {'per_key': {'disk': 2}}}, 'limits.per_key.disk', 2, 'limits.per_key'),
    ({'stage_timeout': 9}, 'timeoutSec', 9, 'stage_timeout'),
    ({'retry_policy': {'enabled': False}}, 'retry.maxAttempts', 1, 'retry_policy.enabled'),
    ({'feature_flags': {'enable_smart_retry': True}}, 'retry.unknown', 'fail',
     'feature_flags.enable_smart_retry'),
    ({'retry_policy': {'circuit_breaker_threshold': 4}}, 'circuit_breaker_threshold', 4,
     'retry_policy.circuit_breaker_threshold'),
    ({'retry_policy': {'per_stage': {'a': {'max_attempts': 5}}}},
     'per_stage.a.retry.maxAttempts', 5, 'retry_policy.per_stage.a'),
    ({'queue': {'max_per_host': 2}}, 'queue.max_per_host', 2, 'queue.max_per_host'),
])
def test_a_setting_is_told_with_the_key_that_it_is_from(given, name, value, source):
    assert told(**given) == {name: (value, source)}


@pytest.mark.integration
@pytest.mark.slow
def test_doctor_prints_settings_and_their_sources(workspace, doctor):
    workspace.simple()
    path = workspace.write('pipeline_config.json', json.dumps(
        {'max_workers': 6, 'enable_parallel': True, 'safetyGate': []}))

    shown, found = doctor(), json.loads(doctor('--json').out)

    place = shown.lines.index(f'config: {path}')
    assert shown.lines[place + 1:place + 5] == [
        '  workers: 6 (max_workers with enable_parallel)', '  max_workers: 6 (max_workers)',
        '  enable_parallel: yes (enable_parallel)', '  safetyGate: none (safetyGate)']
    assert '  retry.maxAttempts: 3 (built-in)' in shown.lines
    assert found['config'] == str(path)
    assert found['settings']['max_workers'] == {'value': 6, 'source': 'max_workers'}


@pytest.mark.integration
@pytest.mark.slow
def test_doctor_knows_of_the_variable_and_of_the_gate(workspace, doctor, monkeypatch):
    workspace.simple()
    config = workspace.write('elsewhere/c.json', '{"safetyGate": ["passed"]}')
    monkeypatch.setenv('PIPELINE_MAX_WORKERS', '7')

    held = doctor('--config', config)
    workspace.write('passed')
    let_go = doctor('--config', config)

    assert '  workers: 1 (safetyGate)' in held.lines
    assert held.err.startswith("warning: safetyGate: 'passed' is missing")
    assert '  workers: 7 (PIPELINE_MAX_WORKERS)' in let_go.lines and let_go.err == ''


@pytest.mark.integration
@pytest.mark.slow
def test_away_from_any_pipeline_doctor_tells_of_the_host_alone(workspace, doctor):
    shown, found = doctor(), json.loads(doctor('--json').out)

    assert 'settings' not in found and 'config' not in found
    assert [line.split(':')[0] for line in shown.lines] == list(found)


@pytest.mark.integration
@pytest.mark.slow
def test_doctor_examines_although_the_definition_is_broken_and_changes_nothing(
        workspace, doctor):
    workspace.write('pipeline.json', '{')
    before = workspace.tree()

    shown = doctor()

    assert 'config: none' in shown.lines and '  workers: 1 (built-in)' in shown.lines
    assert workspace.tree() == before


@pytest.mark.integration
def test_doctor_refuses_a_broken_config_as_the_others_do(workspace, doctor):
    workspace.simple()
    workspace.write('pipeline_config.json', '{"dry_run": 1, "max_workers": 0}')

    assert doctor() == (2, '', 'pipeline_config.json: dry_run: expected true or false, got 1\n'
                               'pipeline_config.json: max_workers: expected a whole number from '
                               '1 to 1000, got 0\n')


# -- what the host can promise ----------------------------------------

@pytest.mark.integration
@pytest.mark.slow
def test_doctor_looks_at_disk_locks_clock_and_sqlite_and_changes_nothing(workspace, doctor):
    workspace.simple()
    before = workspace.tree()

    found = json.loads(doctor('--json').out)

    assert (found['locks'], found['clock'], found['missingModules']) == ('work', 'sane', [])
    assert found['freeBytes'] > 0 and found['sqlite'].count('.') == 2
    assert found['walReset'].startswith(('not in this version', 'in this version; not exposed'))
    assert {'fileSystem', 'networkFileSystem', 'freeInodes', 'problems', 'warnings'} <= set(found)
    assert workspace.tree() == before


@pytest.mark.integration
@pytest.mark.slow
def test_doctor_warns_of_a_clock_that_was_set_back_and_goes_on(workspace, doctor):
    workspace.simple()
    path = workspace.write('state/run_r1.json', '{}')
    os.utime(str(path), (9e9, 9e9))

    shown, found = doctor(), json.loads(doctor('--json').out)

    assert found['clock'].startswith('run_r1.json is ') and found['clock'] in found['warnings']
    assert shown.code == (1 if found['problems'] else 0)
    # A slow disk is warned of too.
    # (How many seconds it is from the future is another number a moment later.)
    said = found['clock'].split(' ', 3)[3]
    assert any(line.startswith('warnings: ') and said in line for line in shown.lines)

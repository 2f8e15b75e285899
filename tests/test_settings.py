"""A config becomes settings in the words of a pipeline, or every fault of it is told."""

import json
from pathlib import Path

import pytest

from stagerunner import settings
from stagerunner.definition import RETRY
from stagerunner.definition import merge
from stagerunner.errors import DefinitionError
from stagerunner.errors import UsageError
from stagerunner.schema import in_file_order
from stagerunner.settings import QueueSettings
from stagerunner.settings import Settings
from stagerunner.settings import Workers
from stagerunner.settings import load
from stagerunner.settings import missing_gates
from stagerunner.settings import parse
from stagerunner.settings import workers
from stagerunner.strictjson import parse as parse_json

#: The complete examples of the source documents, as they stand there.
CONFIGS = Path(__file__).parent / 'configs'

#: The example of the contract.
WHOLE = '''\
{ "version": "2.0.0", "stage_timeout": 7200, "log_level": "INFO", "dry_run": false,
  "retry_policy": { "enabled": true, "default_max_attempts": 3, "default_backoff_base": 2,
                    "default_backoff_max": 60, "circuit_breaker_threshold": 3,
                    "per_stage": { "journal_reviewer": { "max_attempts": 5, "backoff_base": 2,
                                                         "backoff_max": 120 } } },
  "limits": { "default": 8, "per_key": { "unpaywall": 2, "crossref": 3 } },
  "queue": { "max_workers": 8, "max_per_resolver": { "unpaywall": 2 }, "max_per_host": 4,
             "lease_ttl_seconds": 600, "heartbeat_seconds": 30, "max_job_attempts": 3,
             "retry_backoff_seconds": 60, "jitter_seconds": 15 },
  "version_history_path": "review_version_history.json", "safetyGate": [],
  "v2_features": { "max_workers": 4, "enable_parallel": false,
    "checkpoint_file": "pipeline_checkpoint.json",
    "retry": { "attempts": 3, "base": 0.5, "factor": 2.0, "max_delay": 60.0,
               "enable_jitter": true },
    "quota": { "gemini_api": { "rate": 60, "per_seconds": 60 } },
    "feature_flags": { "enable_parallel_processing": false, "enable_quota_management": true,
                       "enable_smart_retry": true } } }
'''


def good(**given):
    """Return the settings of a config without fault."""
    found, faults = parse(given)
    assert faults == []
    return found


def features(**given):
    return good(v2_features=given)


def faults(document):
    """Return the faults of a config as users see them."""
    found, told = parse(document)
    assert (found is None) == bool(told)
    return [fault.line('c') for fault in in_file_order(told, document)]


# -- what is read ------------------------------------------------------------------

def test_nothing_said_is_the_same_as_no_file():
    assert good() == Settings()


def test_the_example_of_the_contract_is_read_whole():
    found, told = parse(json.loads(WHOLE))

    assert told == []
    assert found._replace(sources={}) == Settings(
        version='2.0.0', quotas={'gemini_api': (60, 60)}, has_quotas=True, default_limit=8,
        limits_per_key={'unpaywall': 2, 'crossref': 3},
        base={'timeoutSec': 7200, 'retry': {
            'maxAttempts': 3, 'baseDelaySec': 0.5, 'factor': 2.0, 'maxDelaySec': 60.0,
            'unknown': 'fail'}},
        per_stage={'journal_reviewer': {'retry': {
            'maxAttempts': 5, 'baseDelaySec': 1, 'factor': 2, 'maxDelaySec': 120}}},
        max_workers=4, checkpoint_file='pipeline_checkpoint.json',
        version_history_path='review_version_history.json', circuit_breaker=3,
        queue=QueueSettings(max_per_resolver={'unpaywall': 2}))


def test_the_complete_example_of_document_000_is_read_in_its_flat_form():
    assert load(str(CONFIGS / 'document_000.json'))._replace(sources={}) == Settings(
        max_workers=4, checkpoint_file='pipeline_checkpoint.json', quotas={'api_x': (60, 60)},
        base={'retry': {'maxAttempts': 3, 'baseDelaySec': 0.5, 'factor': 2.0}})


def test_the_complete_example_of_document_001_is_read():
    found = load(str(CONFIGS / 'document_001.json'))

    whole = parse(json.loads(WHOLE))[0]
    assert found._replace(sources={}) == whole._replace(
        sources={}, limits_per_key={}, queue=QueueSettings())


def test_the_flat_and_the_nested_form_mean_the_same():
    flat = json.loads((CONFIGS / 'document_000.json').read_text())

    assert features(**flat)._replace(sources={}) == good(**flat)._replace(sources={})


def test_what_the_two_forms_say_together_is_joined():
    found = good(quota={'a': {'rate': 1, 'per_seconds': 2}}, retry={'attempts': 2},
                 v2_features={'quota': {'b': {'rate': 3, 'per_seconds': 0.5}},
                              'retry': {'attempts': 2, 'factor': 3}})

    assert found.quotas == {'a': (1, 2), 'b': (3, 0.5)}
    assert found.base == {'retry': {'maxAttempts': 2, 'factor': 3}}
    assert found.sources['quotas.a'] == 'quota.a'
    assert found.sources['quotas.b'] == 'v2_features.quota.b'


@pytest.mark.parametrize(('given', 'field', 'value'), [
    ({'dry_run': True}, 'dry_run', True),
    ({'log_level': 'DEBUG'}, 'log_level', 'DEBUG'),
    ({'safetyGate': ['INT-001', 'INT-003']}, 'safety_gate', ('INT-001', 'INT-003')),
    ({'limits': {'default': 3}}, 'default_limit', 3),
    ({'limits': {'per_key': {'a.b': 3}}}, 'limits_per_key', {'a.b': 3}),
    ({'queue': {'max_workers': 2}}, 'queue', QueueSettings(max_workers=2)),
    ({'queue': {'lease_ttl_seconds': 3, 'heartbeat_seconds': 1}}, 'queue',
     QueueSettings(lease_ttl_seconds=3, heartbeat_seconds=1)),
    ({'feature_flags': {'enable_quota_management': False}}, 'has_quotas', False),
    ({'$schema': 'x'}, 'version', None)])
def test_a_value_arrives_where_it_belongs(given, field, value):
    assert getattr(good(**given), field) == value


def test_a_quota_with_dots_in_its_name_is_one_name():
    found = features(quota={'api.example.org': {'rate': 1, 'per_seconds': 1}})

    assert found.quotas == {'api.example.org': (1, 1)}


# -- retries -----------------------------------------------------------------------

@pytest.mark.parametrize(('given', 'retry'), [
    pytest.param({}, None, id='nothing'),
    pytest.param({'retry_policy': {'default_max_attempts': 7}}, {'maxAttempts': 7}, id='policy'),
    pytest.param({'retry_policy': {'default_backoff_base': 3}},
                 {'baseDelaySec': 1, 'factor': 3}, id='powers-of-the-base'),
    pytest.param({'retry_policy': {'default_backoff_max': 9}}, {'maxDelaySec': 9}, id='cap'),
    pytest.param({'retry_policy': {'default_max_attempts': 7, 'default_backoff_base': 3},
                  'v2_features': {'retry': {'attempts': 2, 'base': 0.1}}},
                 {'maxAttempts': 2, 'baseDelaySec': 0.1, 'factor': 3}, id='v2-before-policy'),
    pytest.param({'retry_policy': {'enabled': True}}, None, id='enabled-by-itself'),
    pytest.param({'retry_policy': {'enabled': False, 'default_max_attempts': 7},
                  'v2_features': {'retry': {'attempts': 2}}},
                 {'maxAttempts': 1}, id='disabled-is-one-attempt'),
    pytest.param({'retry': {'enable_jitter': False}}, {'jitter': 0}, id='no-jitter'),
    pytest.param({'retry': {'enable_jitter': True}}, None, id='jitter'),
    pytest.param({'feature_flags': {'enable_smart_retry': True}}, {'unknown': 'fail'},
                 id='smart'),
    pytest.param({'feature_flags': {'enable_smart_retry': False}}, None, id='not-smart')])
def test_what_a_config_says_of_retries_comes_out_in_the_words_of_a_stage(given, retry):
    base = good(**given).base

    assert base == ({} if retry is None else {'retry': retry})
    told = []
    assert RETRY.check(base.get('retry', {}), (), told) == base.get('retry', {}) and told == []


def test_a_policy_that_is_switched_off_says_nothing_of_single_stages():
    found = good(retry_policy={'enabled': False, 'per_stage': {'a': {'max_attempts': 5}}})

    assert found.per_stage == {}


def test_a_stage_of_which_the_config_says_nothing_is_not_there():
    assert good(retry_policy={'per_stage': {'a': {}}}).per_stage == {}


def test_the_layers_merge_key_by_key():
    found = good(stage_timeout=5, retry={'attempts': 4, 'factor': 5},
                 retry_policy={'per_stage': {'a': {'max_attempts': 9}}})
    stage = {'name': 'a', 'retry': {'maxAttempts': 2, 'jitter': 0.5}, 'timeoutSec': 7}

    merged = merge(merge(found.base, stage), found.per_stage['a'])

    assert merged == {'name': 'a', 'timeoutSec': 7,
                      'retry': {'maxAttempts': 9, 'factor': 5, 'jitter': 0.5}}


# -- where it came from ---------------------------------------------------------------

def test_each_value_says_which_key_it_came_from():
    found = parse(json.loads(WHOLE))[0]

    assert {name: found.sources[name] for name in (
        'max_workers', 'timeoutSec', 'retry.maxAttempts', 'retry.unknown', 'quotas.gemini_api',
        'per_stage.journal_reviewer', 'queue.max_per_host', 'default_limit')} == {
            'max_workers': 'v2_features.max_workers', 'timeoutSec': 'stage_timeout',
            'retry.maxAttempts': 'v2_features.retry.attempts',
            'retry.unknown': 'v2_features.feature_flags.enable_smart_retry',
            'quotas.gemini_api': 'v2_features.quota.gemini_api',
            'per_stage.journal_reviewer': 'retry_policy.per_stage.journal_reviewer',
            'queue.max_per_host': 'queue.max_per_host', 'default_limit': 'limits.default'}
    assert good(max_workers=3).sources == {'max_workers': 'max_workers'}
    assert good(retry_policy={'enabled': False, 'default_backoff_base': 2}).sources == {
        'retry.maxAttempts': 'retry_policy.enabled',
        'retry.baseDelaySec': 'retry_policy.default_backoff_base',
        'retry.factor': 'retry_policy.default_backoff_base'}


# -- faults ------------------------------------------------------------------------

@pytest.mark.parametrize(('document', 'fault'), [
    ([], 'c: expected an object, got a list'),
    (None, 'c: expected an object, got null'),
    ({'max_worker': 4}, "c: unknown key 'max_worker', did you mean 'max_workers'?"),
    ({'v2_features': {'maxworkers': 4}},
     "c: v2_features: unknown key 'maxworkers', did you mean 'max_workers'?"),
    ({'v2_features': {'feature_flags': {'enable_smart_retries': True}}},
     "c: v2_features.feature_flags: unknown key 'enable_smart_retries', "
     "did you mean 'enable_smart_retry'?"),
    ({'max_workers': 0}, 'c: max_workers: expected a whole number from 1 to 1000, got 0'),
    ({'max_workers': 1001}, 'c: max_workers: expected at most 1000, got 1001'),
    ({'max_workers': '4'}, "c: max_workers: expected a whole number from 1 to 1000, got '4'"),
    ({'max_workers': True}, 'c: max_workers: expected a whole number from 1 to 1000, got true'),
    ({'enable_parallel': 1}, 'c: enable_parallel: expected true or false, got 1'),
    ({'stage_timeout': 0}, 'c: stage_timeout: expected a number above 0, got 0'),
    ({'log_level': 'info'}, "c: log_level: expected 'DEBUG' or 'INFO' or 'WARNING' or 'ERROR' "
                            "or 'CRITICAL', got 'info', did you mean 'INFO'?"),
    ({'checkpoint_file': ''}, 'c: checkpoint_file: must not be empty'),
    ({'safetyGate': 'x'}, "c: safetyGate: expected a list, got 'x'"),
    ({'safetyGate': [1]}, 'c: safetyGate[0]: expected a string, got 1'),
    ({'retry': {'attempts': 0}},
     'c: retry.attempts: expected a whole number from 1 to 1000, got 0'),
    ({'retry': {'base': -1}}, 'c: retry.base: expected a number of at least 0, got -1'),
    ({'quota': {'a': {'rate': 60}}}, "c: quota.a: key 'per_seconds' is missing"),
    ({'quota': {'a': {'per_seconds': 60}}}, "c: quota.a: key 'rate' is missing"),
    ({'quota': {'a': {'rate': 0.5, 'per_seconds': 1}}},
     'c: quota.a.rate: expected a whole number above 0, got 0.5'),
    ({'quota': {'a': {'rate': 1, 'per_seconds': 0}}},
     'c: quota.a.per_seconds: expected a number above 0, got 0'),
    ({'quota': {'': {'rate': 1, 'per_seconds': 1}}}, 'c: quota.: a name must not be empty'),
    ({'quota': {'a': 60}}, 'c: quota.a: expected an object, got 60'),
    ({'limits': {'per_key': {'x': 0}}},
     'c: limits.per_key.x: expected a whole number above 0, got 0'),
    ({'retry_policy': {'per_stage': {'a': {'attempts': 2}}}},
     "c: retry_policy.per_stage.a: unknown key 'attempts', did you mean 'max_attempts'?"),
    ({'queue': {'heartbeat_seconds': 201}},
     'c: queue.heartbeat_seconds: a lease of 600s is shorter than 3 heartbeats of 201s'),
    ({'queue': {'lease_ttl_seconds': 89}},
     'c: queue.lease_ttl_seconds: a lease of 89s is shorter than 3 heartbeats of 30s'),
    ({'queue': {'lease_ttl_seconds': True}},
     'c: queue.lease_ttl_seconds: expected a number above 0, got true'),
    ({'queue': {'lease_ttl_seconds': 60, 'heartbeat_seconds': -1}},
     'c: queue.heartbeat_seconds: expected a number above 0, got -1'),
    ({'max_workers': 2, 'v2_features': {'max_workers': 3}},
     'c: max_workers: v2_features.max_workers says something else; keep one of them'),
    ({'retry': {'factor': 2}, 'v2_features': {'retry': {'factor': 3}}},
     'c: retry.factor: v2_features.retry.factor says something else; keep one of them')])
def test_a_fault_is_told_at_its_place(document, fault):
    assert faults(document) == [fault]


def test_the_same_value_said_twice_is_no_fault():
    found = good(max_workers=2, v2_features={'max_workers': 2})

    assert found.max_workers == 2


def test_all_faults_are_told_in_one_go_in_the_order_of_the_file():
    document = parse_json(b'{"versoin": 1, "queue": {"max_workers": 0}, "limits": 3, '
                          b'"dry_run": 1, "dry_run": false, "v2_features": []}')

    assert faults(document) == [
        "c: duplicate key 'dry_run'",
        "c: unknown key 'versoin', did you mean 'version'?",
        'c: queue.max_workers: expected a whole number from 1 to 1000, got 0',
        'c: limits: expected an object, got 3',
        'c: v2_features: expected an object, got a list']


def test_a_lease_shorter_than_three_heartbeats_is_told_with_all_other_faults():
    document = parse_json(b'{"queue": {"heartbeat_seconds": 300, "max_per_host": 0}, "x": 1}')

    assert faults(document) == [
        'c: queue.heartbeat_seconds: a lease of 600s is shorter than 3 heartbeats of 300s',
        'c: queue.max_per_host: expected a whole number above 0, got 0',
        "c: unknown key 'x'"]


def test_what_is_no_number_is_compared_with_nothing():
    assert faults({'queue': {'heartbeat_seconds': 'x'}}) == [
        "c: queue.heartbeat_seconds: expected a number above 0, got 'x'"]
    assert faults({'queue': []}) == ['c: queue: expected an object, got a list']


def test_three_times_a_tenth_is_not_more_than_three_tenths():
    assert good(queue={'lease_ttl_seconds': 0.3, 'heartbeat_seconds': 0.1}).queue[4] == 0.1


# -- the file ----------------------------------------------------------------------

def test_the_faults_of_a_file_are_one_error_that_names_the_file(tmp_path):
    path = tmp_path / 'pipeline_config.json'
    path.write_text('{"max_workers": 0, "dry_run": 1}')

    with pytest.raises(DefinitionError) as raised:
        load(str(path))

    assert str(raised.value) == (
        'pipeline_config.json: max_workers: expected a whole number from 1 to 1000, got 0\n'
        'pipeline_config.json: dry_run: expected true or false, got 1')


@pytest.mark.parametrize(('content', 'fault'), [
    (b'', 'x.json: is empty'), (b'{"a": NaN}', 'x.json: NaN is not a JSON number'),
    (b'\xff', 'x.json: not UTF-8 at byte 0')])
def test_a_file_that_is_no_strict_json_is_a_fault(tmp_path, content, fault):
    (tmp_path / 'x.json').write_bytes(content)

    with pytest.raises(DefinitionError) as raised:
        load(str(tmp_path / 'x.json'))

    assert raised.value.faults == (fault,)


def test_a_file_that_is_not_there_is_a_fault():
    with pytest.raises(DefinitionError) as raised:
        load('conf/x.json')

    assert raised.value.faults == ('conf/x.json: there is no such file; name one with --config',)


# -- how many workers -----------------------------------------------------------------

PARALLEL = Settings(max_workers=6, is_parallel=True, sources={
    'max_workers': 'max_workers', 'is_parallel': 'enable_parallel'})
IDLE = Settings(max_workers=6, sources={'max_workers': 'v2_features.max_workers'})
SWITCHED = Settings(is_parallel=True, sources={'is_parallel': 'enable_parallel'})


@pytest.mark.parametrize(('given', 'flag', 'variable', 'is_experimental', 'n', 'source'), [
    (Settings(), None, None, False, 1, 'built-in'),
    (Settings(), None, '', False, 1, 'built-in'),
    (Settings(), 3, None, False, 3, '--max-workers'),
    (PARALLEL, 3, '5', True, 3, '--max-workers'),
    (PARALLEL, 1, '5', True, 1, '--max-workers'),
    (PARALLEL, None, '5', True, 5, 'PIPELINE_MAX_WORKERS'),
    (PARALLEL, None, None, False, 6, 'max_workers with enable_parallel'),
    (IDLE, None, None, False, 1, 'built-in'),
    (IDLE, None, '2', False, 2, 'PIPELINE_MAX_WORKERS'),
    (IDLE, None, None, True, 6, 'v2_features.max_workers with --enable-experimental'),
    (Settings(), None, None, True, 4, '--enable-experimental'),
    (SWITCHED, None, None, False, 4, 'enable_parallel')])
def test_who_decides_on_the_number_of_workers(given, flag, variable, is_experimental, n, source):
    assert workers(given, flag, variable,
                   is_experimental=is_experimental) == Workers(n, source)


@pytest.mark.parametrize(('plain', 'flag', 'source'), [
    (True, False, 'enable_parallel'),
    (False, True, 'feature_flags.enable_parallel_processing')])
@pytest.mark.parametrize(('form', 'prefix'), [(good, ''), (features, 'v2_features.')])
def test_either_switch_lets_the_number_of_workers_take_effect(form, prefix, plain, flag, source):
    found = form(max_workers=6, enable_parallel=plain,
                 feature_flags={'enable_parallel_processing': flag})

    assert workers(found, None, None) == Workers(
        6, f'{prefix}max_workers with {prefix}{source}')


@pytest.mark.parametrize('text', ['0', '-1', 'four', '1.5', ' 4', '1001', '99999', '٤', '1_0'])
def test_a_variable_that_is_no_number_of_workers_is_refused(text):
    with pytest.raises(UsageError, match='PIPELINE_MAX_WORKERS: expected a whole number from 1 '
                                         'to 1000, got '):
        workers(Settings(), None, text)


@pytest.mark.parametrize(('given', 'flag', 'variable'), [
    (Settings(), 8, None), (Settings(), None, '8'),
    (PARALLEL._replace(max_workers=8), None, None)])
def test_an_unmet_safety_gate_holds_every_request_to_one_worker(given, flag, variable):
    n, source, warnings = workers(given, flag, variable, missing=['INT-001', 'INT-003'])

    assert (n, source, len(warnings)) == (1, 'safetyGate', 1)
    assert warnings[0].startswith("safetyGate: 'INT-001', 'INT-003' is missing, so one worker "
                                  'runs instead of 8 (')


@pytest.mark.parametrize('flag', [1, None])
def test_an_unmet_safety_gate_is_no_news_for_one_worker(flag):
    assert workers(Settings(), flag, None, missing=['INT-001']).warnings == ()


def test_a_gate_is_met_when_its_file_is_there(tmp_path):
    given = Settings(safety_gate=('gates/a', 'b'))
    (tmp_path / 'b').write_text('')

    assert missing_gates(given, str(tmp_path)) == ('gates/a',)


def test_the_name_of_the_file_is_that_of_the_contract():
    assert settings.FILE == 'pipeline_config.json'

"""One item of the checkpoint file: how it changes, is counted and is spelled."""

import json

import pytest

from stagerunner.state.entries import UNTOUCHED
from stagerunner.state.entries import apply
from stagerunner.state.entries import is_document
from stagerunner.state.entries import new_entry
from stagerunner.state.entries import new_stats
from stagerunner.state.entries import recount
from stagerunner.state.entries import render

CHANGES = [{'stage': 'in_progress'}, {'retries': 1, 'error': 'x'},
           {'stage': 'completed', 'stages': {'judge': 'then'}}, {'stage': 'failed', 'error': 'y'},
           {'stage': 'not_started', 'simulated': True}, {'stage': 'completed'}]


def document(**entries):
    return {'run_id': 'ünïque', 'papers': entries, 'stages': {},
            'stats': dict(new_stats('papers'), retries=0)}


def spelled(data, *as_text):
    return json.loads(b''.join(render(data, as_text)).decode('utf-8'))


@pytest.mark.parametrize('count', range(len(CHANGES) + 1))
def test_entries_kept_as_text_are_the_same_as_dictionaries(count):
    plain, packed = document(), document()
    for change in CHANGES[:count]:
        whole = dict({'in': 'papers', 'id': 'a', 'at': 'now'}, **change)
        apply(plain, dict(whole))
        apply(packed, dict(whole), as_text=True)

    assert spelled(packed, 'papers') == spelled(plain) == plain


def test_counting_again_comes_to_the_same():
    data = document()
    for number, change in enumerate(CHANGES):
        apply(data, dict({'in': 'papers', 'id': f'{number}', 'at': 'now'}, **change),
              as_text=number % 2 == 0)
    counted = dict(data['stats'])

    recount(data, 'papers')

    assert data['stats'] == counted == {'total_papers': 6, 'completed_papers': 2,
                                        'failed_papers': 1, 'retries': 1}


@pytest.mark.parametrize('count', [0, 1, 999, 1000, 1001])
def test_however_many_entries_there_are_the_file_is_json(count):
    data = document(**{f'p{number} "ü"': UNTOUCHED for number in range(count)})

    found = spelled(data, 'papers')

    assert len(found['papers']) == count
    assert all(entry == new_entry() for entry in found['papers'].values())
    assert found['run_id'] == 'ünïque'


def test_times_of_stages_are_texts_and_not_entries():
    data = dict(document(), stages={'a': 'now', 'b': '{odd'})

    assert spelled(data, 'papers')['stages'] == {'a': 'now', 'b': '{odd'}


@pytest.mark.parametrize(('data', 'expected'), [
    ({}, True), ({'papers': {}}, True), ({'papers': {'a': new_entry()}}, True),
    ({'papers': {'a': {'stage': 'completed'}}}, True), ([], False), ({'papers': []}, False),
    ({'papers': {'a': 1}}, False), ({'stats': {'retries': 'x'}}, False),
    ({'papers': {'a': {}}}, False), ({'stats': 1}, False),
    ({'papers': {'a': {'stage': 'x', 'stages': []}}}, False),
    ({'papers': {'a': {'stage': 'x', 'retries': True}}}, False),
    ({'papers': {'a': {'stage': 'x', 'errors': {}}}}, False)])
def test_a_document_is_known_by_its_entries(data, expected):
    assert is_document(data, 'papers') is expected

"""Tests of `stagerunner.plan`: what follows from the facts about a task."""

from __future__ import annotations

from typing import Any

import pytest

from stagerunner.definition import Checkpointing
from stagerunner.definition import Stage
from stagerunner.errors import InputChanged
from stagerunner.errors import StageError
from stagerunner.events import MATCHED
from stagerunner.events import Reason
from stagerunner.facts import Facts
from stagerunner.fingerprint import make_parts
from stagerunner.plan import RESUME
from stagerunner.plan import RUN
from stagerunner.plan import SKIP
from stagerunner.plan import Decision
from stagerunner.plan import decide
from stagerunner.resume import ResumePoint
from stagerunner.retry import RetryPolicy
from stagerunner.state.marker import Marker

pytestmark = pytest.mark.unit

PARTS = make_parts([], ('bin/x.py', 'pp'), [], {'n': 1}, {}, '3.11')
POINT = ResumePoint(150, {'result.txt': 8812})
MARKER = Marker('work', 'k1', 'r0', '2025-12-01T10:00:00.000000+00:00', 0.1, True, PARTS, ())
DONE = Facts(key='k1', parts=PARTS, marker=MARKER, former_end='ok')
BROKEN = Reason('output missing', 'data/work/a', 'd1', None)


def stage(**changed: Any) -> Stage:
    given: dict = {
        'name': 'work', 'position': 0, 'processor': 'bin/x.py', 'inputs': (), 'outputs': (),
        'output_dir': 'data/work', 'params': {}, 'env': {}, 'is_idempotent': True,
        'checkpoint': Checkpointing(), 'retry': RetryPolicy(), 'timeout_s': None, 'grace_s': 5.0}
    return Stage(**dict(given, **changed))


def test_equal_key_and_sound_outputs_are_skipped():
    assert decide(stage(), DONE) == Decision(SKIP, (Reason(MATCHED),))


def test_a_skip_says_what_the_contract_says():
    assert MATCHED == 'idempotent key matched'


@pytest.mark.parametrize('facts, reasons', [
    pytest.param(DONE._replace(marker=None, former_end=''), ['never ran'], id='first time'),
    pytest.param(DONE._replace(marker=None, former_end='failed'), ['failed before'],
                 id='failed the last time'),
    pytest.param(DONE._replace(marker=None, former_end='interrupted'), ['interrupted before'],
                 id='interrupted the last time'),
    pytest.param(DONE._replace(marker=None), ['marker missing'], id='marker removed'),
    pytest.param(DONE._replace(marker=None, marker_fault='is empty'),
                 ['marker unreadable: is empty'], id='marker unreadable'),
    pytest.param(DONE._replace(key='k2', parts=dict(PARTS, params={'n': 2})),
                 ['param changed: n'], id='key changed'),
    pytest.param(DONE._replace(key='k2'), ['key of another format'], id='only the key differs'),
    pytest.param(DONE._replace(broken=(BROKEN,)), ['output missing: data/work/a'],
                 id='output missing'),
    pytest.param(DONE._replace(trouble=StageError('input x is missing')),
                 ['input x is missing'], id='trouble'),
    pytest.param(DONE._replace(trouble=InputChanged('x', 'it was read'), broken=(BROKEN,)),
                 ['input x changed while it was read; stop what writes it or give the stage '
                  'a copy'], id='trouble comes first'),
])
def test_what_is_not_done_runs_and_says_why(facts, reasons):
    decision = decide(stage(), facts)

    assert decision.action == RUN and decision.point is None
    assert [str(reason) for reason in decision.reasons] == reasons


@pytest.mark.parametrize('facts', [DONE, DONE._replace(marker=None, marker_fault='is empty')])
def test_without_idempotency_a_stage_always_runs(facts):
    assert decide(stage(is_idempotent=False), facts) == Decision(
        RUN, (Reason('idempotency is disabled'),))


def test_work_with_a_point_to_go_on_from_is_resumed():
    facts = DONE._replace(marker=None, resume_point=POINT)

    assert decide(stage(), facts) == Decision(RESUME, (Reason('marker missing'),), POINT)


def test_a_point_to_go_on_from_makes_no_work():
    assert decide(stage(), DONE._replace(resume_point=POINT)).action == SKIP

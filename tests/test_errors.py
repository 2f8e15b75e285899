"""Errors carry fields, say what is so in one form, and know the exit code they lead to."""

import errno
import inspect
import os
import pickle
import re

import pytest

from stagerunner import errors
from stagerunner.errors import DefinitionError
from stagerunner.errors import InputChanged
from stagerunner.errors import Interrupted
from stagerunner.errors import IsolationError
from stagerunner.errors import LeaseLost
from stagerunner.errors import LockTimeout
from stagerunner.errors import OfflineViolation
from stagerunner.errors import RunnerError
from stagerunner.errors import StageError
from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.errors import UsageError
from stagerunner.errors import os_fault

#: One of each: the error, its text, its exit code.
EXAMPLES = [
    pytest.param(UsageError('--run-id: too long'), '--run-id: too long', 2, id='UsageError'),
    pytest.param(DefinitionError(('a', 'b')), 'a\nb', 2, id='DefinitionError'),
    pytest.param(Unreadable('x.json', 'is empty'), 'x.json: is empty', 5, id='Unreadable'),
    pytest.param(StageError('input x is missing'), 'input x is missing', 1, id='StageError'),
    pytest.param(OfflineViolation('socket', 'bin/bad.py', 12),
                 "Offline violation: forbidden import 'socket' (bin/bad.py:12)", 1,
                 id='OfflineViolation'),
    pytest.param(InputChanged('in.txt', 'its stage ran'),
                 'input in.txt changed while its stage ran; stop what writes it or give the '
                 'stage a copy', 1, id='InputChanged'),
    pytest.param(LockTimeout("stage 'work'", 'locks/work.lock', 10.0, 'held by pid 7'),
                 "stage 'work' is busy: locks/work.lock still locked after 10s (held by pid 7); "
                 'wait for that run or stop it', 4, id='LockTimeout'),
    pytest.param(LockTimeout("run 'one'", 'locks/.run/one.lock', 0.0, 'held by another process'),
                 "run 'one' is busy: locks/.run/one.lock locked (held by another process); "
                 'wait for that run or stop it', 4, id='LockTimeout-at-once'),
    pytest.param(LeaseLost(7), 'queue entry 7 is not leased to this worker any more', 1,
                 id='LeaseLost'),
    pytest.param(IsolationError('--isolation strict: no fence'), '--isolation strict: no fence', 2,
                 id='IsolationError'),
    pytest.param(StateError('state/x', 'no space'), 'state/x: no space', 5, id='StateError'),
    pytest.param(Interrupted(2), 'interrupted by signal 2', 130, id='Interrupted-INT'),
    pytest.param(Interrupted(15), 'interrupted by signal 15', 143, id='Interrupted-TERM'),
]


@pytest.mark.parametrize(('error', 'text', 'code'), EXAMPLES)
def test_an_error_says_what_is_so_and_leads_to_its_exit_code(error, text, code):
    assert (str(error), error.exit_code) == (text, code)


@pytest.mark.parametrize(('error', 'text', 'code'), EXAMPLES)
def test_an_error_survives_pickling_with_all_its_fields(error, text, code):
    copy = pickle.loads(pickle.dumps(error))

    assert (type(copy), vars(copy), str(copy)) == (type(error), vars(error), text)


def test_there_is_an_example_of_every_class():
    classes = {value for value in vars(errors).values()
               if inspect.isclass(value) and issubclass(value, RunnerError)}

    assert classes - {RunnerError} == {type(example.values[0]) for example in EXAMPLES}


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    drawn, above = {}, {}
    for line in errors.__doc__.splitlines():
        found = re.match(r'    ([ │├└─]*)([A-Z]\w+)', line)
        if found:
            depth, name = len(found.group(1)) // 4, found.group(2)
            drawn[name] = above.get(depth - 1, 'Exception')
            above[depth] = name

    assert drawn == {value.__name__: value.__base__.__name__ for value in vars(errors).values()
                     if inspect.isclass(value) and issubclass(value, RunnerError)}


@pytest.mark.parametrize(('error', 'is_final'), [
    (StageError('x'), True), (OfflineViolation('ssl', 'x.py', 1), True),
    (InputChanged('x', 'it was read'), False)])
def test_only_an_input_that_moved_is_worth_another_attempt(error, is_final):
    assert error.is_final is is_final


@pytest.mark.parametrize(('number', 'said'), [
    pytest.param(errno.ENOSPC, 'no space left on device; free some space and run again',
                 id='full'),
    pytest.param(errno.EDQUOT, 'disk quota exceeded; free some space and run again', id='quota'),
    pytest.param(errno.EROFS, 'read-only file system; the workspace must be writable', id='ro'),
    pytest.param(errno.EACCES, 'permission denied; check who may read and write it', id='access'),
    pytest.param(errno.EPERM, 'operation not permitted; check who may read and write it',
                 id='owner'),
    pytest.param(errno.EIO, 'input/output error', id='other'),
])
def test_an_error_of_the_system_comes_with_advice_where_there_is_some(number, said):
    assert os_fault(OSError(number, os.strerror(number), 'path')) == said


def test_an_error_of_the_system_without_a_number_says_what_it_has():
    assert os_fault(OSError('Something Odd')) == 'something odd'


def test_exit_codes_are_those_of_the_contract():
    assert (errors.OK, errors.FAILED, errors.REFUSED, errors.BUG, errors.BUSY,
            errors.STATE) == (0, 1, 2, 3, 4, 5)

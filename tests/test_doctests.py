"""The examples in the docstrings of all modules are true."""

import doctest
import importlib

import pytest

from support import SOURCE

MODULES = ['.'.join(path.relative_to(SOURCE).with_suffix('').parts)
           for path in sorted((SOURCE / 'stagerunner').rglob('*.py'))
           if path.stem != '__init__']


@pytest.mark.parametrize('name', MODULES)
def test_the_examples_of_a_module_hold(name):
    failed, _ = doctest.testmod(importlib.import_module(name))

    assert failed == 0


def test_there_are_examples_to_run():
    tried = sum(len(test.examples) for name in MODULES
                for test in doctest.DocTestFinder().find(importlib.import_module(name)))

    assert len(MODULES) > 30 and tried >= 10

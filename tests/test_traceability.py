"""Each line of the source documents has a test that exists, or a part that will bring one."""

import ast
import re

import pytest

from support import CHECKOUT

PAGE = CHECKOUT / 'docs' / 'traceability.md'
SOURCES = ['003', '000', '001', '002', '004']

TEST = re.compile(r'`(tests/[\w/]+\.py)::(\w+)`')
PART = re.compile(r'\bpart ([2-7])\b')


def rows_of(source):
    """Return (line, covered by) of the table of one source document."""
    text = PAGE.read_text('utf-8').partition(f'\n## Document {source}: ')[2].partition('\n## ')[0]
    rows = [line.strip('|').split(' | ') for line in text.splitlines() if line.startswith('| ')]
    return [(line.strip(), covered.strip()) for line, covered in rows[1:]]


ALL = [pytest.param(line, covered, id=f'{source}: {line[:60]}')
       for source in SOURCES for line, covered in rows_of(source)]


@pytest.fixture(scope='session')
def known_tests():
    """Return every test function of the tree as (file, name)."""
    return {(file.relative_to(CHECKOUT).as_posix(), node.name)
            for file in (CHECKOUT / 'tests').rglob('test_*.py')
            for node in ast.walk(ast.parse(file.read_bytes()))
            if isinstance(node, ast.FunctionDef) and node.name.startswith('test_')}


@pytest.mark.parametrize('source', SOURCES)
def test_each_source_document_has_its_table(source):
    lines = [line for line, _ in rows_of(source)]

    assert len(lines) > 10
    assert len(set(lines)) == len(lines)


@pytest.mark.parametrize('line, covered', ALL)
def test_each_line_names_a_test_that_exists_or_a_part(line, covered, known_tests):
    named = TEST.findall(covered)

    assert named or PART.search(covered)
    assert [test for test in named if test not in known_tests] == []
    rest = PART.sub('', TEST.sub('', covered))
    assert '::' not in rest and 'tests/' not in rest and 'TBD' not in rest


def test_every_core_line_of_document_003_is_tested():
    """It is the document of part 1, and what it left to part 2 is there as well."""
    untested = [line for line, covered in rows_of('003') if not TEST.search(covered)]

    assert untested == []

"""The local files of a processor are found as Python finds them; so is what else it imports."""

import pytest

from stagerunner.errors import Unreadable
from stagerunner.files import digest_bytes
from stagerunner.imports import MAX_SOURCE_BYTES
from stagerunner.imports import Scanner
from stagerunner.imports import Wanted
from stagerunner.imports import find_imports
from stagerunner.imports import load_program


@pytest.fixture
def program(workspace):
    """Return a function: files to (paths of sources, modules from elsewhere with their places)."""
    def load(files, processor='bin/main.py', folders=()):
        for name, text in files.items():
            workspace.write(name, text)
        found = load_program(str(workspace.root), processor,
                             [str(workspace.path(folder)) for folder in folders])
        return ([source.path for source in found.sources],
                [f'{entry.module} {entry.path}:{entry.line}' for entry in found.imports])
    return load


def wanted(source):
    """Return the modules that a source imports, `from` ones with their names."""
    return [f'{entry.line} {"." * entry.level}{entry.module}'
            + (f' {",".join(entry.names)}' if entry.names else '')
            for entry in find_imports(source if isinstance(source, bytes) else source.encode())]


# -- statements ----------------------------------------

@pytest.mark.parametrize(('source', 'found'), [
    pytest.param('', [], id='nothing'),
    pytest.param('x = "import socket"\n# import ssl\n', [], id='text-and-comment'),
    pytest.param('import a', ['1 a'], id='import'),
    pytest.param('import a.b.c as d, e', ['1 a.b.c', '1 e'], id='several'),
    pytest.param('from a.b import c as d, e', ['1 a.b c,e'], id='from'),
    pytest.param('from a import *', ['1 a *'], id='star'),
    pytest.param('from a import (b,\n  c)', ['1 a b,c'], id='over-lines'),
    pytest.param('from . import a', ['1 . a'], id='relative'),
    pytest.param('from ..a.b import c', ['1 ..a.b c'], id='relative-module'),
    pytest.param('x = 1; import a', ['1 a'], id='after-semicolon'),
    pytest.param('x = \\\n  1; import a', ['2 a'], id='after-continuation'),
    pytest.param('x = 1\rimport a\r', ['2 a'], id='old-line-ends'),
    pytest.param('def f():\n  import a\nclass C:\n  from b import c\n', ['2 a', '4 b c'],
                 id='inside'),
    pytest.param('try:\n  import a\nexcept ImportError:\n  import b\n', ['2 a', '4 b'], id='try'),
    pytest.param('if False:\n  import a\nwhile 0: import b\n', ['2 a', '3 b'], id='never-run'),
    pytest.param('import z\nimport a\ndef f():\n  import m\nimport b\n',
                 ['1 z', '2 a', '4 m', '5 b'], id='in-the-order-of-lines'),
    pytest.param('#coding: latin-1\nimport a # \xe9\n'.encode('latin-1'), ['2 a'], id='latin-1'),
    pytest.param(b'\xef\xbb\xbfimport a', ['1 a'], id='byte-order-mark'),
    pytest.param('x = "\\d"\nimport a', ['2 a'], id='odd-escape'),
])
def test_every_import_statement_is_found_with_its_line(source, found):
    assert wanted(source) == found


@pytest.mark.parametrize(('source', 'found'), [
    pytest.param('import_module("socket")', ['1 socket'], id='bare'),
    pytest.param('importlib.import_module("socket")', ['1 socket'], id='attribute'),
    pytest.param('__import__("ssl")', ['1 ssl'], id='dunder'),
    pytest.param('builtins.__import__("ssl", globals(), None)', ['1 ssl'], id='builtins'),
    pytest.param('x = [y(importlib.import_module(\n  "http.client"))]', ['1 http.client'],
                 id='deep-inside'),
    pytest.param('import_module(name="socket")', ['1 socket'], id='by-keyword'),
    pytest.param('__import__(level=0, name="ssl")', ['1 ssl'], id='dunder-by-keyword'),
    pytest.param('import_module("sock" + "et")', [], id='computed'),
    pytest.param('import_module(name)', [], id='variable'),
    pytest.param('import_module(package="x")', [], id='no-name'),
    pytest.param('import_module(f"socket")', [], id='f-string'),
    pytest.param('import_module(b"socket")', [], id='bytes'),
    pytest.param('import_module(5)', [], id='number'),
    pytest.param('import_module("")', [], id='empty'),
    pytest.param('import_module(".x", "pkg")', [], id='relative'),
    pytest.param('import_module()', [], id='nothing'),
    pytest.param('load("socket")', [], id='other-function'),
    pytest.param('(lambda: 0)("socket")', [], id='no-name-of-function'),
])
def test_a_call_that_imports_a_literal_counts_like_a_statement(source, found):
    assert wanted(source) == found


@pytest.mark.parametrize(('source', 'found'), [
    pytest.param('match x:\n  case = (\nimport a\n', ['3 a'], id='syntax-error'),
    pytest.param('x = (\n  import a.b as c\n\x0cfrom d import e', ['2 a.b', '3 d'], id='indented'),
    pytest.param('(\nimport a, b.c as d ,e # import f', ['2 a', '2 b.c', '2 e'], id='several'),
    pytest.param('(\nif 1: import a; from b import c; import d', ['2 a', '2 b', '2 d'],
                 id='several-statements'),
    pytest.param('(\nimportant = from_here\nfrom . import a\nimport\n', [], id='look-alikes'),
    pytest.param(b'import a\0\n', ['1 a'], id='nul'),
    pytest.param(b'(\nimport a # \xff', ['2 a'], id='no-utf-8'),
    pytest.param(b'#coding: nonsense\nimport a', ['2 a'], id='unknown-coding'),
    pytest.param('import a\n' + '(' * 100_000, ['1 a'], id='too-deep'),
    pytest.param('import a\n' + '-' * 100_000 + '1', ['1 a'], id='too-long-a-chain'),
])
def test_a_source_that_cannot_be_parsed_is_searched_line_by_line(source, found):
    assert wanted(source) == found


# -- local files ----------------------------------------

def test_a_processor_without_helpers_is_a_program_of_one(program, workspace):
    sources, others = program({'bin/main.py': 'import os\nimport json.decoder\n'})

    assert sources == ['bin/main.py']
    assert others == ['os bin/main.py:1', 'json.decoder bin/main.py:2']


def test_helpers_are_followed_through_helpers_and_listed_after_the_processor(program):
    sources, others = program({
        'bin/main.py': 'import zeta\nimport alpha\n', 'bin/zeta.py': 'import deep\n',
        'bin/alpha.py': '', 'bin/deep.py': '\nimport ssl\n', 'bin/unused.py': 'import socket'})

    assert sources == ['bin/main.py', 'bin/alpha.py', 'bin/deep.py', 'bin/zeta.py']
    assert others == ['ssl bin/deep.py:2']


def test_helpers_that_import_one_another_are_read_once(program):
    sources, _ = program({'bin/main.py': 'import a', 'bin/a.py': 'import b, main',
                          'bin/b.py': 'import a'})

    assert sources == ['bin/main.py', 'bin/a.py', 'bin/b.py']


@pytest.mark.parametrize(('statement', 'sources'), [
    ('import pkg', ['pkg/__init__.py']),
    ('import pkg.mod', ['pkg/__init__.py', 'pkg/mod.py']),
    ('import pkg.sub.leaf', ['pkg/__init__.py', 'pkg/sub/__init__.py', 'pkg/sub/leaf.py']),
    ('from pkg import mod', ['pkg/__init__.py', 'pkg/mod.py']),
    ('from pkg import mod, NAME', ['pkg/__init__.py', 'pkg/mod.py']),
    ('from pkg.sub import leaf', ['pkg/__init__.py', 'pkg/sub/__init__.py', 'pkg/sub/leaf.py']),
    ('from pkg.mod import NAME', ['pkg/__init__.py', 'pkg/mod.py']),
    ('from pkg import *', ['pkg/__init__.py']),
    ('import pkg.missing', ['pkg/__init__.py']),
])
def test_a_package_is_loaded_from_the_top_down(program, statement, sources):
    found, others = program({'bin/main.py': statement, 'bin/pkg/__init__.py': '',
                             'bin/pkg/mod.py': '', 'bin/pkg/sub/__init__.py': '',
                             'bin/pkg/sub/leaf.py': ''})

    assert (found, others) == (['bin/main.py', *(f'bin/{name}' for name in sources)], [])


@pytest.mark.parametrize(('statement', 'found'), [
    ('from . import mod', ['pkg/mod.py']),
    ('from .mod import NAME', ['pkg/mod.py']),
    ('from .. import top', ['pkg/__init__.py', 'top.py']),
    ('from ..sub2 import leaf', ['sub2/__init__.py', 'sub2/leaf.py']),
    ('from ... import beyond', []),
    ('from ..... import beyond', []),
])
def test_relative_imports_start_at_their_package(program, statement, found):
    """The statement stands in `lib/pkg/__init__.py`, or in `lib/pkg/here.py` beside it."""
    layout = {'bin/lib/__init__.py': '', 'bin/lib/pkg/mod.py': '', 'bin/lib/top.py': '',
              'bin/lib/sub2/__init__.py': '', 'bin/lib/sub2/leaf.py': ''}
    in_module, _ = program(dict(layout, **{
        'bin/main.py': 'import lib.pkg.here', 'bin/lib/pkg/__init__.py': '',
        'bin/lib/pkg/here.py': statement}))
    in_package, _ = program(dict(layout, **{
        'bin/main.py': 'import lib.pkg', 'bin/lib/pkg/__init__.py': statement}))

    base = {'bin/main.py', 'bin/lib/__init__.py', 'bin/lib/pkg/__init__.py'}
    assert set(in_module) == base | {'bin/lib/pkg/here.py'} | {f'bin/lib/{name}' for name in found}
    assert set(in_package) == base | {f'bin/lib/{name}' for name in found}


def test_relative_imports_of_nothing_are_no_modules_from_elsewhere(program):
    assert program({'bin/main.py': 'from . import socket\nfrom .ssl import x\n'}) == (
        ['bin/main.py'], [])


def test_a_folder_without_init_is_a_namespace_package(program):
    sources, others = program({
        'bin/main.py': 'import ns.a\nimport ns.b.c\nfrom ns import d\nimport ns\nimport ns.no\n',
        'bin/ns/a.py': 'import ssl', 'bin/ns/b/c.py': '', 'bin/ns/d.py': 'from . import a'})

    assert sources == ['bin/main.py', 'bin/ns/a.py', 'bin/ns/b/c.py', 'bin/ns/d.py']
    assert others == ['ns.no bin/main.py:5', 'ssl bin/ns/a.py:1']


@pytest.mark.parametrize(('files', 'others'), [
    pytest.param({'bin/http/readme.txt': ''}, ['http.client bin/main.py:1', 'http bin/main.py:2'],
                 id='data'),
    # Bug: the folder was taken for the module, which in Python gives way to the real one.
    pytest.param({'bin/http/client.py': ''}, ['http.client bin/main.py:1', 'http bin/main.py:2'],
                 id='no-package'),
    pytest.param({'bin/http/__init__.py': '', 'bin/http/client.py': ''}, [], id='package'),
    pytest.param({'bin/http.py': ''}, [], id='module'),
])
def test_a_folder_with_the_name_of_a_standard_package_counts_only_as_a_package(
        program, files, others):
    assert program(dict(files, **{
        'bin/main.py': 'import http.client\nimport http\n'}))[1] == others


def test_a_local_module_hides_the_one_from_elsewhere(program):
    assert program({'bin/main.py': 'import socket', 'bin/socket.py': ''}) == (
        ['bin/main.py', 'bin/socket.py'], [])


def test_a_built_in_module_cannot_be_hidden(program):
    assert program({'bin/main.py': 'import sys', 'bin/sys.py': 'import socket'}) == (
        ['bin/main.py'], ['sys bin/main.py:1'])


def test_compiled_helpers_belong_to_the_program_and_are_not_looked_into(program):
    """A compiled module beside a source is what Python loads, so both count."""
    sources, others = program({
        'bin/main.py': 'import fast, plain, pkg.mod, both', 'bin/fast.cpython-311.so': b'import x',
        'bin/plain.pyc': b'\0', 'bin/pkg/mod.abi3.so': b'\0', 'bin/both.so': b'\0',
        'bin/both.py': 'import ssl', 'bin/bother.so': b'\0'})

    assert sources == ['bin/main.py', 'bin/both.py', 'bin/both.so', 'bin/fast.cpython-311.so',
                       'bin/pkg/mod.abi3.so', 'bin/plain.pyc']
    assert others == ['ssl bin/both.py:1']


def test_a_folder_called_like_a_module_is_not_read_as_one(program, workspace):
    (workspace.root / 'bin' / 'odd.py').mkdir(parents=True)
    (workspace.root / 'bin' / 'pkg' / '__init__.py').mkdir(parents=True)

    sources, others = program({'bin/main.py': 'import odd, pkg.mod', 'bin/pkg/mod.py': ''})

    assert (sources, others) == (['bin/main.py', 'bin/pkg/mod.py'], ['odd bin/main.py:1'])


def test_a_module_hides_a_folder_of_its_name(program):
    """Python finds no `sub` in the module `helper`, whatever lies in a folder of that name."""
    sources, others = program({'bin/main.py': 'import helper.sub', 'bin/helper.py': '',
                               'bin/helper/sub.py': 'import socket'})

    assert (sources, others) == (['bin/main.py', 'bin/helper.py'], [])


def test_further_folders_are_searched_after_the_own_one(program):
    sources, others = program({
        'bin/main.py': 'import a, b, c', 'bin/a.py': '', 'lib/a.py': 'import ssl', 'lib/b.py': '',
        'lib2/b.py': 'import ssl', 'lib2/c.py': 'import d', 'lib/d.py': ''},
        folders=['lib', 'bin', 'lib2', 'missing'])

    assert (sources, others) == (['bin/main.py', 'bin/a.py', 'lib/b.py', 'lib/d.py',
                                  'lib2/c.py'], [])


def test_helpers_are_looked_for_where_a_linked_processor_really_lies(program, workspace):
    workspace.write('real/helper.py', '')
    workspace.write('real/main.py', 'import helper')
    workspace.path('bin').mkdir()
    workspace.path('bin/main.py').symlink_to('../real/main.py')

    assert program({})[0] == ['bin/main.py', 'real/helper.py']


def test_a_helper_outside_of_the_workspace_is_shown_by_its_whole_path(program, tmp_path):
    (tmp_path / 'outside').mkdir()
    (tmp_path / 'outside' / 'helper.py').write_text('import ssl')

    sources, others = program({'bin/main.py': 'import helper'}, folders=['../outside'])

    assert sources[1].endswith('outside/helper.py') and sources[1].startswith('/')
    assert others[0].endswith('outside/helper.py:1')


# -- bytes ----------------------------------------

def test_the_bytes_that_are_scanned_are_the_bytes_that_are_hashed(workspace):
    workspace.write('bin/main.py', b'import helper\n')
    workspace.write('bin/helper.py', b'x = 1\r\n')

    found = load_program(str(workspace.root), 'bin/main.py')

    assert [source.digest for source in found.sources] == [
        digest_bytes(b'import helper\n'), digest_bytes(b'x = 1\r\n')]
    assert found.sources[1].absolute == str(workspace.path('bin/helper.py').resolve())


@pytest.mark.parametrize(('make', 'error'), [
    pytest.param(lambda path: None, FileNotFoundError, id='missing'),
    pytest.param(lambda path: path.mkdir(), Unreadable, id='folder'),
    pytest.param(lambda path: path.symlink_to(path), Unreadable, id='loop'),
])
def test_a_processor_that_cannot_be_read_is_an_error(workspace, make, error):
    workspace.path('bin').mkdir()
    make(workspace.path('bin/main.py'))

    with pytest.raises(error):
        load_program(str(workspace.root), 'bin/main.py')


def test_a_source_that_nobody_writes_by_hand_is_refused(workspace):
    with workspace.write('main.py').open('wb') as big:
        big.truncate(MAX_SOURCE_BYTES + 1)

    with pytest.raises(Unreadable, match='is larger than 16 MiB'):
        Scanner().scan(str(workspace.path('main.py')))


def test_a_scanner_that_remembers_takes_the_place_of_the_plain_one(workspace):
    class Remembering(Scanner):
        def scan(self, path):
            return 'digest', [Wanted('socket', (), 0, 7)]

    workspace.write('main.py')

    found = load_program(str(workspace.root), 'main.py', scanner=Remembering())

    assert found.sources[0].digest == 'digest' and found.imports[0].line == 7

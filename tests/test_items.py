"""Collections are expanded into items with ids that are safe as names, and stages are filled."""

import json
import os
import random

import pytest

from stagerunner.definition import Items
from stagerunner.definition import parse
from stagerunner.errors import DefinitionError
from stagerunner.files import digest_bytes
from stagerunner.items import Item
from stagerunner.items import encode
from stagerunner.items import expand
from stagerunner.items import filler
from support import stage

pytestmark = pytest.mark.unit


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text('')


def globbed(root, pattern):
    """Return (id, path) of what a glob finds."""
    return [(item.id, item.path) for item in expand(str(root), 'papers', Items('glob', pattern))]


def rows(root, *lines):
    (root / 'rows.jsonl').write_bytes(b''.join(lines))
    return expand(str(root), 'papers', Items('jsonl', 'rows.jsonl', 'key'))


def refused(function, *arguments):
    with pytest.raises(DefinitionError) as found:
        function(*arguments)
    return list(found.value.faults)


# -- ids as names ------------------------------------------------------------------

@pytest.mark.parametrize(('name', 'encoded'), [
    ('paper_0001.pdf', 'paper_0001.pdf'), ('-x', '-x'), ('a.b-c_D', 'a.b-c_D'), ('x.', 'x.'),
    ('doi:10.1234/x', 'doi%3A10.1234%2Fx'), ('a b', 'a%20b'), ('100%', '100%25'),
    ('~', '%7E'), ('a~b', 'a%7Eb'), ('ü', '%C3%BC'), ('\n', '%0A'), ('日', '%E6%97%A5'),
    ('.', '%2E'), ('..', '%2E%2E'), ('.hidden', '%2Ehidden'), ('..a.', '%2E%2Ea.'),
    ('con', '%63on'), ('CON', '%43ON'), ('nul.txt', '%6Eul.txt'), ('Lpt1.a.b', '%4Cpt1.a.b'),
    ('console', 'console'), ('com0', 'com0'), ('a.con', 'a.con'), ('con x', 'con%20x'),
    ('x' * 100, 'x' * 100), ('/', '%2F'), ('a[1]', 'a%5B1%5D'),
])
def test_an_id_becomes_one_path_component(name, encoded):
    assert encode(name) == encoded


@pytest.mark.parametrize(('name', 'kept'), [
    ('x' * 101, 'x' * 91), ('x' * 90 + '/' * 9, 'x' * 90), ('x' * 89 + '/' * 9, 'x' * 89),
    ('x' * 88 + '/' * 9, 'x' * 88 + '%2F'), ('ü' * 40, '%C3%BC' * 15), ('.' * 40, '%2E' * 30),
])
def test_what_is_too_long_is_cut_between_letters_and_marked(name, kept):
    assert encode(name) == f'{kept}~{digest_bytes(name.encode())[:8]}'
    assert len(encode(name)) <= 100


def test_different_ids_have_different_names():
    rng = random.Random(3)
    letters = 'aA.%~/_2EFCcon:ü '
    names = {''.join(rng.choice(letters) for _ in range(rng.choice([1, 2, 3, 8, 99, 101, 130])))
             for _ in range(20_000)}

    assert len({encode(name) for name in names}) == len(names) > 10_000


# -- globs -------------------------------------------------------------------------

def test_a_glob_finds_files_sorted_by_path_and_no_hidden_ones(tmp_path):
    touch(tmp_path, 'in/b.txt', 'in/a.txt', 'in/.c.txt', 'in/d.pdf', 'in/B.txt')
    (tmp_path / 'in' / 'e.txt').mkdir()

    assert globbed(tmp_path, './in//*.txt') == [
        ('B.txt', 'in/B.txt'), ('a.txt', 'in/a.txt'), ('b.txt', 'in/b.txt'),
        ('e.txt', 'in/e.txt')]
    assert globbed(tmp_path, 'in/.*') == []


def test_an_item_of_a_glob_has_the_name_of_its_file(tmp_path):
    touch(tmp_path, 'in/a b.tar.gz')

    assert expand(str(tmp_path), 'papers', Items('glob', 'in/*')) == (Item(
        'a b.tar.gz', 'a%20b.tar.gz', 'in/a b.tar.gz', 'a b.tar.gz', 'a b.tar', None, True),)


def test_where_two_names_are_equal_the_path_below_the_fixed_part_is_the_id(tmp_path):
    touch(tmp_path, 'in/1/x.txt', 'in/2/x.txt', 'in/2/y.txt', 'in/x.txt', 'in/.h/z.txt')

    assert globbed(tmp_path, 'in/**/*.txt') == [
        ('1/x.txt', 'in/1/x.txt'), ('2/x.txt', 'in/2/x.txt'), ('y.txt', 'in/2/y.txt'),
        ('x.txt', 'in/x.txt')]


@pytest.mark.parametrize(('pattern', 'paths'), [
    ('none/*', []), ('in/x.txt/*', []), ('in/x.txt', ['in/x.txt']), ('in/[x].txt', ['in/[x].txt']),
    ('*/x.txt', ['in/x.txt']), ('in/**', ['in/.a.partial', 'in/[x].txt', 'in/x.txt'][1:]),
    ('*/.a.partial/*', []), ('*', ['in']), ('i?/[[]x].txt', ['in/[x].txt']),
])
def test_a_glob_may_be_anything(tmp_path, pattern, paths):
    touch(tmp_path, 'in/x.txt', 'in/[x].txt', 'in/.a.partial/r')

    assert [path for _, path in globbed(tmp_path, pattern)] == paths


def test_a_glob_may_lead_outside(tmp_path):
    touch(tmp_path, 'out/x.txt', 'out/deep/x.txt', 'root/a')

    for pattern in ('*.txt', '*/*.txt'):
        found = globbed(tmp_path / 'root', str(tmp_path / 'out' / pattern))
        assert [name for name, _ in found] == ['x.txt']
        assert os.path.exists(found[0][1])


@pytest.mark.skipif(os.name != 'posix' or os.uname().sysname == 'Darwin', reason='names in UTF-8')
def test_a_file_whose_name_is_no_text_is_refused(tmp_path):
    (tmp_path / os.fsdecode(b'a\xff')).write_text('')

    assert refused(globbed, tmp_path, '*') == [
        "items.papers: 'a\\udcff' is not UTF-8; rename that file"]


# -- lists, rows, the queue ----------------------------------------------------------

def test_an_item_of_a_list_is_any_text(tmp_path):
    items = Items('list', ('doi:10.1/x.y', 'b', 'a/'))

    assert expand(str(tmp_path), 'papers', items) == (
        Item('doi:10.1/x.y', 'doi%3A10.1%2Fx.y', 'doi:10.1/x.y', 'x.y', 'x'),
        Item('b', 'b', 'b', 'b', 'b'), Item('a/', 'a%2F', 'a/', 'a', 'a'))


def test_a_row_becomes_a_file_with_its_content(tmp_path):
    first, second = rows(tmp_path, b'{"z": 1, "key": "a/b"}\n\n',
                         b' {"key": 7, "t": "\xc3\xbc"}\r\n')

    assert first == Item('a/b', 'a%2Fb', 'state/items/papers/a%2Fb.json', 'b', 'b',
                         b'{"key":"a/b","z":1}\n')
    assert second[:3] == ('7', '7', 'state/items/papers/7.json')
    assert json.loads(second.content.decode()) == {'key': 7, 't': 'ü'}


def test_every_bad_row_is_told_with_its_line(tmp_path):
    lines = [b'{"key": "a"}\n', b'{"key": \n', b'[]\n', b'{"kee": 1}\n', b'{"key": ""}\n',
             b'{"key": true}\n', b'{"key": "a"}\n', b'{"key": "b", "x": 1, "x": 2}\n',
             b'{"key": NaN}\n', b'\xff\n', b'{"key": "x\\u0000"}\n', b'{"key": "last"}']

    found = refused(rows, tmp_path, *lines)

    assert found == [
        'rows.jsonl:2: not valid JSON at column 9: Expecting value',
        'rows.jsonl:3: expected an object, got a list',
        "rows.jsonl:4: key 'key' is missing",
        "rows.jsonl:5: key 'key': expected a string or a whole number, got ''",
        "rows.jsonl:6: key 'key': expected a string or a whole number, got true",
        "rows.jsonl:7: 'a' is the id of line 1 too",
        "rows.jsonl:8: duplicate key 'x'",
        'rows.jsonl:9: NaN is not a JSON number',
        'rows.jsonl:10: not UTF-8 at byte 0',
        "rows.jsonl:11: key 'key': expected a string or a whole number, got 'x\\x00'"]


def test_a_file_of_nothing_but_faults_does_not_flood(tmp_path):
    found = refused(rows, tmp_path, b'x\n' * 5000)

    assert len(found) == 21 and found[-1] == 'rows.jsonl: and 4980 more faults'


@pytest.mark.parametrize(('make', 'line'), [
    (lambda path: None, 'rows.jsonl: there is no such file; items.papers needs it'),
    (lambda path: path.mkdir(), 'rows.jsonl: is a folder, not a file'),
])
def test_rows_that_cannot_be_read_are_refused(tmp_path, make, line):
    make(tmp_path / 'rows.jsonl')

    assert refused(expand, str(tmp_path), 'papers', Items('jsonl', 'rows.jsonl', 'key')) == [line]


def test_the_queue_has_no_items_here(tmp_path):
    assert expand(str(tmp_path), 'papers', Items('queue', None)) == ()


def test_two_ids_that_end_up_with_one_name_are_refused(tmp_path):
    """No two texts with the same digits are at hand, so the same id twice stands for them."""
    twin = Items('list', ('x', 'y', 'x'))

    assert expand(str(tmp_path), 'papers', twin._replace(source=('x', 'y')))
    with pytest.raises(DefinitionError):
        expand(str(tmp_path), 'papers', twin)


# -- placeholders ------------------------------------------------------------------

def declared(**keys):
    """Return a stage that fans out."""
    parsed = parse({'name': 'x', 'items': {'papers': {'glob': '*'}},
                    'stages': [stage(forEach='papers', **keys)]})
    assert parsed.faults == []
    return parsed.pipeline.stages[0]


FOUND = Item('1/a b.txt', '1%2Fa%20b.txt', 'in/1/a b.txt', 'a b.txt', 'a b', None, True)
ROW = Item('x/doi:1.2', 'x%2Fdoi%3A1.2', 'state/items/p/x.json', 'doi:1.2', 'doi:1', b'{}\n')


@pytest.mark.parametrize(('item', 'safe'), [
    pytest.param(FOUND, ('1%2Fa%20b.txt', 'in/1/a b.txt', 'a b.txt', 'a b'), id='glob'),
    pytest.param(ROW, ('x%2Fdoi%3A1.2', 'state/items/p/x.json', 'doi%3A1.2', 'doi%3A1'),
                 id='row'),
])
def test_placeholders_are_filled_with_safe_names_in_paths_and_raw_ones_elsewhere(item, safe):
    every = '{item.id}|{item.path}|{item.name}|{item.stem}'

    filled = filler(declared(inputs=['100%s', every], outputDir=f'data/{every}', outputs=[every],
                             params={'a': {'b': [every, 1]}, '{item.id}': '{item}'},
                             env={'A': every, 'B': 'x'}))(item)

    path, raw = '|'.join(safe), '|'.join((item.id, item.path, item.name, item.stem))
    assert filled.inputs == ('100%s', path) and filled.outputs == (path,)
    assert filled.output_dir == f'data/{path}'
    assert filled.params == {'a': {'b': [raw, 1]}, '{item.id}': '{item}'}
    assert filled.env == {'A': raw, 'B': 'x'}


def test_what_is_filled_in_is_not_looked_at_again():
    item = FOUND._replace(id='{item.path}%s', name='{item.id}')

    assert filler(declared(params={'a': '{item.id}{item.name}'}))(item).params == {
        'a': '{item.path}%s{item.id}'}


def test_an_absolute_path_in_an_output_folder_stays_inside():
    item = FOUND._replace(path='/abs/x.txt')

    assert filler(declared(outputDir='data/{item.path}'))(item).output_dir == 'data/abs/x.txt'


def test_a_stage_is_made_once_per_item_and_shares_what_is_the_same():
    template = declared(params={'id': '{item.id}', 'same': {'x': [1]}})
    make = filler(template)

    one, two = make(FOUND), make(ROW)

    assert (one.params['id'], two.params['id']) == (FOUND.id, ROW.id)
    assert template.params['id'] == '{item.id}' and one.params['same'] is two.params['same']
    assert one._replace(params={}) == template._replace(params={})


def test_a_stage_without_placeholders_is_itself():
    template = declared()

    assert filler(template)(FOUND) is template

"""Tests of `stagerunner.fingerprint`: what goes into a key, and which digests are believed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any
from typing import Dict

import pytest

from fakes import FakeClock
from stagerunner import fingerprint
from stagerunner.changes import changes
from stagerunner.errors import Unreadable
from stagerunner.events import Reason
from stagerunner.files import stat_of
from stagerunner.fingerprint import Digests
from stagerunner.fingerprint import Expanded
from stagerunner.fingerprint import Input
from stagerunner.fingerprint import canonical
from stagerunner.fingerprint import digest_input
from stagerunner.fingerprint import expand_inputs
from stagerunner.fingerprint import is_unchanged
from stagerunner.fingerprint import key_of
from stagerunner.fingerprint import make_parts
from stagerunner.fingerprint import processor_version
from stagerunner.fingerprint import snapshot_of
from stagerunner.fingerprint import stage_key

pytestmark = pytest.mark.unit

#: A file this old is not racy any more.
HOUR_NS = 3_600_000_000_000


def sha(data: bytes) -> str:
    """Return a digest, computed without the code under test."""
    return hashlib.sha256(data).hexdigest()


def old_file(path: Path, content: bytes = b'content') -> str:
    """Make a file and let its time of change lie behind; return its path."""
    path.write_bytes(content)
    return str(path)


def later() -> FakeClock:
    """Return a clock on which every file is an hour old."""
    return FakeClock(now=time.time() + 3600)


def plant(digests: Digests, path: str) -> None:
    """Let a wrong digest stand beside the right stat of a file."""
    digests.known[path] = digests.known[path].replace(sha(Path(path).read_bytes()), 'planted')


@pytest.fixture
def digests(tmp_path: Path) -> Digests:
    return Digests(str(tmp_path / 'index.json'), later())


# -- the key ----------------------------------------

def parts(**changed: Any) -> Dict[str, Any]:
    """Return what a key is made of, some of it changed."""
    given: Dict[str, Any] = {
        'inputs': [Input('a.txt', 'd1', None), Input('b.txt', 'd2', None)],
        'processor': ('bin/x.py', 'pp'), 'helpers': [('bin/h.py', 'hh')],
        'params': {'n': 1}, 'env': {'LANG': 'C'}, 'python': '3.11'}
    return make_parts(**dict(given, **changed))


def test_the_key_is_the_documented_formula():
    """SHA256( SHA256(in1) | SHA256(in2) | ... | processor_version ), document 003."""
    assert stage_key(['aa', 'bb'], 'pp') == sha(b'aa|bb|pp')
    assert stage_key([], 'pp') == sha(b'pp')


def test_the_key_of_parts_folds_all_but_input_contents_into_the_processor_version():
    version = sha(json.dumps(
        {'format': 1, 'inputs': ['a.txt', 'b.txt'], 'processor': 'pp',
         'helpers': [['bin/h.py', 'hh']], 'params': {'n': 1}, 'env': {'LANG': 'C'},
         'options': {}, 'python': '3.11'},
        sort_keys=True, separators=(',', ':')).encode('ascii'))

    assert processor_version(parts()) == version
    assert key_of(parts()) == sha(f'd1|d2|{version}'.encode('ascii'))


def test_equal_parts_have_equal_keys_in_whatever_order_their_keys_were_written():
    assert key_of(parts(params={'a': 1, 'b': 2})) == key_of(parts(params={'b': 2, 'a': 1}))


def test_a_processor_that_was_moved_keeps_the_key():
    assert key_of(parts(processor=('bin/moved.py', 'pp'))) == key_of(parts())


A, B, C = Input('a.txt', 'd1', None), Input('b.txt', 'd2', None), Input('c.txt', 'd3', None)


@pytest.mark.parametrize('changed, reasons', [
    pytest.param({'inputs': [A, B._replace(digest='d9')]},
                 [Reason('input changed', 'b.txt', 'd2', 'd9')], id='input content'),
    pytest.param({'inputs': [A, B._replace(name='z.txt')]},
                 [Reason('input renamed', 'z.txt', 'b.txt', 'z.txt')], id='input name'),
    pytest.param({'inputs': [B, A]}, [Reason('order of inputs changed')], id='order'),
    pytest.param({'inputs': [A, B, C]}, [Reason('input added', 'c.txt', None, 'd3')], id='added'),
    pytest.param({'inputs': [A]}, [Reason('input removed', 'b.txt', 'd2', None)], id='removed'),
    pytest.param({'inputs': [A, A, B]}, [Reason('order of inputs changed')], id='given twice'),
    pytest.param({'processor': ('bin/x.py', 'p2')},
                 [Reason('processor changed', 'bin/x.py', 'pp', 'p2')], id='processor'),
    pytest.param({'helpers': [('bin/h.py', 'h2')]},
                 [Reason('helper module changed', 'bin/h.py', 'hh', 'h2')], id='helper'),
    pytest.param({'helpers': []},
                 [Reason('helper module changed', 'bin/h.py', 'hh', None)], id='helper gone'),
    pytest.param({'helpers': [('bin/h.py', 'hh'), ('bin/i.py', 'ii')]},
                 [Reason('helper module changed', 'bin/i.py', None, 'ii')], id='helper new'),
    pytest.param({'params': {'n': 2}}, [Reason('param changed', 'n', '1', '2')], id='param'),
    pytest.param({'params': {'n': True}}, [Reason('param changed', 'n', '1', 'true')],
                 id='param of another type'),
    pytest.param({'params': {'n': 1, 'm': None}}, [Reason('param changed', 'm', None, 'null')],
                 id='param added'),
    pytest.param({'env': {}}, [Reason('env changed', 'LANG', '"C"', None)], id='env'),
    pytest.param({'python': '3.12'}, [Reason('python changed', '', '3.11', '3.12')], id='python'),
    pytest.param({'inputs': [A], 'params': {}},
                 [Reason('input removed', 'b.txt', 'd2', None),
                  Reason('param changed', 'n', '1', None)], id='two things'),
])
def test_each_change_is_a_new_key_and_is_named(changed, reasons):
    assert key_of(parts(**changed)) != key_of(parts())
    assert changes(parts(), parts(**changed)) == reasons


@pytest.mark.parametrize('old', [
    {}, {'inputs': 3}, {'inputs': [['a']]}, dict(parts(), params=3), dict(parts(), helpers=None),
    dict(parts(), format=0),
])
def test_parts_of_another_shape_are_one_reason(old):
    assert changes(old, parts()) == [Reason('key of another format')]


def test_canonical_json_is_ascii_without_spaces_and_sorted():
    assert canonical({'b': 'é', 'a': [1, {}]}) == b'{"a":[1,{}],"b":"\\u00e9"}'


# -- which digests are believed ----------------------------------------

def test_an_unchanged_old_file_is_not_read_again(digests, tmp_path):
    """Shown by planting a wrong digest beside the right stat."""
    path = old_file(tmp_path / 'a')
    assert digests.of(path) == (sha(b'content'), stat_of(os.stat(path)))

    plant(digests, path)

    assert digests.of(path)[0] == 'planted'


@pytest.mark.parametrize('is_planted', [True, False])
def test_where_a_stat_does_not_tell_every_file_is_read(digests, tmp_path, monkeypatch, is_planted):
    """Windows has no time of change: an edit may keep every figure of a stat."""
    path = old_file(tmp_path / 'a')
    digests.of(path)
    plant(digests, path)
    monkeypatch.setattr(fingerprint, '_STAT_TELLS', is_planted)

    assert digests.of(path)[0] == ('planted' if is_planted else sha(b'content'))


def test_an_edit_that_keeps_size_and_mtime_is_seen(digests, tmp_path):
    path = old_file(tmp_path / 'a', b'one')
    digests.of(path)
    times = os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns

    Path(path).write_bytes(b'two')
    os.utime(path, ns=times)

    assert os.stat(path).st_mtime_ns == times[1]
    assert digests.of(path)[0] == sha(b'two')


def test_a_touch_keeps_the_digest(digests, tmp_path):
    path = old_file(tmp_path / 'a')
    before = digests.of(path)[0]

    os.utime(path)

    assert digests.of(path)[0] == before


@pytest.mark.parametrize('age_s, mtime_ns, is_kept', [
    pytest.param(0.0, None, False, id='just changed'),
    pytest.param(0.09, None, False, id='within the blur of the clock'),
    pytest.param(0.15, None, True, id='older than the blur'),
    pytest.param(1.5, 1_600_000_000_000_000_000, False, id='whole seconds blur more'),
    pytest.param(2.2, 1_600_000_000_000_000_000, True, id='older than two seconds'),
    pytest.param(-5.0, None, False, id='from the future'),
])
def test_a_racily_clean_file_is_hashed_again(tmp_path, age_s, mtime_ns, is_kept):
    path = old_file(tmp_path / 'a')
    os.utime(path, ns=(mtime_ns or 1_600_000_000_000_000_001,) * 2)
    changed_s = os.stat(path).st_ctime_ns / 1e9
    digests = Digests(str(tmp_path / 'index.json'), FakeClock(now=changed_s + age_s))

    digests.of(path)

    assert (path in digests.known) == is_kept


def test_a_file_that_became_racy_is_forgotten(tmp_path):
    path = old_file(tmp_path / 'a')
    clock = later()
    digests = Digests(str(tmp_path / 'index.json'), clock)
    digests.of(path)
    digests.is_dirty = False

    Path(path).write_bytes(b'other')
    clock.set_wall(os.stat(path).st_ctime_ns / 1e9)
    digests.of(path)

    assert digests.known == {} and digests.is_dirty


def test_what_was_just_published_is_believed_for_this_run_only(digests, tmp_path):
    path = old_file(tmp_path / 'out')
    digests.published(path, 'known from hashing it')

    assert digests.of(path)[0] == 'known from hashing it'

    digests.save()
    again = Digests(digests.path, digests.clock)
    again.load()
    assert again.of(path)[0] == sha(b'content')


@pytest.fixture
def young(tmp_path) -> Digests:
    """Return digests on whose clock the file `out` has just been published."""
    path = old_file(tmp_path / 'out')
    os.utime(path, ns=(1_600_000_000_000_000_001,) * 2)
    made = Digests(str(tmp_path / 'index.json'), FakeClock(now=os.stat(path).st_ctime_ns / 1e9))
    made.published(path, sha(b'content'))
    return made


def test_what_was_published_is_remembered_when_it_was_read_again_at_a_good_age(young, tmp_path):
    path = str(tmp_path / 'out')
    young.clock.advance(0.09)
    young.read_again(9)
    assert young.known == {}

    young.clock.advance(0.03)
    young.read_again(9)
    plant(young, path)
    young.save()

    assert load(young).of(path)[0] == 'planted'


def test_a_published_file_whose_times_may_be_coarse_is_read_again_later(young, tmp_path):
    path = old_file(tmp_path / 'coarse')
    os.utime(path, ns=(1_600_000_000_000_000_000,) * 2)
    young.published(path, sha(b'content'))
    young.clock.advance(2.0)
    young.read_again(9)
    assert list(young.known) == [str(tmp_path / 'out')]

    young.clock.advance(0.2)
    young.read_again(9)

    assert path in young.known


def test_a_file_system_whose_clock_is_behind_makes_nothing_old(young, tmp_path):
    """An hour old by its time, it may be written to again in the same tick of the server."""
    young.clock.set_wall(young.clock.now() + 3600)
    young.published(old_file(tmp_path / 'other'), sha(b'content'))
    young.read_again(9)
    assert young.known == {}

    young.clock.advance(0.11)
    young.read_again(9)

    assert len(young.known) == 2


def test_what_is_read_again_counts_and_not_what_was_published(young, tmp_path):
    path = tmp_path / 'out'
    seen = path.stat()
    path.write_bytes(b'edited!')
    os.utime(str(path), ns=(seen.st_atime_ns, seen.st_mtime_ns))
    young.clock.advance(60)

    young.read_again(9)

    assert young.known[str(path)].endswith(sha(b'edited!'))


def change_again(path: Path) -> None:
    """Write to a file at a time that is later than the clock of the fixture will be."""
    os.utime(str(path), ns=(4_000_000_000_000_000_000,) * 2)


@pytest.mark.parametrize('change', [
    pytest.param(lambda path: path.unlink(), id='gone'),
    pytest.param(lambda path: (path.unlink(), path.mkdir()), id='a folder'),
    pytest.param(change_again, id='from the future')])
def test_what_is_no_settled_file_when_it_is_read_again_is_not_remembered(young, tmp_path, change):
    change(tmp_path / 'out')
    young.clock.advance(60)

    young.read_again(9)
    young.read_again(9)

    assert young.known == {}


def test_no_more_is_read_again_than_asked_and_nothing_large(young, tmp_path):
    young.published(old_file(tmp_path / 'large', b'x' * (1 << 20)), 'digest of it')
    for name in 'ab':
        young.published(old_file(tmp_path / name), sha(b'content'))
    young.clock.advance(60)

    young.read_again(1)
    assert len(young.known) == 1
    young.read_again(9)

    assert sorted(young.known) == [str(tmp_path / name) for name in ('a', 'b', 'out')]
    assert young.of(str(tmp_path / 'large'))[0] == 'digest of it'


def test_a_published_file_that_is_edited_is_read(digests, tmp_path):
    path = old_file(tmp_path / 'out')
    digests.published(path, 'known from hashing it')

    Path(path).write_bytes(b'edited')

    assert digests.of(path)[0] == sha(b'edited')


def test_a_published_file_that_is_gone_is_nothing_to_believe(digests, tmp_path):
    path = old_file(tmp_path / 'out')
    digests.published(path, 'x')
    os.unlink(path)

    digests.published(path, 'y')

    with pytest.raises(FileNotFoundError):
        digests.of(path)


@pytest.mark.parametrize('make', [
    pytest.param(os.mkdir, id='folder'),
    pytest.param(lambda path: os.symlink(os.path.basename(path), path), id='link to itself'),
    pytest.param(os.mkfifo, id='pipe'),
])
def test_a_known_file_that_became_something_else_is_unreadable(digests, tmp_path, make):
    """A known file that became a link to itself once ended the runner with an `OSError`."""
    path = old_file(tmp_path / 'a')
    digests.of(path)
    assert path in digests.known
    os.unlink(path)

    make(path)

    with pytest.raises(Unreadable):
        digests.of(path)


# -- the index ----------------------------------------

@pytest.fixture
def saved(digests, tmp_path) -> Digests:
    """Return digests that know one source file and were saved."""
    digests.scan(old_file(tmp_path / 'x.py', b'import json\n'))
    digests.save()
    return digests


def load(digests: Digests) -> Digests:
    """Return what another run reads from the same index."""
    again = Digests(digests.path, digests.clock)
    again.load()
    return again


def test_the_index_keeps_digests_and_imports(saved, tmp_path):
    again = load(saved)

    assert again.known == saved.known
    assert canonical(again.scans) == canonical(saved.scans)
    digest = again.of(str(tmp_path / 'x.py'))[0]
    again.scans[digest][0][0] = 'planted'
    assert again.scan(str(tmp_path / 'x.py'))[1][0].module == 'planted'


@pytest.mark.parametrize('is_asked_for', [True, False])
def test_what_the_index_knows_stays_there_when_others_write_to_it(saved, is_asked_for):
    again = load(saved)
    if is_asked_for:
        assert again.known and again.scans
    again.index.put('another section', {})
    again.save()

    found = load(saved)

    assert found.known == saved.known and canonical(found.scans) == canonical(saved.scans)


def test_imports_of_changed_source_are_read_anew(saved, tmp_path):
    (tmp_path / 'x.py').write_bytes(b'import csv\n')

    digest, imports = load(saved).scan(str(tmp_path / 'x.py'))

    assert digest == sha(b'import csv\n')
    assert [wanted.module for wanted in imports] == ['csv']


@pytest.mark.slow
def test_an_index_with_any_byte_changed_is_believed_nowhere(saved):
    """Either nothing is remembered or exactly what was saved (a blank in place of a blank)."""
    sound = Path(saved.path).read_bytes()

    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 1 << position % 8
        Path(saved.path).write_bytes(damaged)
        again = load(saved)
        assert again.known in ({}, saved.known), position
        assert canonical(again.scans) in (b'{}', canonical(saved.scans)), position


@pytest.mark.parametrize('content', [
    b'', b'[]', b'{}', b'\0' * 40, b'{"format": 2}', b'{"format": 2, "body": [], "sha256": ""}',
    b'{"format": 2, "body": "{}", "sha256": ""}'])
def test_an_index_of_another_shape_is_ignored(saved, content):
    Path(saved.path).write_bytes(content)

    assert load(saved).known == {}


def test_an_index_of_another_format_is_ignored(saved):
    index = json.loads(Path(saved.path).read_text())
    Path(saved.path).write_text(json.dumps(dict(index, format=1)))

    assert load(saved).known == {}


def test_nothing_learned_means_nothing_written(digests):
    digests.save()

    assert not os.path.exists(digests.path)


def test_an_index_that_cannot_be_written_costs_nothing_but_time(tmp_path):
    digests = Digests(str(tmp_path / 'missing' / 'index.json'), later())
    digests.of(old_file(tmp_path / 'a'))

    digests.save()

    assert digests.is_dirty


def test_a_file_whose_name_is_not_utf8_is_hashed_and_not_remembered(digests, tmp_path):
    """JSON cannot hold such a name: saving the index once failed as a bug of the runner."""
    path = os.path.join(str(tmp_path), os.fsdecode(b'\xff'))
    Path(path).write_bytes(b'x')

    assert digests.of(path)[0] == sha(b'x')
    digests.is_dirty = True
    digests.save()

    assert load(digests).known == {}


# -- inputs ----------------------------------------

@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder with the kinds of names that globs meet."""
    root = tmp_path / 'root[1]'
    for name in ('in/b.txt', 'in/a.txt', 'in/.hidden.txt', 'in/.work.done', 'in/[x].txt',
                 'in/deep/c.txt', 'in/.work.partial/d.txt'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.mark.parametrize('given, names', [
    pytest.param(['in/b.txt', 'in/a.txt'], ['in/b.txt', 'in/a.txt'], id='order as written'),
    pytest.param(['in/?.txt'], ['in/a.txt', 'in/b.txt'], id='matches sorted'),
    pytest.param(['in/*.txt'], ['in/[x].txt', 'in/a.txt', 'in/b.txt'], id='no dot files'),
    pytest.param(['in/.*'], ['in/.hidden.txt'], id="not even asked for are the runner's own"),
    pytest.param(['in/[x].txt'], ['in/[x].txt'], id='a name that exists is no glob'),
    pytest.param(['in/[ab].txt'], ['in/a.txt', 'in/b.txt'], id='brackets are a glob else'),
    pytest.param(['in/**/*.txt'], ['in/[x].txt', 'in/a.txt', 'in/b.txt', 'in/deep/c.txt'],
                 id='recursive'),
    pytest.param(['in'], ['in'], id='a folder is its path'),
    pytest.param(['in/d*'], ['in/deep'], id='a folder that matches'),
    pytest.param(['in/a.txt', 'in/a*'], ['in/a.txt', 'in/a.txt'], id='named twice'),
])
def test_inputs_become_arguments(root, given, names):
    assert expand_inputs(str(root), given) == Expanded(tuple(names), (), ())


def test_missing_names_and_globs_without_matches_are_told_apart(root):
    assert expand_inputs(str(root), ['in/z.txt', 'in/z*', 'in/a.txt']) == Expanded(
        ('in/a.txt',), ('in/z.txt',), ('in/z*',))


def test_an_absolute_glob_gives_absolute_names(root):
    pattern = os.path.join(str(root).replace('[1]', '[[]1]'), 'in', '?.txt')

    assert expand_inputs('/elsewhere', [pattern]).names == (
        f'{root}/in/a.txt', f'{root}/in/b.txt')


def folder_digest(digests: Digests, root: Path) -> str:
    return digest_input(digests, str(root), 'in').digest


def test_a_file_input_is_its_content(digests, root):
    found = digest_input(digests, str(root), 'in/a.txt')

    assert found == Input('in/a.txt', sha(b'in/a.txt'), stat_of(os.stat(str(root / 'in/a.txt'))))
    assert snapshot_of(str(root), 'in/a.txt') == found.snapshot


@pytest.mark.parametrize('change', [
    pytest.param(lambda folder: (folder / 'deep/c.txt').write_text('other'), id='content'),
    pytest.param(lambda folder: (folder / 'a.txt').rename(folder / 'z.txt'), id='name'),
    pytest.param(lambda folder: (folder / 'new').write_text(''), id='new file'),
    pytest.param(lambda folder: (folder / 'a.txt').unlink(), id='file gone'),
    pytest.param(lambda folder: (folder / '.hidden.txt').write_text('other'), id='dot file'),
])
def test_a_change_in_a_folder_changes_its_digest_and_snapshot(digests, root, change):
    before = digest_input(digests, str(root), 'in')
    assert snapshot_of(str(root), 'in') == before.snapshot

    change(root / 'in')

    assert folder_digest(digests, root) != before.digest
    assert snapshot_of(str(root), 'in') != before.snapshot


@pytest.mark.parametrize('change', [
    pytest.param(lambda folder: (folder / '.work.done').write_text('other'), id='marker'),
    pytest.param(lambda folder: (folder / '.work.done.corrupt-1').write_text(''),
                 id='marker set aside'),
    pytest.param(lambda folder: (folder / '.work.partial/d.txt').unlink(), id='private folder'),
    pytest.param(lambda folder: (folder / 'empty').mkdir(), id='empty folder'),
])
def test_what_is_the_runners_own_is_no_part_of_a_folder(digests, root, change):
    before = digest_input(digests, str(root), 'in')

    change(root / 'in')

    assert digest_input(digests, str(root), 'in') == before


def test_a_touch_in_a_folder_changes_its_snapshot_only(digests, root):
    before = digest_input(digests, str(root), 'in')

    os.utime(str(root / 'in/a.txt'))

    assert folder_digest(digests, root) == before.digest
    assert snapshot_of(str(root), 'in') != before.snapshot


def test_a_folder_behind_a_link_is_part_of_the_folder(digests, root):
    """A change behind such a link was once not seen, and the stage skipped."""
    (root / 'elsewhere').mkdir()
    (root / 'elsewhere/x').write_text('1')
    (root / 'in/link').symlink_to('../elsewhere')
    before = digest_input(digests, str(root), 'in')
    assert [name for name, _ in before.snapshot if 'link' in name] == ['link/x']

    (root / 'elsewhere/x').write_text('2')

    assert folder_digest(digests, root) != before.digest


def test_links_that_lead_in_a_circle_come_to_an_end(digests, root):
    for number in range(8):
        (root / f'in/loop{number}').symlink_to('..')

    names = [name for name, _ in digest_input(digests, str(root), 'in').snapshot]

    assert names.count('a.txt') == 1 and len(names) < 20


@pytest.mark.parametrize('change, is_unchanged_here', [
    pytest.param(lambda path: None, True, id='nothing'),
    pytest.param(lambda path: path.write_text('IN/A.TXT'), False, id='content'),
    pytest.param(lambda path: path.unlink(), False, id='gone'),
])
@pytest.mark.parametrize('tells', [True, False])
def test_an_input_is_unchanged_while_stat_and_where_needed_content_are(
        digests, root, monkeypatch, change, is_unchanged_here, tells):
    entry = digest_input(digests, str(root), 'in/a.txt')
    monkeypatch.setattr(fingerprint, '_STAT_TELLS', tells)

    change(root / 'in/a.txt')

    assert is_unchanged(digests, str(root), entry) == is_unchanged_here


@pytest.mark.parametrize('tells', [True, False])
def test_where_a_stat_tells_too_little_the_content_is_compared(digests, root, monkeypatch, tells):
    entry = digest_input(digests, str(root), 'in/a.txt')._replace(digest='of other bytes')
    monkeypatch.setattr(fingerprint, '_STAT_TELLS', tells)

    assert is_unchanged(digests, str(root), entry) == tells


def test_an_input_that_is_gone_has_no_snapshot(root):
    assert snapshot_of(str(root), 'in/z.txt') is None
    assert snapshot_of(str(root), 'in/a.txt') is not None


def test_an_index_of_very_many_files_is_read_again(tmp_path):
    """Beyond 16 MiB, some 40,000 items, it was thrown away: each run read every file anew."""
    path = str(tmp_path / 'index.json')
    written = Digests(path, FakeClock())
    written.known['x' * (17 << 20)] = 'anything'
    written.is_dirty = True
    written.save()

    read = Digests(path, FakeClock())
    read.load()

    assert read.known == written.known

"""Tests of `stagerunner.commit`: outputs move in, stale ones go, the marker comes last."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any
from typing import Dict
from typing import List
from typing import Optional
from typing import Sequence

import pytest

from stagerunner.commit import Batch
from stagerunner.commit import Finished
from stagerunner.errors import StateError
from stagerunner.flushing import Flusher
from stagerunner.publish import describe_outputs
from stagerunner.publish import written_files
from stagerunner.state.marker import Marker
from stagerunner.state.marker import read_marker

pytestmark = pytest.mark.unit


def commit(finished: Sequence[Finished], flusher: Flusher) -> Dict[str, StateError]:
    """Publish and settle, with nothing in between; return what went wrong, by task."""
    batch = Batch(finished, flusher)
    batch.publish()
    batch.settle()
    return batch.errors


class Folder:
    """An output folder in which a task `work` finishes again and again."""

    def __init__(self, root: Path):
        self.published = root / 'out'
        self.private = self.published / '.work.partial'
        self.marker = self.published / '.work.done'
        self.former: Optional[Marker] = None

    def finish(self, files: Dict[str, str], **changed: Any) -> Finished:
        """Write files into the private folder and describe them."""
        self.private.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            path = self.private / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        names = written_files(str(self.private))
        marker = Marker('work', 'k', 'r', 'now', 0.1, True, {},
                        describe_outputs(str(self.private), names))._replace(**changed)
        return Finished('work', str(self.private), str(self.published), marker, self.former)

    def commit(self, files: Dict[str, str], **changed: Any) -> None:
        finished = self.finish(files, **changed)
        assert not self.try_to_commit(finished)
        self.former = finished.marker

    def try_to_commit(self, *finished: Finished) -> Dict[str, StateError]:
        return commit(finished, Flusher(str(self.published.parent)))

    def tree(self):
        """Return what is published, by name."""
        return sorted(str(path.relative_to(self.published))
                      for path in self.published.rglob('*') if not path.is_dir())


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_outputs_and_marker_are_published_and_the_private_folder_is_gone(folder):
    folder.commit({'a': '1', 'deep/er/b': '2'})

    assert folder.tree() == ['.work.done', 'a', 'deep/er/b']
    assert (folder.published / 'deep/er/b').read_text() == '2'
    assert not folder.private.exists()


def test_the_marker_is_what_was_handed_over(folder):
    folder.commit({'a': '1'})

    assert read_marker(str(folder.marker), 'work') == folder.former
    assert json.loads(folder.marker.read_text())['outputs'][0]['path'] == 'a'


def test_links_are_published_as_links(folder):
    folder.private.mkdir(parents=True)
    (folder.private / 'link').symlink_to('../outside')

    folder.commit({})

    assert os.readlink(str(folder.published / 'link')) == '../outside'


def test_a_file_takes_the_place_of_a_link_without_following_it(folder, tmp_path):
    (tmp_path / 'victim').write_text('whole')
    folder.published.mkdir()
    (folder.published / 'a').symlink_to('../victim')

    folder.commit({'a': 'new'})

    assert (tmp_path / 'victim').read_text() == 'whole'
    assert not (folder.published / 'a').is_symlink()


def test_stale_outputs_of_the_former_success_go_with_their_folders(folder):
    folder.commit({'a': '1', 'deep/er/b': '2', 'deep/c': '3', 'full/d': '4'})
    (folder.published / 'full/of-somebody').write_text('')

    folder.commit({'a': '1'})

    assert folder.tree() == ['.work.done', 'a', 'full/of-somebody']
    assert not (folder.published / 'deep').exists()


def test_an_output_that_somebody_edited_is_not_removed(folder):
    folder.commit({'a': '1', 'b': '2'})
    (folder.published / 'b').write_text('mine now')

    folder.commit({'a': '1'})

    assert (folder.published / 'b').read_text() == 'mine now'


def test_what_was_written_directly_before_is_not_removed(folder):
    folder.commit({'a': '1'})
    folder.former = folder.former._replace(is_staged=False)

    folder.commit({'b': '2'})

    assert folder.tree() == ['.work.done', 'a', 'b']


def test_direct_writes_are_recorded_where_they_are(folder):
    folder.published.mkdir()
    (folder.published / 'a').write_text('1')
    found = describe_outputs(str(folder.published), ['a'])

    folder.commit({}, is_staged=False, outputs=found)

    assert folder.tree() == ['.work.done', 'a']
    assert json.loads(folder.marker.read_text())['staged'] is False


def test_a_success_without_outputs_has_a_marker_all_the_same(folder):
    folder.commit({})

    assert folder.tree() == ['.work.done']


def test_where_an_output_cannot_go_there_is_no_marker(folder):
    """Nobody may take a half-published success for a whole one: the marker comes last."""
    finished = folder.finish({'a': '1', 'b': '2'})
    (folder.published / 'b').mkdir()

    failed = folder.try_to_commit(finished)['work']

    assert failed.path.endswith('/b') and 'is a directory' in failed.fault
    assert (folder.published / 'a').read_text() == '1' and not folder.marker.exists()
    assert (folder.private / 'b').read_text() == '2'


def test_after_a_failed_commit_the_former_marker_stands(folder):
    folder.commit({'a': '1'})
    before = folder.marker.read_bytes()
    finished = folder.finish({'a': '2', 'b': '2'})
    (folder.published / 'b').mkdir()

    assert folder.try_to_commit(finished)
    assert folder.marker.read_bytes() == before


def test_an_output_that_vanished_is_a_fault_of_the_state(folder):
    finished = folder.finish({'a': '1'})
    (folder.private / 'a').unlink()

    assert 'no such file' in folder.try_to_commit(finished)['work'].fault


def many(folder: Folder, tmp_path: Path, number: int = 9) -> List[Finished]:
    """Return as many tasks as are flushed at once, each with a folder of its own."""
    return [Folder(tmp_path / f'{index}').finish({'a': str(index)})._replace(task=f't{index}')
            for index in range(number)]


def test_several_tasks_are_committed_in_one_go(folder, tmp_path):
    batch = many(folder, tmp_path)

    assert not commit(batch, Flusher(str(tmp_path)))

    assert [Path(finished.published, 'a').read_text() for finished in batch] == list('012345678')
    assert all(Path(finished.published, f'.{finished.task}.done').exists() for finished in batch)
    assert not any(Path(finished.private).exists() for finished in batch)


def test_one_that_cannot_be_published_does_not_keep_the_others_from_it(folder, tmp_path):
    batch = many(folder, tmp_path)
    Path(batch[4].published, 'a').mkdir()

    errors = commit(batch, Flusher(str(tmp_path)))

    assert list(errors) == ['t4'] and 'is a directory' in errors['t4'].fault
    assert [Path(finished.published, f'.{finished.task}.done').exists() for finished in batch] == [
        index != 4 for index in range(9)]


def test_what_could_not_be_flushed_is_not_published(folder, tmp_path):
    """After an error nobody flushes a second time (surveys/reliability.md, fsyncgate)."""
    batch = many(folder, tmp_path)
    flusher = Refusing(str(tmp_path))

    errors = commit(batch, flusher)

    assert sorted(errors) == [finished.task for finished in batch]
    assert not any(Path(finished.published, 'a').exists() for finished in batch)


class Refusing(Flusher):
    """A disk that takes no file."""

    def files(self, paths: Sequence[str]) -> Dict[str, OSError]:
        return {path: OSError(errno.EIO, os.strerror(errno.EIO)) for path in paths}


def test_a_folder_that_was_made_a_moment_ago_is_flushed_with_those_around_it(folder, tmp_path):
    finished = folder.finish({'a': '1'})._replace(published=str(tmp_path / 'x/y/out'))
    Path(finished.published).mkdir(parents=True)
    flusher = Recorded(str(tmp_path))

    assert not commit([finished], flusher)
    assert not commit([folder.finish({'a': '2'})._replace(published=finished.published)], flusher)

    assert flusher.flushed == [['x/y/out', 'x/y', 'x', '.'], ['x/y/out']]


class Recorded(Flusher):
    """Notes which folders are flushed."""

    def __init__(self, root: str):
        super().__init__(root)
        self.root = root
        self.flushed: List[List[str]] = []

    def names(self, folders: Sequence[str]) -> Dict[str, OSError]:
        self.flushed.append([os.path.relpath(folder, self.root) for folder in folders])
        return super().names(folders)

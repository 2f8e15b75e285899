"""Tests of `stagerunner.commit`: outputs move in, stale ones go, the marker comes last."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from typing import Dict
from typing import Optional

import pytest

from stagerunner.commit import Finished
from stagerunner.commit import commit
from stagerunner.errors import StateError
from stagerunner.publish import describe_outputs
from stagerunner.publish import written_files
from stagerunner.state.marker import Marker
from stagerunner.state.marker import read_marker

pytestmark = pytest.mark.unit


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
        commit([finished])
        self.former = finished.marker

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

    with pytest.raises(StateError) as failed:
        commit([finished])

    assert failed.value.path.endswith('/b') and 'is a directory' in failed.value.fault
    assert (folder.published / 'a').read_text() == '1' and not folder.marker.exists()
    assert (folder.private / 'b').read_text() == '2'


def test_after_a_failed_commit_the_former_marker_stands(folder):
    folder.commit({'a': '1'})
    before = folder.marker.read_bytes()
    finished = folder.finish({'a': '2', 'b': '2'})
    (folder.published / 'b').mkdir()

    with pytest.raises(StateError):
        commit([finished])

    assert folder.marker.read_bytes() == before


def test_an_output_that_vanished_is_a_fault_of_the_state(folder):
    finished = folder.finish({'a': '1'})
    (folder.private / 'a').unlink()

    with pytest.raises(StateError, match='no such file'):
        commit([finished])


def test_several_tasks_are_committed_in_one_go(folder, tmp_path):
    other = Folder(tmp_path / 'other')

    commit([folder.finish({'a': '1'}), other.finish({'b': '2'})])

    assert folder.tree() == ['.work.done', 'a'] and other.tree() == ['.work.done', 'b']

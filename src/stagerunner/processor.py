"""For stage scripts: read lines that can be resumed, write outputs that can be committed.

    from stagerunner.processor import Progress

    with Progress() as progress:
        result = progress.open('result.txt')
        for line in progress.lines(sys.argv[1:]):
            result.write(line.upper())

After every `PIPELINE_LINE_INTERVAL` lines, and at the end, what was written is
flushed to the disk and its length is committed together with the number of
lines it came from.  When the script is killed, the runner cuts the outputs
back to the committed lengths and starts it again; `lines` then seeks to the
first line that is not done and `open` goes on at the committed end.  The
result is byte for byte that of an undisturbed run.

Outside the runner (no `PIPELINE_*` variables) the script works as well: it
starts at line 0 and writes into the current folder.
"""

from __future__ import annotations

import os
from typing import IO
from typing import Any
from typing import Dict
from typing import Iterator
from typing import List
from typing import Optional
from typing import Sequence
from typing import Tuple

from stagerunner.errors import StateError
from stagerunner.errors import Unreadable
from stagerunner.files import make_folder
from stagerunner.files import read_json
from stagerunner.files import sync_folder
from stagerunner.files import write_json


class Progress:
    """The lines that are done and the bytes they became, committed together."""

    def __init__(self) -> None:
        self.output_dir = os.environ.get('PIPELINE_OUTPUT_DIR', os.curdir)
        self.path = os.environ.get('PIPELINE_PROGRESS_PATH')
        self.interval = int(os.environ.get('PIPELINE_LINE_INTERVAL', '50'))
        self.line_offset = int(os.environ.get('PIPELINE_LINE_OFFSET', '0'))
        self._position: Tuple[int, int] = (0, 0)
        self._outputs: Dict[str, ResumableFile] = {}
        self._is_reading = False
        self._committed = self._read_committed()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """Commit what is done and close the outputs; after an exception, only close."""
        try:
            if kind is None:
                self.commit()
        finally:
            for output in self._outputs.values():
                output.close()

    def open(self, name: str, encoding: Optional[str] = 'utf-8') -> ResumableFile:
        """Return an output of the stage for writing, at its committed end.

        `write` takes text, or bytes when `encoding` is None.  Asked for again,
        an output is the same one.
        """
        name = os.path.normpath(name).replace(os.sep, '/')
        if name not in self._outputs:
            path = os.path.join(self.output_dir, name)
            make_folder(os.path.dirname(path) or os.curdir)
            length = self._committed.get('outputs', {}).get(name, 0)
            self._outputs[name] = ResumableFile(path, length, encoding)
            if not length:
                # What will be committed must be found again: flushing a file keeps no name.
                sync_folder(os.path.dirname(path))
        return self._outputs[name]

    def lines(self, paths: Sequence[str], encoding: Optional[str] = 'utf-8') -> Iterator[Any]:
        """Yield the lines of the files one after another, with their line ends.

        Lines end at a line feed and nowhere else.  A line counts as done when
        the next one is asked for; every `interval` lines that is committed.
        With `encoding=None` lines are bytes; text keeps invalid bytes as
        surrogate escapes, which `open` writes back as they were.  There is one
        count of lines, so it can be asked for once: hand it all files.
        """
        if self._is_reading:
            raise ValueError('the lines of a Progress can be read once; hand it all files at once')
        self._is_reading = True
        return self._counted_lines(list(paths), encoding)

    def _counted_lines(self, paths: List[str], encoding: Optional[str]) -> Iterator[Any]:
        for raw in self._raw_lines(paths):
            yield raw if encoding is None else raw.decode(encoding, 'surrogateescape')
            self.line_offset += 1
            if self.line_offset % self.interval == 0:
                self.commit()

    def commit(self) -> None:
        """Make the outputs durable, then their lengths and the number of lines.

        In this order: a crash in between leaves more output than is committed,
        never less, and the surplus is cut off before the next start.  Outputs
        of a former attempt that this one has not opened yet keep their length;
        where there is none at all, none is promised.
        """
        lengths = dict(self._committed.get('outputs', {}))
        lengths.update((name, output.flush()) for name, output in self._outputs.items())
        done = {'lineOffset': self.line_offset, 'position': list(self._position)}
        if lengths:
            done['outputs'] = lengths
        if self.path:
            write_json(self.path, done, durable=True)

    def _read_committed(self) -> Dict[str, Any]:
        """Return what the former attempt committed, or nothing on a fresh start."""
        if not self.line_offset or not self.path:
            return {}
        try:
            committed = read_json(self.path)
        except Unreadable:
            committed = None
        if isinstance(committed, dict) and committed.get('lineOffset') == self.line_offset:
            return committed
        # To go on without the lengths would lose what was written for the lines that are done.
        raise StateError(self.path, f'does not tell what became of the first {self.line_offset} '
                                    f'lines; run again')

    def _raw_lines(self, paths: List[str]) -> Iterator[bytes]:
        first, offset, skip = self._start(paths)
        for number in range(first, len(paths)):
            with open(paths[number], 'rb') as source:
                source.seek(offset)
                for line in source:
                    offset += len(line)
                    if skip:
                        skip -= 1
                        continue
                    self._position = (number, offset)
                    yield line
                offset = 0

    def _start(self, paths: List[str]) -> Tuple[int, int, int]:
        """Return file number, byte, and lines to skip where the byte is not known."""
        position = self._committed.get('position')
        if isinstance(position, list) and [type(part) for part in position] == [int, int]:
            number, offset = position
            if 0 <= number < len(paths) and 0 <= offset <= os.path.getsize(paths[number]):
                self._position = (number, offset)
                return number, offset, 0
        return 0, 0, self.line_offset


class ResumableFile:
    """An output that is written from its committed end on."""

    def __init__(self, path: str, length: int, encoding: Optional[str]):
        self.encoding = encoding
        self._file: IO[bytes] = open(path, 'r+b' if length else 'wb')
        self._file.truncate(length)
        self._file.seek(length)

    def write(self, data: Any) -> None:
        """Append text, or bytes where the file was opened without an encoding."""
        if self.encoding is not None:
            data = data.encode(self.encoding, 'surrogateescape')
        self._file.write(data)

    def flush(self) -> int:
        """Return the length of the file once all of it is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file; what was not committed may be lost."""
        self._file.close()

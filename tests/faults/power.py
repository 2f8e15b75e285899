"""A model of what a disk may hold after the power went, built from a trace of real calls.

The model is weak on purpose: data of a file is safe once that file was
flushed, a name once its folder was.  Whatever was not flushed may be there or
not, in any combination with the rest; data may also be there in half or as
zeros.  A rename within one folder happens or not; one between folders is two
changes, one in each.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from typing import Dict
from typing import FrozenSet
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Sequence
from typing import Set
from typing import Tuple

#: Traced: everything that changes a disk, moves in a file, or says something.
CALLS = ','.join(f'?{name}' for name in '''
    open openat creat write pwrite64 sendfile copy_file_range lseek ftruncate truncate
    rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat rmdir mkdir mkdirat
    fsync fdatasync syncfs
    '''.split())

STRACE = ['strace', '-f', '-y', '-qq', '-s', '1000000', '-e', f'trace={CALLS}']

#: A tree: relative names of files to their bytes; folders have None.
Tree = Dict[str, Optional[bytes]]


#: Stands for all inodes where a whole file system was flushed.
EVERYTHING = -1

#: Stands for a call that has begun and not ended yet.
BEGINS = 'begins'


class Op(NamedTuple):
    """One change: `link`, `unlink`, `move`, `data`, `size`, `sync` or `say`.

    `inode` is the folder that a name belongs to, the file that data belongs
    to, or what was flushed.  A flush stands where it ended, and holds for what
    was there when it began (`at`): others may write meanwhile.
    """

    kind: str
    inode: int
    name: str = ''
    target: int = 0
    data: bytes = b''
    at: int = 0


class Crash(NamedTuple):
    """One way in which the disk may be left: what is on it, and what had been said before."""

    what: str
    tree: Tree
    said: str


# -- from a trace to changes ---------------------------------------------------------------

class Recording:
    """The changes that a traced program made below a folder, in order."""

    def __init__(self, root: Path):
        self.root = str(root)
        self.ops: List[Op] = []
        self.contents: Dict[int, bytes] = {}
        self.folders: Dict[int, Dict[str, int]] = {1: {}}
        self.last_inode = 1
        self._place: Dict[Tuple[str, str], Tuple[int, int]] = {}
        self._now: Dict[int, bytearray] = {}
        #: How many changes there were when the call began in which a process is.
        self._begun: Dict[str, int] = {}
        for path in sorted(Path(self.root).rglob('*')):
            self._add_existing(path)
        self._tree = {inode: dict(names) for inode, names in self.folders.items()}

    def _add_existing(self, path: Path) -> None:
        parent, name = self._split(str(path), self.folders)
        inode = self._new_inode()
        self.folders[parent][name] = inode
        if path.is_dir():
            self.folders[inode] = {}
        else:
            self.contents[inode] = path.read_bytes()
            self._now[inode] = bytearray(self.contents[inode])

    def _new_inode(self) -> int:
        self.last_inode += 1
        return self.last_inode

    def _split(self, path: str, folders: Dict[int, Dict[str, int]]) -> Tuple[int, str]:
        """Return folder and name of a path below the root."""
        inode = 1
        *above, name = os.path.relpath(path, self.root).split(os.sep)
        for part in above:
            inode = folders[inode][part]
        return inode, name

    def read(self, trace: Path) -> Recording:
        """Take in what strace wrote."""
        for pid, call, args, result in _calls(trace.read_text('utf-8', 'surrogateescape')):
            self._take(pid, call, args, result)
            if call != BEGINS:
                self._begun.pop(pid, None)
        return self

    def _take(self, pid: str, call: str, args: str, result: int) -> None:
        if call in ('open', 'openat', 'creat'):
            self._open(pid, self._path(args), args, result)
        elif call in ('write', 'pwrite64'):
            self._write(pid, args, result, int(args.rpartition(', ')[2])
                        if call == 'pwrite64' else None)
        elif call in ('sendfile', 'copy_file_range'):
            self._copy(pid, call, args, result)
        elif call == 'lseek':
            key = (pid, args.partition('<')[0])
            # A file that is appended to is written at its end, wherever it is read.
            if self._place.get(key, (0, -1))[1] >= 0:
                self._place[key] = self._place[key][0], result
        elif call in ('ftruncate', 'truncate'):
            inode = self._inode_of(pid, args) if call == 'ftruncate' else \
                self._lookup(self._path(args))
            self._resize(inode, int(args.rpartition(', ')[2]))
        elif call.startswith('rename'):
            self._rename(*self._paths(args))
        elif call.startswith(('unlink', 'rmdir')):
            self._unlink(self._path(args))
        elif call.startswith('mkdir'):
            self._mkdir(self._path(args))
        elif call == 'syncfs':
            # All that was done to the file system; the root and what is below it are on one.
            self._flush(pid, EVERYTHING)
        elif call in ('fsync', 'fdatasync'):
            inode = self._inode_of(pid, args)
            if inode:
                self._flush(pid, inode)
        elif call == BEGINS:
            self._begun[pid] = len(self.ops)
        else:
            assert not self._is_inside(self._paths(args)[-1]), f'the model knows no {call}'

    def _flush(self, pid: str, inode: int) -> None:
        self.ops.append(Op('sync', inode, at=self._begun.get(pid, len(self.ops))))

    def _is_inside(self, path: str) -> bool:
        return path.startswith(self.root + os.sep)

    def _paths(self, args: str) -> List[str]:
        """Return the paths in the arguments of a call, absolute."""
        found = re.findall(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"', args)
        return [os.path.normpath(os.path.join(base or self.root, os.fsdecode(_unescape(name))))
                for base, name in found]

    def _path(self, args: str) -> str:
        return self._paths(args)[0]

    def _lookup(self, path: str) -> Optional[int]:
        if path == self.root:
            return 1
        if not self._is_inside(path):
            return None
        parent, name = self._split(path, self._tree)
        return self._tree[parent].get(name)

    def _inode_of(self, pid: str, args: str) -> Optional[int]:
        """Return what the descriptor in the first argument belongs to, if it is ours."""
        number, _, rest = args.partition('<')
        if (pid, number) in self._place:
            return self._place[pid, number][0]
        return self._lookup(rest.partition('>')[0])

    def _open(self, pid: str, path: str, args: str, result: int) -> None:
        self._place.pop((pid, str(result)), None)
        if not self._is_inside(path):
            return
        inode = self._lookup(path)
        if inode is None:
            inode = self._new_inode()
            self._link(path, inode)
            self._now[inode] = bytearray()
        elif 'O_TRUNC' in args:
            self._resize(inode, 0)
        self._place[pid, str(result)] = (inode, -1 if 'O_APPEND' in args else 0)

    def _link(self, path: str, inode: int) -> None:
        parent, name = self._split(path, self._tree)
        self._tree[parent][name] = inode
        self.ops.append(Op('link', parent, name, inode))

    def _write(self, pid: str, args: str, count: int, at: Optional[int]) -> None:
        data = _unescape(re.findall(r'"((?:[^"\\]|\\.)*)"', args)[0])[:count]
        inode = self._inode_of(pid, args)
        number = args.partition('<')[0]
        if inode is not None:
            self._put(pid, number, inode, data, at)
        elif number == '1':
            self.ops.append(Op('say', 0, data=data))

    def _put(self, pid: str, number: str, inode: int, data: bytes, at: Optional[int]) -> None:
        if inode not in self._now:
            return
        content = self._now[inode]
        place = self._place.get((pid, number), (inode, -1))[1] if at is None else at
        start = len(content) if place < 0 else place
        content[start:start + len(data)] = data
        if at is None and place >= 0:
            self._place[pid, number] = (inode, start + len(data))
        self.ops.append(Op('data', inode, data=data, at=start))

    def _copy(self, pid: str, call: str, args: str, count: int) -> None:
        """A copy within the kernel; its bytes are those of the source at that moment."""
        ends = re.findall(r'(\d+)<([^>]*)>', args)
        (out, target), (_, source) = ends if call == 'sendfile' else reversed(ends)
        inode = self._inode_of(pid, f'{out}<{target}>')
        if inode is not None and count:
            offset = re.search(r', \[(\d+)\]', args)
            assert offset or call == 'copy_file_range', args
            start = int(offset.group(1)) if offset else len(self._now[inode])
            content = self._lookup(source)
            assert content is not None, f'{source} is not known'
            self._put(pid, out, inode, bytes(self._now[content][start:start + count]), None)

    def _resize(self, inode: Optional[int], length: int) -> None:
        if inode is not None:
            _resize(self._now[inode], length)
            self.ops.append(Op('size', inode, at=length))

    def _rename(self, source: str, target: str) -> None:
        if not self._is_inside(source):
            return
        (old_folder, old), (new_folder, new) = (self._split(path, self._tree)
                                                for path in (source, target))
        inode = self._tree[old_folder].pop(old)
        self._tree[new_folder][new] = inode
        if inode in self.folders or inode not in self._now:
            self.folders.setdefault(inode, {})
        if old_folder == new_folder:
            self.ops.append(Op('move', old_folder, new, inode, os.fsencode(old)))
        else:
            self.ops.append(Op('link', new_folder, new, inode))
            self.ops.append(Op('unlink', old_folder, old))

    def _unlink(self, path: str) -> None:
        if self._is_inside(path):
            parent, name = self._split(path, self._tree)
            del self._tree[parent][name]
            self.ops.append(Op('unlink', parent, name))

    def _mkdir(self, path: str) -> None:
        if self._is_inside(path):
            inode = self._new_inode()
            self._link(path, inode)
            self._tree[inode] = {}
            self.folders[inode] = {}


def _calls(text: str) -> Iterator[Tuple[str, str, str, int]]:
    """Yield process, call, arguments and result of every call that succeeded.

    Of one that took longer than another process's next call, also that it begins.
    """
    begun: Dict[str, str] = {}
    for line in text.splitlines():
        pid, _, rest = line.partition(' ')
        rest = rest.strip()
        if rest.endswith('<unfinished ...>'):
            begun[pid] = rest[:-len('<unfinished ...>')]
            yield pid, BEGINS, '', 0
            continue
        resumed = re.match(r'<\.\.\. \w+ resumed>', rest)
        if resumed:
            rest = begun.pop(pid) + rest[resumed.end():]
        found = re.match(r'(\w+)\((.*)\)\s+= (\d+)', rest)
        if found:
            yield pid, found.group(1), found.group(2), int(found.group(3))


_ESCAPES = {'n': b'\n', 't': b'\t', 'r': b'\r', 'v': b'\v', 'f': b'\f', 'a': b'\a', 'b': b'\b',
            '"': b'"', '\\': b'\\'}


def _unescape(text: str) -> bytes:
    """Return the bytes of a string as strace prints it."""
    parts = re.split(r'\\([0-7]{1,3}|.)', text)
    return b''.join(part.encode('utf-8', 'surrogateescape') if not index % 2 else
                    _ESCAPES[part] if part in _ESCAPES else bytes([int(part, 8)])
                    for index, part in enumerate(parts))


def _resize(content: bytearray, length: int) -> None:
    del content[length:]
    content.extend(bytes(length - len(content)))


# -- from changes to disks --------------------------------------------------------------------

def prefixes(recording: Recording) -> List[int]:
    """Return after how many changes the power can go so that it makes a difference."""
    return list(range(len(recording.ops) + 1))


def crashes(recording: Recording, n_ops: int) -> Iterator[Crash]:
    """Yield every state in which the disk may be after the first `n_ops` changes."""
    ops = recording.ops[:n_ops]
    said = b''.join(op.data for op in ops if op.kind == 'say').decode('utf-8', 'replace')
    forced = _forced(ops)
    free = [index for index, op in enumerate(ops)
            if index not in forced and op.kind not in ('sync', 'say')]
    everything = frozenset(free)
    for what, kept, damaged, damage in _picks(ops, free, everything):
        yield Crash(f'{n_ops} changes, {what}',
                    _tree(recording, ops, forced | kept, damaged, damage), said)


def _forced(ops: Sequence[Op]) -> Set[int]:
    """Return the changes that a later flush made safe."""
    forced = set()
    #: Until which change each was flushed.
    flushed: Dict[int, int] = {}
    for index in range(len(ops) - 1, -1, -1):
        op = ops[index]
        if op.kind == 'sync':
            flushed[op.inode] = max(op.at, flushed.get(op.inode, 0))
        elif index < max(flushed.get(op.inode, 0), flushed.get(EVERYTHING, 0)):
            forced.add(index)
    return forced


Pick = Tuple[str, FrozenSet[int], int, str]


def _picks(ops: Sequence[Op], free: Sequence[int], everything: FrozenSet[int]) -> Iterator[Pick]:
    yield 'all of them', everything, -1, ''
    yield 'only what was flushed', frozenset(), -1, ''
    for index in free:
        shown = f'{ops[index].kind} {ops[index].name or ops[index].inode}'
        yield f'without {shown}', everything - {index}, -1, ''
        yield f'flushed and {shown}', frozenset([index]), -1, ''
        if ops[index].kind == 'data':
            yield f'zeros for {shown}', everything, index, 'zero'
            yield f'half of {shown}', everything, index, 'half'


def _tree(recording: Recording, ops: Sequence[Op], kept: Set[int], damaged: int,
          damage: str) -> Tree:
    folders = {inode: dict(names) for inode, names in recording.folders.items()}
    contents: Dict[int, Any] = dict(recording.contents)
    for index, op in enumerate(ops):
        if index not in kept:
            continue
        if op.kind == 'link':
            folders[op.inode][op.name] = op.target
        elif op.kind == 'unlink':
            folders[op.inode].pop(op.name, None)
        elif op.kind == 'move':
            folders[op.inode].pop(os.fsdecode(op.data), None)
            folders[op.inode][op.name] = op.target
        else:
            content = bytearray(contents.get(op.inode, b''))
            _change(content, op, damage if index == damaged else '')
            contents[op.inode] = bytes(content)
    found: Tree = {}
    _collect(1, '', folders, contents, found)
    return found


def _change(content: bytearray, op: Op, damage: str) -> None:
    if op.kind == 'size':
        _resize(content, op.at)
        return
    data = bytes(len(op.data)) if damage == 'zero' else \
        op.data[:len(op.data) // 2] if damage == 'half' else op.data
    content.extend(bytes(max(0, op.at - len(content))))
    content[op.at:op.at + len(data)] = data


def _collect(inode: int, above: str, folders: Dict[int, Dict[str, int]],
             contents: Dict[int, bytes], found: Tree) -> None:
    for name, entry in folders[inode].items():
        path = f'{above}{name}'
        if entry in folders:
            found[path] = None
            _collect(entry, f'{path}/', folders, contents, found)
        else:
            found[path] = contents.get(entry, b'')


def restore(tree: Tree, root: Path) -> None:
    """Make a real folder of a state."""
    root.mkdir()
    for name in sorted(tree):
        data = tree[name]
        if data is None:
            (root / name).mkdir(exist_ok=True)
        else:
            (root / name).write_bytes(data)

"""Find which local files a Python processor loads, and what it imports from elsewhere.

Local means: found where Python itself would look first, in the folder of the
processor (or a folder that the caller names).  These files decide what the
processor does, so their bytes belong to it as much as its own.  The bytes are
read once: what is scanned here is what is hashed.
"""

from __future__ import annotations

import os
import re
import sys

from stagerunner.files import digest_bytes
from stagerunner.files import read_bytes
from stagerunner.records import TYPE_CHECKING
from stagerunner.records import NamedTuple

if TYPE_CHECKING:
    from typing import Any
    from typing import Dict
    from typing import Iterator
    from typing import List
    from typing import Optional
    from typing import Sequence
    from typing import Set
    from typing import Tuple

#: Source files over this size are not read; nobody writes such a processor by hand.
MAX_SOURCE_BYTES = 16 * 1024 * 1024

#: Endings of modules that have no source to look into.
_COMPILED = ('.so', '.pyd', '.pyc')

#: Where the standard library lies; that of another interpreter has the same names in it.
LIBRARY = os.path.dirname(os.__file__)


class Import(NamedTuple):
    """A module that is imported from outside the local files, and where."""

    module: str
    path: str
    line: int


class Source(NamedTuple):
    """A local file that a processor is made of: its path as shown, and the digest of its bytes."""

    path: str
    digest: str
    absolute: str


class Program(NamedTuple):
    """A processor with its local helpers (the processor first) and what else they import.

    `looked` are the folders whose names decided which files these are.
    """

    sources: Tuple[Source, ...]
    imports: Tuple[Import, ...]
    looked: Tuple[str, ...] = ()


class Wanted(NamedTuple):
    """An import statement: `import module`, or `from module import names`."""

    module: str
    names: Tuple[str, ...]
    level: int
    line: int


class Scanner:
    """Reads source files; one that remembers former scans can be put in its place."""

    def scan(self, path: str) -> Tuple[str, Sequence[Wanted]]:
        """Return the digest of a file and the imports in the very same bytes."""
        data = read_bytes(path, MAX_SOURCE_BYTES)
        return digest_bytes(data), () if path.endswith(_COMPILED) else find_imports(data)


def load_program(root: str, processor: str, folders: Sequence[str] = (),
                 scanner: Optional[Scanner] = None) -> Program:
    """Read a processor and follow its imports through local files.

    `processor` is relative to `root`.  Modules are looked for in its own folder
    and then in `folders`.  Raises `FileNotFoundError` or `Unreadable` when the
    processor itself cannot be read.
    """
    return _Walk(root, processor, folders, scanner or Scanner()).program()


class _Walk:
    """One walk over a processor and everything local that it loads."""

    def __init__(self, root: str, processor: str, folders: Sequence[str], scanner: Scanner):
        self.scanner = scanner
        self.root = os.path.realpath(root)
        self.script = os.path.realpath(os.path.join(root, processor))
        self.shown = processor
        own = os.path.dirname(self.script)
        self.folders = [own, *(folder for folder in folders if folder != own)]
        self.sources: Dict[str, Source] = {}
        self.external: List[Import] = []
        self.listings: Dict[str, Set[str]] = {}

    def program(self) -> Program:
        queue = [(self.script, self.shown, '')]
        while queue:
            path, shown, package = queue.pop()
            if path in self.sources:
                continue
            digest, imports = self.scanner.scan(path)
            self.sources[path] = Source(shown, digest, path)
            for wanted in imports:
                queue.extend(self._follow(wanted, shown, package))
        processor, *helpers = self.sources.values()
        return Program((processor, *sorted(helpers)), tuple(self.external),
                       tuple(sorted(self.listings)))

    def _follow(self, wanted: Wanted, shown: str, package: str) -> Iterator[Tuple[str, str, str]]:
        """Yield the local files that an import statement loads; note it where there are none."""
        module = wanted.module
        if wanted.level:
            above = package.split('.')[:len(package.split('.')) - wanted.level + 1]
            module = '.'.join([*above, module] if module else above)
        found = list(self._files_of(module))
        for name in wanted.names:
            found.extend(self._files_of(f'{module}.{name}' if module else name))
        if not found and not wanted.level and not self._is_namespace(module):
            self.external.append(Import(module, shown, wanted.line))
        for path, inside in found:
            yield path, self._shown(path), inside

    def _files_of(self, module: str) -> Iterator[Tuple[str, str]]:
        """Yield (file, package it is in) of every part of a dotted name that is local."""
        parts = module.split('.')
        if parts[0] in sys.builtin_module_names:
            return
        for first in self.folders:
            if not self._has(first, parts[0]):
                continue
            folder = first
            for depth, part in enumerate(parts):
                package = '.'.join(parts[:depth])
                inner = os.path.join(folder, part)
                if self._is_file(inner, '__init__.py'):
                    yield os.path.join(inner, '__init__.py'), '.'.join(parts[:depth + 1])
                else:
                    # A compiled module beside a source is what Python loads: both count.
                    files = [name for name in sorted(self._names(folder))
                             if (name == part + '.py' or _is_compiled(name, part))
                             and self._is_file(folder, name)]
                    for name in files:
                        yield os.path.join(folder, name), package
                    if files or not self._names(inner):
                        break
                folder = inner
            return

    def _has(self, folder: str, part: str) -> bool:
        """True when a module or package called `part` is loaded from `folder`."""
        names = self._names(folder)
        if part + '.py' in names or any(_is_compiled(name, part) for name in names):
            return True
        # A folder without `__init__.py` gives way to the standard library, whatever comes first.
        return part in names and (self._is_file(os.path.join(folder, part), '__init__.py')
                                  or not self._names(LIBRARY) & {part, part + '.py'})

    def _is_namespace(self, module: str) -> bool:
        """True for a local folder without `__init__.py` that holds code of its own."""
        parts = module.split('.')
        inner = os.path.join(self.folders[0], *parts)
        return (any(name.endswith('.py') for name in self._names(inner))
                and self._has(self.folders[0], parts[0]))

    def _is_file(self, folder: str, name: str) -> bool:
        return name in self._names(folder) and os.path.isfile(os.path.join(folder, name))

    def _names(self, folder: str) -> Set[str]:
        if folder not in self.listings:
            try:
                self.listings[folder] = set(os.listdir(folder))
            except OSError:
                self.listings[folder] = set()
        return self.listings[folder]

    def _shown(self, path: str) -> str:
        inside = os.path.relpath(path, self.root)
        return path if inside.startswith('..') else inside.replace(os.sep, '/')


def _is_compiled(name: str, part: str) -> bool:
    return name.partition('.')[0] == part and name.endswith(_COMPILED)


def find_imports(source: bytes) -> List[Wanted]:
    """Return every import in Python source, in the order of its lines.

    What this interpreter cannot parse (the syntax of a newer one, say) is
    searched line by line instead: a scan must not be passed by being odd.
    """
    import ast
    import warnings

    try:
        with warnings.catch_warnings():
            # What is odd about a processor is said by the processor, not by the runner.
            warnings.simplefilter('ignore')
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _by_line(source)
    found: List[Wanted] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [Wanted(alias.name, (), 0, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            found.append(Wanted(node.module or '', names, node.level, node.lineno))
        elif isinstance(node, ast.Call):
            module = _called(node)
            if module:
                found.append(Wanted(module, (), 0, node.lineno))
    return sorted(found, key=lambda wanted: wanted.line)


def _called(call: Any) -> Optional[str]:
    """Return the module of `importlib.import_module('x')` or `__import__('x')`, or None."""
    function = call.func
    name = getattr(function, 'id', None) or getattr(function, 'attr', None)
    given = [*call.args[:1], *(word.value for word in call.keywords if word.arg == 'name')]
    if name not in ('import_module', '__import__') or not given:
        return None
    first = given[0]
    # Python 3.7 has Str where newer ones have Constant.
    value = first.s if type(first).__name__ == 'Str' else getattr(first, 'value', None)
    return value if isinstance(value, str) and value and not value.startswith('.') else None


def _by_line(source: bytes) -> List[Wanted]:
    found = []
    name = r'[A-Za-z_][\w.]*'
    statement = re.compile(rf'(?:^|[;:])\s*(?:from\s+({name})|import\s+({name}[^;#]*))')
    for number, line in enumerate(source.splitlines(), 1):
        for one, several in statement.findall(line.decode('latin-1')):
            modules = [one] if one else re.findall(rf'(?:^|,)\s*({name})', several)
            found += [Wanted(module, (), 0, number) for module in modules]
    return found

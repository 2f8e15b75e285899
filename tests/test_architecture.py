"""The house keeps its plan: every module has a level, every outside thing one owner.

Each rule is a function from a module to what is wrong with it.  It is applied
to every module of the package, and to a planted one that it has to find.
"""

import ast
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Callable
from typing import Dict
from typing import Iterator
from typing import List
from typing import NamedTuple
from typing import Optional
from typing import Set
from typing import Tuple

import pytest

from support import FRONT_DOOR
from support import SOURCE
from support import run_process

#: The rooms of the design.  A module imports from lower numbers only; what comes after the point
#: is the order inside a level, where a level has one.
LEVELS = {
    'records': -1, 'searchpath': 0, 'errors': 0, 'clock': 0, 'events': 0, 'sharing': 0,
    'strictjson': 0, 'hashing': 0, 'wording': 0.5,
    'files': 1, 'schema': 1, 'retry': 1, 'limits': 1, 'graph': 1, 'placeholders': 1,
    'layout': 1, 'legend': 1, 'blueprint': 2.1, 'report.markup': 1, 'report.drawing': 2,
    'diagram': 4.6, 'report.graphs': 4.7,
    'report.revived': 1, 'report.story': 1.5, 'report.html.style': 1, 'report.html.parts': 2,
    'report.html.timeline': 2.5, 'report.html.summary': 8.41, 'report.html.stages': 8.42,
    'report.html.page': 8.43, 'report.accounts': 8.44, 'report.watched': 8.45,
    'report.dashboard': 1,
    'evidence': 4.1, 'commands.report': 9, 'report.comparison': 8.44, 'commands.diff': 9.1,
    'imports': 1.5, 'spelling': 1.5, 'documents': 1.5, 'keys': 1.55, 'rules': 1.6,
    'oslocks': 1.9, 'health': 2, 'locks': 2, 'definition': 2, 'offline': 2, 'processor': 2,
    'report.metrics': 2.6, 'isolation': 2, 'flushing': 2.5, 'settings': 2,
    'producers': 2.5, 'state.names': 3, 'items': 3.2, 'workspace': 3, 'journal': 2, 'database': 3,
    'state.run': 3.5, 'state.stage': 3.5, 'state.marker': 3.5, 'state.checkpoint': 3.5,
    'environment': 3.5, 'state.lines': 3, 'state.items': 3.6, 'state.history': 3.6, 'buckets': 3.5,
    'state.entries': 3, 'state.snapshots': 3.2,
    'fingerprint': 4, 'changes': 4.1, 'tasks': 4, 'resume': 4, 'publish': 4,
    'permits': 4, 'work.entries': 3, 'work.tables': 3.8, 'work.store': 4, 'work.worker': 8,
    'work.orchestrator': 8.1,
    'launch.job': 4, 'launch.boot': 4, 'launch.channel': 4, 'launch.processes': 4,
    'launch.capture': 4.1, 'launch.watch': 4.2, 'launch.ready': 4.1, 'launch.ending': 4.1,
    'launch.keeper': 4.2, 'launch.seed': 4.25, 'launch.posix': 4.3,
    'launch.raising': 4.1, 'launch.nursery': 4.15,
    'launch.orphans': 4.2, 'launch.linux': 4.4, 'launch.windows': 4.4, 'launch.system': 4.5,
    'fence': 4.1, 'jobs': 4.2,
    'holdings': 4.5, 'cleaning': 4.6, 'adoption': 6,
    'ledger': 4.5, 'facts': 5, 'harvest': 5, 'result': 5, 'commit': 5, 'plan': 5.5,
    'agenda': 5.5, 'holds': 5.5, 'rollcall': 5.6, 'groundwork': 5.8, 'finishing': 5.9,
    'headstart': 5.8, 'telling': 5.8,
    'task': 6, 'rehearsal': 6, 'selection': 6, 'scheduler': 6.5,
    'report.chain': 3.1, 'report.trail': 3.2, 'report.heads': 3.6, 'report.audit': 3.7,
    'report.inspection': 3.7,
    'source': 6.7, 'feeding': 6.8, 'hooks': 6.9, 'run': 7,
    'work.holds': 8, 'work.feed': 8.1, 'work.source': 8.2,
    'report.console': 8, 'report.rehearsed': 8.2, 'report.log': 8.2, 'report.textfile': 2.5,
    'report.terminal': 8.1, 'report.tally': 8, 'report.overview': 8.2, 'report.sources': 8.3,
    'report.live': 8.4, 'report.sight': 8.4, 'report.printed': 8,
    'commands.flags': 8.5, 'commands.run': 9, 'commands.plan': 9, 'commands.why': 9,
    'commands.doctor': 9, 'commands.graph': 9, 'commands.schema': 9,
    'commands.validate': 9, 'commands.status': 9, 'commands.logs': 9, 'commands.clean': 9.1,
    'commands.adopt': 9, 'commands.init': 9, 'cli': 9.5,
    'commands.audit.verify': 9,
    'commands.verify': 9, 'commands.trace': 9, 'commands.impact': 9, 'lineage': 4.9,
    'reach': 5.1,
    'inventory': 4.9,
    'recheck': 6,
    'state.index': 3, 'standing': 3.5, 'ahead': 3, 'register': 5.6, 'shortcut': 5.7, 'session': 4,
    'outline': 4.3, 'plainly': 0, 'parser': 9.4, 'commands.signals': 8.5,
    'commands.listeners': 8.5, 'commands.swift': 8.8,
    'commands.queue.opening': 8.6, 'commands.queue.enqueue': 9, 'commands.queue.import': 9,
    'commands.queue.stats': 9, 'commands.queue.list': 9, 'commands.queue.show': 9,
    'commands.queue.retry_failed': 9, 'commands.queue.pause': 9, 'commands.queue.resume': 9,
    'commands.queue.purge': 9, 'commands.queue.run': 9.2,
    'embedding.errors': 8, 'embedding.retrying': 8, 'embedding.quota': 8,
    'embedding.defaults': 8, 'embedding.papers': 8, 'embedding.coordinator': 8.1,
    'orchestrator_v2': 9, 'queue': 9,
}

#: Packages hold a sentence each (the root: the version too) and import nothing.
PACKAGES = ('', 'state', 'launch', 'report', 'report.html', 'commands', 'commands.audit',
            'commands.queue', 'embedding', 'work')

#: They run inside the processor: what is true of the runner's own process is not true of them.
IN_THE_FORK = ('launch.boot', 'launch.keeper', 'launch.ready', 'launch.ending', 'launch.seed')
IN_THE_PROCESSOR = ('processor', *IN_THE_FORK, 'isolation')

#: Standard modules that are imported where they are used, by everybody, and why.
LATE = {
    'ast': 'slow; needed only when a source is new',
    'concurrent': 'slow; for programs that embed the runner only (FOR_PROGRAMS)',
    'ctypes': 'slow; Windows only',
    'difflib': 'slow; needed only for a mistake in a definition',
    'fcntl': 'POSIX only',
    'msvcrt': 'Windows only',
    'pickle': 'slow; needed only for the processes of a program that embeds the runner',
    'queue': 'Windows only',
    'random': 'slow; needed only for a retry',
    'select': 'a library of its own; needed only when a signal came',
    'selectors': 'slow; needed only when something is launched',
    'shutil': 'slow; needed only to remove a folder',
    'sqlite3': 'slow, and missing from some builds; needed only for the queue',
    'struct': 'needed only when something is launched',
    '_socket': 'needed only to hand descriptors to a keeper',
    'array': 'needed only to hand descriptors to a keeper',
    'marshal': 'needed only to talk to a keeper',
    'hashlib': 'slow; needed only when there is much to hash',
    'hmac': 'needed only with a key for the audit',
    'gc': 'needed only in a keeper',
    'resource': 'POSIX only',
    'subprocess': 'slow; needed only when something is launched',
    'tempfile': 'slow; needed only for a bug, and to do a task again',
    'threading': 'slow; needed on Windows, for several large files, and by programs with threads',
    'traceback': 'slow; needed only for a bug',
    'unicodedata': 'large; needed only for names that are not ASCII',
    'warnings': 'needed only when a source is new',
}

#: Modules that nobody imports, and why.
NEVER = {
    **dict.fromkeys(('socket', 'ssl', '_ssl', 'http', 'urllib', 'asyncio', 'xmlrpc',
                     'socketserver', 'ftplib', 'smtplib', 'multiprocessing', 'concurrent'),
                    'an offline tool opens no sockets'),
    'dataclasses': 'importing it takes longer than starting Python',
    'logging': 'its handlers load socket',
}

#: What programs that embed the runner get all the same, where they ask for it: pools of threads
#: and of processes.  Nothing that belongs to a run imports these modules.
FOR_PROGRAMS = {('embedding.coordinator', 'concurrent')}

#: Imported by these modules only.
OWNED_MODULES = {
    'time': ('clock', 'launch.processes'),
    # A command is loaded when it is called, by its name.
    'importlib': ('cli', 'hashing'),
    'subprocess': ('launch.posix', 'launch.nursery', 'launch.windows', 'launch.system'),
    'selectors': ('launch.posix',),
    'ctypes': ('launch.windows', 'sharing', 'isolation', 'launch.boot', 'report.terminal'),
    'threading': ('launch.windows', 'ahead', 'sharing', 'limits', 'embedding.papers',
                  'embedding.coordinator', 'database', 'work.orchestrator'),
    'sqlite3': ('database',),
    'queue': ('launch.windows',),
    'fcntl': ('oslocks', 'locks', 'files'),
    'msvcrt': ('oslocks',),
    'hmac': ('report.chain',),
    'signal': ('launch.posix', 'launch.orphans', 'launch.nursery', 'launch.windows',
               'commands.signals', 'retry'),
    'argparse': ('parser',),
    'tempfile': ('cli', 'commands.verify'),
    'random': ('cli', 'embedding.retrying', 'work.worker'),
    'hashlib': ('hashing', 'launch.boot'),
}

_LAUNCH = tuple(name for name in LEVELS if name.startswith('launch.'))

#: Attributes of standard modules that these modules alone may name.
OWNED_NAMES = {
    'os.replace': ('files',),
    # Windows: renaming a folder to itself tells whether somebody has it open.
    'os.rename': ('sharing',),
    # What a processor commits has to be on the disk before the runner hears of it.
    'os.fsync': ('files', 'processor', 'journal'),
    # What SQLite leaves to be flushed, in the one file where times need not be flushed too.
    'os.fdatasync': ('journal',),
    'os.truncate': ('resume',),
    'os.unlink': ('sharing', 'locks'),
    # How a run is listened to belongs to the command, what a signal is called to `retry`.
    'signal.signal': ('commands.signals', 'launch.nursery'),
    'sys.exit': ('launch.boot',),
    'sys.modules': IN_THE_FORK,
}

#: The same for many names at once.
OWNED_PATTERNS = {
    r'os\.(link|symlink|remove|removedirs|sync)': (),
    r'os\.(chdir|_exit)': ('launch.keeper', 'launch.nursery', 'launch.ready', 'launch.ending',
                             'isolation'),
    r'os\.(fork\w*|kill|killpg|wait\w*|system|popen|exec\w+|spawn\w+|posix_spawn\w*|pidfd_open'
    r'|abort|setsid|setpgid)': ('isolation', *_LAUNCH),
    r'os\.(environb?|getenvb?|putenv|unsetenv|getcwdb?)|sys\.(argv|_*(stdin|stdout|stderr)_*)':
        ('cli', *IN_THE_PROCESSOR),
}

#: Private names of the standard library that there is no way around.
PRIVATE = {('launch.windows', '_handle'): 'subprocess shows the handle of a process nowhere else',
           ('launch.boot', '_getframe'): 'a hook learns only from it which line was refused',
           ('launch.ready', '_data'): 'the order of variables is in no other place',
           ('launch.keeper', '_set_native_id'): 'as `threading` does in a fork from 3.13 on',
           ('launch.ending', '_count'): 'the number of threads, without the module for them'}

#: Built-in functions that these modules alone may call.
OWNED_CALLS = {
    'print': (), 'input': (), 'exit': (), 'quit': (), 'breakpoint': (), 'globals': (),
    'eval': (), 'exec': ('launch.boot', 'launch.seed'),
    # To see whether it can be compiled; what comes of it is let go.
    'compile': ('launch.boot', 'commands.validate'),
    '__import__': ('launch.boot',),
}

#: Texts that are names of files: whoever writes one knows too much, but for the owner.
OWNED_TEXTS = {
    r'(.*/)?state(/\S*)?': ('state.names',),
    r'(.*/)?locks(/\S*)?': ('locks',),
    r'.*\.lock(\.json)?': ('locks',),
    r'(run|metrics|stage|checkpoint|progress|retry|items|audit)_.*\.jsonl?': ('state.names',),
    r'(.*/)?(index|pipeline_checkpoint)\.json': ('state.names',),
    r'\..*\.done': ('state.marker',),
    r'\..*\.partial': ('spelling', 'tasks'),
}

#: Constants that have the form of a file name and are none of ours to read or write.
HARMLESS_TEXTS = {
    ('rules', 'state'): 'refused as an output folder',
    ('rules', 'locks'): 'refused as an output folder',
    ('state.run', 'state'): 'a key of the record',
    ('commands.clean', 'state'): 'a flag',
    ('embedding.defaults', 'pipeline_checkpoint.json'): 'a default for the config of others',
}

#: Who may catch everything without raising it again: the last line of the program, and of a
#: processor's; and what calls a function of an embedding program for it.
LAST_LINE = ('cli', 'launch.boot', 'launch.seed', 'launch.ending', 'embedding.coordinator',
             'embedding.retrying', 'work.worker', 'work.orchestrator')

LINES_PER_MODULE = 400
LINES_PER_FUNCTION = 70
LINES_OF_THE_FRONT_DOOR = 25


class Module(NamedTuple):
    """A module of the package under its name inside it (the root is '')."""

    name: str
    text: str
    tree: ast.Module


def make_module(name: str, text: str) -> Module:
    return Module(name, text, ast.parse(text))


def _name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE / 'stagerunner').with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


ALL = {_name_of(path): make_module(_name_of(path), path.read_text('utf-8'))
       for path in sorted((SOURCE / 'stagerunner').rglob('*.py'))}
MODULES = {name: module for name, module in ALL.items() if name not in PACKAGES}


# -- looking into modules ------------------------------------------------------------

class Own(NamedTuple):
    """An import of something of the project: the module it comes from, and the name."""

    module: str
    name: Optional[str]
    line: int


def own_imports(tree: ast.AST) -> Iterator[Own]:
    """Yield the imports of our own modules, wherever they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split('.')[0] == 'stagerunner':
                    yield Own(alias.name[12:], None, node.lineno)
        elif isinstance(node, ast.ImportFrom) and (node.module or '').split('.')[0] \
                == 'stagerunner':
            inside = node.module[12:]
            for alias in node.names:
                whole = f'{inside}.{alias.name}'.lstrip('.')
                if whole in ALL:
                    yield Own(whole, None, node.lineno)
                else:
                    yield Own(inside, alias.name, node.lineno)


def standard_imports(tree: ast.AST) -> Iterator[Tuple[str, int]]:
    """Yield the top-level names of everything else that is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split('.')[0], node.lineno) for alias in node.names
                        if alias.name.split('.')[0] != 'stagerunner')
        elif isinstance(node, ast.ImportFrom) and not node.level:
            name = node.module.split('.')[0]
            if name not in ('stagerunner', '__future__'):
                yield name, node.lineno


def inside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all functions as trees of their own."""
    return (node for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


@lru_cache(maxsize=None)
def defined_names(tree: ast.Module) -> Set[str]:
    """Return what a module makes itself, at its top level."""
    found = set()
    for node in ast.walk(ast.Module(body=[
            node for node in tree.body
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef))], type_ignores=[])):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found | {node.name for node in tree.body
                    if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def texts(tree: ast.AST) -> Iterator[Tuple[str, int]]:
    """Yield the string constants of a module that are neither docstrings nor keys.

    The parts of an f-string come as one text, with `*` for what is filled in.
    """
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef)) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr):
                skipped.add(first.value)
        if isinstance(node, ast.Dict):
            skipped.update(node.keys)
        if isinstance(node, ast.Subscript):
            # Python 3.8 wraps it in an Index.
            skipped.add(getattr(node.slice, 'value', node.slice))
            skipped.add(node.slice)
        if isinstance(node, ast.JoinedStr):
            skipped.update(node.values)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        value = _text(node)
        if value is not None:
            yield value, node.lineno


def _text(node: ast.AST) -> Optional[str]:
    if isinstance(node, ast.JoinedStr):
        return ''.join(_text(part) or '*' for part in node.values)
    # Python 3.7 has Str where newer ones have Constant.
    value = node.s if type(node).__name__ == 'Str' else getattr(node, 'value', None)
    is_constant = type(node).__name__ in ('Str', 'Constant')
    return value if is_constant and isinstance(value, str) else None


# -- rules -----------------------------------------------------------------------------

Found = List[str]


def imports_only_lower_levels(module: Module) -> Found:
    level = LEVELS[module.name]
    return [f'{module.name}:{own.line}: imports {own.module}, which is on level '
            f'{LEVELS.get(own.module)}, not below {level}'
            for own in own_imports(module.tree)
            if own.module and LEVELS.get(own.module, 99) >= level]


def imports_from_the_defining_module(module: Module) -> Found:
    found = []
    for own in own_imports(module.tree):
        if own.name is None or (own.module, own.name) == ('', '__version__'):
            continue
        defining = ALL.get(own.module)
        if own.module in PACKAGES or defining is None:
            found.append(f'{module.name}:{own.line}: {own.name} comes from a package')
        elif own.name not in defined_names(defining.tree):
            found.append(f'{module.name}:{own.line}: {own.name} is not made in {own.module}')
        elif own.name.startswith('_'):
            found.append(f'{module.name}:{own.line}: {own.name} is private to {own.module}')
    found += [f'{module.name}:{node.lineno}: relative import' for node in ast.walk(module.tree)
              if isinstance(node, ast.ImportFrom) and node.level]
    return found


def imports_own_modules_at_its_top(module: Module) -> Found:
    if module.name == 'launch.seed':
        # It finds the package only when it was told where it is, and forgets it again.
        return []
    return [f'{module.name}:{own.line}: imports {own.module} inside a function'
            for function in inside_functions(module.tree) for own in own_imports(function)]


def touches_no_private_name(module: Module) -> Found:
    """Private are names that begin with one underscore; records keep `_replace` and the like."""
    public = ('_replace', '_fields', '_field_defaults', '_asdict', '_make')
    return [f'{module.name}:{node.lineno}: private name {node.attr}'
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and node.attr.startswith('_')
            and not node.attr.startswith('__') and node.attr not in public
            and not (isinstance(node.value, ast.Name) and node.value.id in ('self', 'cls', 'os'))
            and (module.name, node.attr) not in PRIVATE]


def imports_late_what_is_slow(module: Module) -> Found:
    """What may be imported inside functions must be, and nothing else may."""
    if module.name in IN_THE_PROCESSOR:
        return []
    late = {(name, line) for function in inside_functions(module.tree)
            for name, line in standard_imports(function)}
    everywhere = set(standard_imports(module.tree))
    return ([f'{module.name}:{line}: {name} is imported inside a function; say why in LATE'
             for name, line in sorted(late) if name not in LATE]
            + [f'{module.name}:{line}: {name} is imported at the top; LATE says: {LATE[name]}'
               for name, line in sorted(everywhere - late) if name in LATE])


def imports_nothing_forbidden(module: Module) -> Found:
    return [f'{module.name}:{line}: {name}: {NEVER[name]}'
            for name, line in standard_imports(module.tree)
            if name in NEVER and (module.name, name) not in FOR_PROGRAMS]


def imports_only_what_it_owns(module: Module) -> Found:
    return [f'{module.name}:{line}: {name} belongs to {OWNED_MODULES[name]}'
            for name, line in standard_imports(module.tree)
            if name in OWNED_MODULES and module.name not in OWNED_MODULES[name]]


def names_only_what_it_owns(module: Module) -> Found:
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f'{node.value.id}.{node.attr}'
            owners = [OWNED_NAMES[name]] if name in OWNED_NAMES else []
            owners += [owners for pattern, owners in OWNED_PATTERNS.items()
                       if re.fullmatch(pattern, name)]
            if owners and module.name not in owners[0]:
                found.append(f'{module.name}:{node.lineno}: {name} belongs to {owners[0]}')
        elif isinstance(node, ast.ImportFrom) and node.module in ('os', 'sys', 'time', 'signal'):
            found.append(f'{module.name}:{node.lineno}: name {node.module}.… in full')
    return found


def calls_only_what_it_owns(module: Module) -> Found:
    return [f'{module.name}:{node.lineno}: {node.func.id}() belongs to '
            f'{OWNED_CALLS[node.func.id]}'
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            and module.name not in OWNED_CALLS.get(node.func.id, (module.name,))]


def writes_only_names_of_its_own_files(module: Module) -> Found:
    found = []
    for text, line in texts(module.tree):
        for pattern, owners in OWNED_TEXTS.items():
            if (re.fullmatch(pattern, text) and module.name not in owners
                    and (module.name, text) not in HARMLESS_TEXTS):
                found.append(f'{module.name}:{line}: {text!r} is for {owners} to name')
    return found


def catches_everything_only_to_raise_it_again(module: Module) -> Found:
    return [f'{module.name}:{node.lineno}: catches everything'
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ExceptHandler) and module.name not in LAST_LINE
            and (node.type is None or getattr(node.type, 'id', '') in ('Exception',
                                                                       'BaseException'))
            and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)]


def is_of_a_size_to_read(module: Module) -> Found:
    found = []
    if len(module.text.splitlines()) > LINES_PER_MODULE:
        found.append(f'{module.name}: {len(module.text.splitlines())} lines')
    for function in inside_functions(module.tree):
        last = max(getattr(node, 'lineno', 0) for node in ast.walk(function))
        if last - function.lineno + 1 > LINES_PER_FUNCTION:
            found.append(f'{module.name}:{function.lineno}: {function.name} is too long')
    return found


def says_what_it_is_for(module: Module) -> Found:
    found = []
    sentence = (ast.get_docstring(module.tree) or '').partition('\n\n')[0]
    if not sentence.endswith(('.', ':')):
        found.append(f'{module.name}: no sentence at the top')
    for node in module.tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_'):
            first = (ast.get_docstring(node) or '').partition('\n')[0]
            if not first.endswith('.') or len(first) > 99:
                found.append(f'{module.name}:{node.lineno}: {node.name} has no first sentence')
    return found


def postpones_annotations(module: Module) -> Found:
    if module.name in IN_THE_FORK:
        # What they import a fresh interpreter would not have.
        return []
    is_there = any(isinstance(node, ast.ImportFrom) and node.module == '__future__'
                   for node in module.tree.body)
    return [] if is_there else [f'{module.name}: no `from __future__ import annotations`']


Rule = Callable[[Module], Found]

RULES: Dict[Rule, List[Tuple[str, str]]] = {
    imports_only_lower_levels: [
        ('files', 'from stagerunner.locks import TIMEOUT_S'),
        ('files', 'from stagerunner.schema import Fault'),
        ('launch.posix', 'from stagerunner.launch.windows import WindowsLauncher'),
        ('task', 'from stagerunner import scheduler'),
        ('retry', 'import stagerunner.files'),
        ('retry', 'def f():\n    from stagerunner.files import Stat'),
        ('retry', 'from stagerunner.nowhere import x'),
    ],
    imports_from_the_defining_module: [
        ('task', 'from stagerunner.plan import Reason'),
        ('task', 'from stagerunner.state import StateNames'),
        ('task', 'from stagerunner import Stage'),
        ('task', 'from stagerunner.locks import _open'),
        ('task', 'from .plan import decide'),
        ('task', 'from . import plan'),
    ],
    imports_own_modules_at_its_top: [
        ('cli', 'def f():\n    from stagerunner.run import execute'),
        ('cli', 'class C:\n    def f(self):\n        import stagerunner.run'),
    ],
    touches_no_private_name: [
        ('task', 'from stagerunner import retry\nretry._says("x", "y")'),
        ('task', 'def f(lock):\n    return lock._file'),
    ],
    imports_late_what_is_slow: [
        ('plan', 'def f():\n    import json'),
        ('plan', 'import subprocess'),
        ('plan', 'from ast import parse'),
    ],
    imports_nothing_forbidden: [
        ('plan', 'import socket'), ('plan', 'def f():\n    from http import client'),
        ('plan', 'import concurrent.futures'), ('plan', 'from dataclasses import dataclass'),
    ],
    imports_only_what_it_owns: [
        ('plan', 'import time'), ('scheduler', 'from time import sleep'),
        ('task', 'def f():\n    import subprocess'), ('plan', 'import random'),
        ('files', 'import tempfile'),
    ],
    names_only_what_it_owns: [
        ('task', 'import os\nos.replace("a", "b")'), ('commit', 'import os\nf = os.fsync'),
        ('scheduler', 'import os\nos.kill(1, 9)'), ('run', 'import os\nos.environ["X"]'),
        ('run', 'import sys\nsys.stdout.write("x")'), ('run', 'from os import replace'),
        ('run', 'from signal import signal'), ('files', 'import os\nos.rename("a", "b")'),
    ],
    calls_only_what_it_owns: [
        ('run', 'print("x")'), ('run', 'def f():\n    eval("1")'), ('cli', 'input()'),
        ('imports', '__import__("x")'),
    ],
    writes_only_names_of_its_own_files: [
        ('run', 'import os\nos.path.join("x", "state")'), ('run', 'x = "state/logs"'),
        ('run', 'x = f"state/{y}"'), ('run', 'x = f"{root}/locks/{y}"'),
        ('run', 'x = f"{y}.lock"'), ('run', 'x = f"run_{y}.json"'), ('run', 'x = "index.json"'),
        ('locks', 'x = "state"'), ('task', 'x = f".{y}.done"'), ('task', 'x = f".{y}.partial"'),
    ],
    catches_everything_only_to_raise_it_again: [
        ('run', 'try:\n    x\nexcept Exception:\n    pass'),
        ('run', 'try:\n    x\nexcept:\n    y()'),
        ('run', 'try:\n    x\nexcept BaseException as e:\n    raise ValueError from e'),
    ],
    is_of_a_size_to_read: [
        ('run', 'x = 1\n' * 401),
        ('run', 'def f():\n' + '    x = 1\n' * 70),
    ],
    says_what_it_is_for: [
        ('run', 'x = 1'), ('run', '"""no full stop"""'), ('run', '"""Good."""\ndef f(): pass'),
        ('run', '"""Good."""\nclass C:\n    """no full stop"""'),
    ],
    postpones_annotations: [('run', 'x = 1')],
}


def _by_name(rule: Rule) -> str:
    return rule.__name__


@pytest.mark.parametrize('rule', RULES, ids=_by_name)
def test_every_module_keeps_the_rule(rule):
    assert [found for module in MODULES.values() for found in rule(module)] == []


@pytest.mark.parametrize(('rule', 'name', 'text'), [
    pytest.param(rule, name, text, id=f'{rule.__name__}-{number}')
    for rule, planted in RULES.items() for number, (name, text) in enumerate(planted)])
def test_a_planted_fault_is_found(rule, name, text):
    assert rule(make_module(name, text)) != []


@pytest.mark.parametrize('rule', RULES, ids=_by_name)
def test_a_module_without_fault_is_left_alone(rule):
    text = ('"""What it is for: `state/` and locks/x.lock."""\n'
            'from __future__ import annotations\n'
            'import os\n'
            'from stagerunner import __version__\n'
            'from stagerunner import retry\n'
            'from stagerunner.errors import OK\n'
            'def f(row):\n'
            '    """Say state/run_x.json."""\n'
            '    import shutil\n'
            '    try:\n'
            '        return os.path.join("a", f"{row}.json"), {"state": row["state"]}\n'
            '    except BaseException:\n'
            '        shutil.rmtree("x")\n'
            '        raise\n')

    assert rule(make_module('task', text)) == []


# -- the whole house ---------------------------------------------------------------------

def test_every_module_has_a_level_and_every_level_a_module():
    assert sorted(MODULES) == sorted(LEVELS)


@pytest.mark.parametrize('name', PACKAGES, ids=lambda name: name or 'stagerunner')
def test_a_package_holds_a_sentence_and_imports_nothing(name):
    first, *rest = ALL[name].tree.body

    assert ast.get_docstring(ALL[name].tree).endswith('.')
    assert [node.targets[0].id for node in rest] == ([] if name else ['__version__'])


@pytest.mark.parametrize(('table', 'used'), [
    (LATE, lambda module: {name for name, _ in standard_imports(module.tree)}),
    (OWNED_MODULES, lambda module: {name for name, _ in standard_imports(module.tree)}),
    (OWNED_NAMES, lambda module: {f'{node.value.id}.{node.attr}'
                                  for node in ast.walk(module.tree)
                                  if isinstance(node, ast.Attribute)
                                  and isinstance(node.value, ast.Name)}),
    (OWNED_CALLS, lambda module: {node.func.id for node in ast.walk(module.tree)
                                  if isinstance(node, ast.Call)
                                  and isinstance(node.func, ast.Name)}),
], ids=['LATE', 'OWNED_MODULES', 'OWNED_NAMES', 'OWNED_CALLS'])
def test_no_table_allows_what_nobody_does(table, used):
    """An exception that is not needed any more goes, or it would let in the next one."""
    really = {(key, name) for name, module in MODULES.items() for key in used(module)}
    if table is LATE:
        assert set(table) - {key for key, _ in really} == set()
    else:
        allowed = {(key, owner) for key, owners in table.items() for owner in owners}
        assert allowed - really == set()


def test_only_programs_that_embed_the_runner_import_what_is_for_them():
    faces = ('orchestrator_v2', 'queue')
    inside = ('embedding.', 'work.worker', 'work.orchestrator')
    users = {(name, own.module) for name, module in MODULES.items()
             for own in own_imports(module.tree)
             if own.module in faces or own.module.startswith(inside)}

    assert {name for name, _ in users} == {'orchestrator_v2', 'embedding.coordinator', 'queue',
                                           'work.orchestrator'}
    assert {(module.name, name) for module in MODULES.values()
            for name, _ in standard_imports(module.tree) if name in NEVER} == FOR_PROGRAMS


def test_the_front_door_is_thin_and_loads_the_command_line_only():
    text = FRONT_DOOR.read_text('utf-8')
    tree = ast.parse(text)

    assert len(text.splitlines()) <= LINES_OF_THE_FRONT_DOOR
    assert [own.module for own in own_imports(tree)] == ['cli']
    assert {name for name, _ in standard_imports(tree)} <= {'gc', 'os', 'sys'}


def test_shipped_processors_know_one_module_of_the_package():
    scripts = sorted((SOURCE.parent / 'bin').glob('*.py'))

    assert len(scripts) >= 2
    assert {own.module for script in scripts
            for own in own_imports(ast.parse(script.read_text('utf-8')))} == {'processor'}


@pytest.mark.parametrize(('module', 'absent'), [
    ('stagerunner.cli', sorted({*LATE, *NEVER, 'sqlite3'})),
    # What these import they import for every run: types under `if TYPE_CHECKING` only.
    ('stagerunner.cli, stagerunner.commands.swift',
     ['typing', 'argparse', 'glob', 'stagerunner.definition', 'stagerunner.settings',
      'stagerunner.keys', 'stagerunner.scheduler', 'stagerunner.facts', 'stagerunner.run']),
    ('stagerunner.processor', ['socket', 'subprocess', 'threading', 'argparse', 'tempfile',
                               'stagerunner.definition']),
])
def test_starting_up_loads_nothing_that_is_slow_or_opens_sockets(tmp_path, module, absent):
    """What the standard modules load that we import at the top is theirs to answer for."""
    late = {name for loaded in MODULES.values() for function in inside_functions(loaded.tree)
            for name, _ in standard_imports(function)}
    at_the_top = {name for loaded in MODULES.values()
                  for name, _ in standard_imports(loaded.tree)} - late
    done = run_process(sys.executable, '-S', '-E', '-c',
                       f'import sys, {", ".join(sorted(at_the_top - set(absent)))}\n'
                       'before = set(sys.modules)\n'
                       f'sys.path.insert(0, {str(SOURCE)!r})\n'
                       f'import {module}\n'
                       'print(*sorted(set(sys.modules) - before))\n'
                       'print(*sorted(sys.modules))', cwd=tmp_path, is_measured=False)
    ours, everything = (set(line.split()) for line in done.lines)

    assert module.split(', ')[-1] in ours, done.err
    assert ours & set(absent) == set()
    assert everything & {'socket', 'ssl', 'http', 'asyncio', 'multiprocessing'} == set()

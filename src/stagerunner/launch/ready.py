"""What a keeper makes ready before it forks a warm processor, so that the fork has little to do.

What a fork writes to is a copy of one more page of the keeper's memory, and to
copy it takes longer than most of what a keeper does there.  So the keeper
itself is kept in the state in which a script begins: `sys.modules`, `sys.argv`,
`__main__`, environment and folder are those of the next processor, and the code
of a script that ended well before is compiled already, from the same bytes.
"""

import os
import sys

from stagerunner.launch import boot

#: So many compiled scripts are kept, of at most so many bytes of source each.
_KEPT_SCRIPTS, _KEPT_BYTES = 64, 1 << 20


#: Variables by which an interpreter tells or counts what it does from its start on.
_TELLING = ('PYTHONVERBOSE', 'PYTHONPROFILEIMPORTTIME', 'PYTHONMALLOCSTATS', 'PYTHONDUMPREFS',
            'PYTHONTRACEMALLOC', 'PYTHONPERFSUPPORT', 'PYTHON_PERF_JIT_SUPPORT')


#: Variables for `boot`, which no processor sees.
FENCED = 'STAGERUNNER_FENCED'
_TOLD = (b'STAGERUNNER_PINNED', FENCED.encode())


class Prepared:
    """One processor that only waits for a fork: its module, its code (if known), its variables."""

    def __init__(self, env, argv, pinned):
        self.env = env
        self.argv = argv
        #: Its files, as `boot.handed_over` tells.
        self.pinned = pinned
        self.module = None
        self.code = None
        #: What others are to see of it, for `Shown`.
        self.shown = None
        #: Name, digest and path of its file, once that is certain.
        self.script = ()
        #: Why it cannot be started.
        self.error = None


class Ready:
    """Puts a keeper into the state in which a processor begins, again and again."""

    def __init__(self, start, started, kernel):
        self.shown = Shown(kernel)
        self.importer = started
        self.pins = boot.Pins(boot.load_sha256())
        #: What a processor is told when it tries to reach a network, once there is a fence.
        self.about = {}
        #: Variables in the order in which C has them; None: unknown.
        self.names = list(os.environb)
        self.locale = os.environb.get(b'LC_CTYPE')
        #: Scripts that ended well, and the code of those that were started again: by path and
        #: digest.  A script that could bring its compiler down is compiled in a fork only.
        self.proven = set()
        self.codes = {}
        start.forget_the_rest()

    def prepare(self, job):
        """Become what the next fork is to be; what fails is left for the fork to tell."""
        env, argv = job['env'], [os.fsdecode(part) for part in job['argv']]
        told = {os.fsdecode(name): os.fsdecode(env.pop(name)) for name in list(env)
                if name.startswith(_TOLD)}
        prepared = Prepared(env, argv, boot.handed_over(told))
        try:
            # Always: there may be another folder of that name by now.
            os.chdir(job['cwd'])
            self._set_variables(env)
            self._set_script(prepared)
        except (OSError, ValueError) as error:
            self.names = None
            prepared.error = error
            return prepared
        if FENCED in told:
            about = boot.told_of(os.environ, prepared.pinned, prepared.module)
            if not self.about:
                boot.explain_refusals(self.about)
            self.about.update(about)
        prepared.shown = self.shown.spell([argv[0], *argv[2:]], env)
        prepared.script = sys.argv[0], prepared.pinned[0][1], prepared.module.__file__
        prepared.code = self._code(prepared.script)
        return prepared

    def ended_well(self, script):
        """Take note that a processor can be compiled, and do so the second time."""
        name, digest, path = script
        if (name, digest) not in self.proven:
            if len(self.proven) >= _KEPT_SCRIPTS:
                self.proven.clear()
                self.codes.clear()
            self.proven.add((name, digest))
        elif (path, digest) not in self.codes:
            self._code(script)

    def _set_variables(self, env):
        """Give this process other variables, in the same order everywhere."""
        known = os.environ._data
        if self.locale is not None:
            # Not given to the keeper either: the interpreter set it at its start (PEP 538).
            env.setdefault(b'LC_CTYPE', self.locale)
        names = list(env)
        changed = names
        if names == self.names:
            changed = [name for name in names if known[name] != env[name]]
        else:
            for name in known:
                os.unsetenv(name)
        for name in changed:
            os.putenv(name, env[name])
        known.clear()
        known.update(env)
        self.names = names

    def _set_script(self, prepared):
        """Be the interpreter that was started with a script and its arguments."""
        argv = prepared.argv
        if hasattr(sys, 'orig_argv'):
            sys.orig_argv = [argv[0], *argv[2:]]  # novermin - asked for above
        sys.argv = argv[2:]
        module = prepared.module = boot.new_main(sys.argv[0])
        self.pins.choose(dict(prepared.pinned))
        boot.rename_importer(self.importer, module.__file__)
        self.importer = module.__file__
        for finder in sys.path_importer_cache.values():
            if hasattr(finder, 'invalidate_caches'):
                finder.invalidate_caches()

    def _code(self, script):
        """Return the compiled script if it is as it was checked, None where the fork is to see."""
        name, digest, path = script
        if (name, digest) not in self.proven:
            return None
        try:
            data = _read(path)
        except OSError:
            return None
        found = self.codes.get((path, digest))
        if found is None and len(data) <= _KEPT_BYTES and (
                self.pins.sha256(data).hexdigest() == digest):
            found = self.codes[path, digest] = data, self._compile(data, path)
        return found[1] if found is not None and found[0] == data else None

    def _compile(self, data, path):
        """Return the code of a script, None where its compiler has something to say about it."""
        said = []
        stream, sys.stderr = sys.stderr, _Listener(said)
        try:
            code = boot.compile_source(data, path)
        except MemoryError:
            code = None
        finally:
            sys.stderr = stream
        return None if said or sys.warnoptions else code


class _Listener:
    """A stream that notes whether anything is said to it."""

    def __init__(self, said):
        self.write = said.append
        self.flush = said.copy


def _read(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while True:
            part = os.read(descriptor, _KEPT_BYTES)
            if not part:
                return b''.join(parts)
            parts.append(part)
    finally:
        os.close(descriptor)


class Shown:
    """The places in memory where other processes read command line and environment."""

    def __init__(self, kernel):
        self.kernel = kernel
        # arg_start, arg_end, env_start, env_end: fields 48 to 51 of proc_pid_stat(5).
        with open('/proc/self/stat', 'rb') as source:
            fields = source.read().rpartition(b')')[2].split()[45:49]
        self.command, self.command_end, self.env, self.env_end = map(int, fields)

    def spell(self, argv, env):
        """Return what `show` needs to show another command line and other variables."""
        if self.kernel is None:
            return argv, env
        return (_block([os.fsencode(part) for part in argv], self.command_end - self.command),
                _block([b'='.join(pair) for pair in env.items()], self.env_end - self.env))

    def show(self, command, env):
        """Show what `spell` returned, as far as there is room."""
        if self.kernel is None:
            boot.show_command_line(command)
            boot.show_environment(env)
            return
        self.kernel.write_memory(self.command, command)
        self.kernel.write_memory(self.env, env)


def _block(parts, room):
    return b''.join([part + b'\0' for part in parts])[:max(room - 1, 0)].ljust(room, b'\0')


def has_acting_start(modules):
    """True when a start of this interpreter does what a fork of it would not repeat.

    It tells of its start, runs somebody's start-up code (that of the standard
    library's folder belongs to the interpreter), starts threads, or has a
    search path that depends on the working directory.  `modules` are those of a fresh start.
    """
    library = os.path.dirname(os.__file__)
    for name in ('sitecustomize', 'usercustomize'):
        origin = getattr(sys.modules.get(name), '__file__', None)
        if name in modules and os.path.dirname(origin or '') != library:
            return True
    if sys.version_info[:2] == (3, 8) and (
            sys.flags.dev_mode or 'debug' in os.environ.get('PYTHONMALLOC', '')):
        # With the debugging allocator any fork of Python 3.8 crashes when it ends.
        return True
    path = os.environ.get('PYTHONPATH')
    return (any(os.environ.get(name) for name in _TELLING)
            or len(os.listdir('/proc/self/task')) > 1
            or bool(path) and not all(map(os.path.isabs, path.split(os.pathsep))))


def hide_variables():
    """Take the variables of this process out of what its children can read of it in /proc.

    They are those of the runner: more than a stage with `cleanEnv` is to see.
    """
    for name, value in list(os.environb.items()):
        try:
            # A copy, in another place than the one that /proc shows.
            os.environb[name] = value
        except (OSError, ValueError):
            continue
    boot.show_environment({})

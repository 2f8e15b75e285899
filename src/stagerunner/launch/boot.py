"""Run a Python processor from exactly the bytes that were scanned and hashed.

Started as `python boot.py PROCESSOR ARGUMENT...` by the interpreter of the
processors, or used by a keeper; it imports nothing of the project.  `STAGERUNNER_PINNED`
(and `…1`, `…2` where it is too long for one variable) lists the processor and
its local helpers, a line `SHA-256 path` each.
A file that changed since it was checked ends the attempt with exit code 75: the
next attempt checks it again.  Helpers are compiled from their source, never
from a cached `.pyc`: that is trusted by time stamp and size, which an edit may
keep.

Beyond that the processor sees what it would see under `python PROCESSOR`, but for one more frame
at the bottom of its stack.
"""

import sys

CHANGED = 75

_MISSING = object()


class Start:
    """What an interpreter has loaded when it comes to the first line of a script."""

    def __init__(self, modules, importers):
        self.modules, self.importers = modules, importers

    def forget_the_rest(self):
        """Forget all that was loaded since."""
        for name in set(sys.modules) - self.modules:
            module = sys.modules.pop(name)
            parent, _, child = name.rpartition('.')
            if parent in self.modules and vars(sys.modules[parent]).get(child) is module:
                delattr(sys.modules[parent], child)
        importers = sys.path_importer_cache
        for path in set(importers) - self.importers:
            del importers[path]


def rename_importer(started, script):
    """Let the file by which the interpreter was started have been another one."""
    importers = sys.path_importer_cache
    if started in importers:
        importers[script] = importers.pop(started)


_start = Start(set(sys.modules), set(sys.path_importer_cache))


def load_sha256():
    """Return the constructor of the built-in hash; loading OpenSSL would cost milliseconds."""
    for name in ('_sha2', '_sha256'):
        try:
            return __import__(name).sha256
        except ImportError:
            pass
    import hashlib
    return hashlib.sha256


def read_pinned(path, digest, sha256):
    """Return the bytes of a file, or end the attempt when they are not the ones checked."""
    with open(path, 'rb') as source:
        data = source.read()
    if sha256(data).hexdigest() != digest:
        sys.stderr.write('stagerunner: %s changed after it was checked; '
                         'the next attempt checks it again\n' % path)
        sys.stderr.flush()
        sys.exit(CHANGED)
    return data


def _one_spelling(path):
    """Return the path of a file as it is without links and (Windows) in small letters."""
    import os
    return os.path.normcase(os.path.realpath(path))


class Pins:
    """Makes every import of a pinned file compile exactly the bytes that were checked.

    Where the source has no stat, importlib neither reads nor writes a `.pyc`.
    """

    def __init__(self, sha256):
        import os
        self.sha256 = sha256
        self.base = os.path.basename
        self.choose({})
        loader = sys.modules['_frozen_importlib_external'].SourceFileLoader
        plain_stats, plain_data = loader.path_stats, loader.get_data

        def path_stats(loader, path):
            if self.digest_of(path):
                raise OSError(path)
            return plain_stats(loader, path)

        def get_data(loader, path):
            digest = self.digest_of(path)
            return read_pinned(path, digest, sha256) if digest else plain_data(loader, path)

        loader.path_stats, loader.get_data = path_stats, get_data

    def choose(self, pinned):
        """Pin these files, digests by path, and no others."""
        self.pinned = pinned
        self.names = {self.base(path) for path in pinned}
        self.real = None

    def digest_of(self, path):
        """Return the digest of a pinned file, None for others.

        A folder on the search path may be written with links, unlike the pinned files.
        """
        if path in self.pinned or self.base(path) not in self.names:
            return self.pinned.get(path)
        if self.real is None:
            self.real = {_one_spelling(name): digest for name, digest in self.pinned.items()}
        return self.real.get(_one_spelling(path))


def explain_refusals(about):
    """Tell the author of a processor which line of it tried to reach a network.

    `about` has its `files`, and the `stage` and `root` that it is told.

    The kernel refuses such a call on Linux anyway, with no more than "not permitted"; elsewhere
    this hook is all there is, and code that wants to gets around it.  Python 3.7 has no hooks.
    """
    if not hasattr(sys, 'addaudithook'):
        return
    import os
    is_fence = not sys.platform.startswith('linux')
    local = (1, 16)  # AF_UNIX, AF_NETLINK
    asked = []

    def place():
        frame, own = sys._getframe(2), about['files']
        while frame is not None and os.path.abspath(frame.f_code.co_filename) not in own:
            frame = frame.f_back
        if frame is None:
            return 'outside its own code'
        path = os.path.abspath(frame.f_code.co_filename)
        shown = os.path.relpath(path, about['root']) if about['root'] else path
        return '%s:%d' % (shown, frame.f_lineno)

    def refuse(address):
        where = 'to %s ' % ':'.join(map(str, address)) if address else ''
        raise PermissionError(1, 'Offline violation: connection %srefused in stage %r (%s)'
                              % (where, about['stage'], place()))

    def hook(event, arguments):
        if event[:7] != 'socket.':
            return
        if event == 'socket.getaddrinfo':
            asked[:] = arguments[:2]
            if is_fence:
                refuse(asked)
        elif event == 'socket.__new__':
            if arguments[1] not in local and arguments[1] != -1:
                refuse(asked)
        elif is_fence and event in ('socket.connect', 'socket.bind', 'socket.sendto') and (
                isinstance(arguments[1], tuple)):
            refuse(arguments[1][:2])

    sys.addaudithook(hook)  # novermin - asked for above


def told_of(environ, pinned, module):
    """Return what `explain_refusals` has to know of a processor."""
    import os
    return {'files': {os.path.abspath(name) for name in [module.__file__, *dict(pinned)]},
            'stage': environ.get('PIPELINE_STAGE_NAME', ''),
            'root': environ.get('PIPELINE_ROOT', '')}


def new_main(script):
    """Put a fresh `__main__` in place of this one, as `python script` makes it."""
    import os
    module = type(sys)('__main__')
    names = vars(module)
    if sys.version_info < (3, 14):
        names['__annotations__'] = {}
    names['__builtins__'] = sys.modules['builtins']
    names['__file__'] = os.path.abspath(script) if sys.version_info >= (3, 9) else script
    if sys.version_info < (3, 14):
        names['__cached__'] = None
    external = sys.modules['_frozen_importlib_external']
    names['__loader__'] = external.SourceFileLoader('__main__', module.__file__)
    sys.modules['__main__'] = module
    if not getattr(sys.flags, 'safe_path', False) and not sys.flags.isolated:
        sys.path[0] = os.path.dirname(os.path.realpath(script))
    return module


def handed_over(environ):
    """Take the list of pinned files out of the variables that hold it: (path, digest) pairs."""
    lines, name, number = [], 'STAGERUNNER_PINNED', 0
    while name in environ:
        lines += environ.pop(name).split('\n')
        number += 1
        name = 'STAGERUNNER_PINNED%d' % number
    return [line.partition(' ')[::-2] for line in lines]


def compile_source(data, path):
    """Return the code of a script, or None when an interpreter has its own words for it."""
    head = b''.join(data.split(b'\n', 2)[:2])
    try:
        if b'coding' not in head:
            data.decode('utf-8')
        return compile(data, path, 'exec', dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return None


def _run_file(data, path):
    """Run checked bytes the way an interpreter runs a file, for the errors that only this makes.

    Returns False when it failed; the error is told by then.  Raises `AttributeError`,
    `ImportError` or `OSError` where the system has no files in memory.
    """
    import ctypes
    import os
    libc, python = ctypes.CDLL(None, use_errno=True), ctypes.pythonapi
    descriptor = libc.memfd_create(b'', 1)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), 'memfd_create')
    with open(descriptor, 'wb', closefd=False) as target:
        target.write(data)
    os.lseek(descriptor, 0, 0)
    libc.fdopen.restype = ctypes.c_void_p
    python.PyRun_SimpleFileExFlags.argtypes = [
        ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p]
    return python.PyRun_SimpleFileExFlags(
        libc.fdopen(descriptor, b'rb'), os.fsencode(path), 1, None) == 0


def show_command_line(argv):
    """Show another command line in `ps` and /proc, as far as there is room (proc_pid_stat(5))."""
    import os
    _show(45, [os.fsencode(part) for part in argv])


def show_environment(env):
    """Show other variables in /proc; only for who has copies of all that are there."""
    _show(47, [name + b'=' + value for name, value in env.items()])


def _show(place, parts):
    """Overwrite a part of this process's memory between two addresses, which its status tells."""
    import os
    try:
        with open('/proc/self/stat', 'rb') as source:
            fields = source.read().rpartition(b')')[2].split()
        start, end = int(fields[place]), int(fields[place + 1])
        text = b''.join(part + b'\0' for part in parts)[:max(end - start - 1, 0)]
        memory = os.open('/proc/self/mem', os.O_WRONLY)
        try:
            os.pwrite(memory, text.ljust(end - start, b'\0'), start)
        finally:
            os.close(memory)
    except (OSError, AttributeError):
        # No such file, no rights, no such call (wine shows Linux's /proc): only people look at it.
        pass


def main(started):
    """Become the processor; return its code and the module in which it is to run.

    `started` is the file by which the interpreter was really started.
    """
    import os
    pinned = handed_over(os.environ)
    del sys.argv[0]
    script = sys.argv[0]
    if hasattr(sys, 'orig_argv'):
        del sys.orig_argv[len(sys.orig_argv) - len(sys.argv) - 1]  # novermin - asked for above
    module = new_main(script)
    sha256 = load_sha256()
    data = read_pinned(script, pinned[0][1], sha256)
    Pins(sha256).choose(dict(pinned))
    if os.environ.pop('STAGERUNNER_FENCED', ''):
        explain_refusals(told_of(os.environ, pinned, module))
    _start.forget_the_rest()
    rename_importer(started, module.__file__)
    return code_of(data, module, started), module


def begin(prepared, sha256, started):
    """Return code and module of what a keeper has prepared (`launch.ready`), in its fork."""
    module, code = prepared.module, prepared.code
    # No other reference to it may be left: it ends when `sys.modules` forgets it.
    prepared.module = None
    if code is None:
        data = read_pinned(module.__file__, prepared.pinned[0][1], sha256)
        code = code_of(data, module, started)
    return code, module


def code_of(data, module, started):
    """Return the code of a script; where there is none, the interpreter says why."""
    try:
        code = compile_source(data, module.__file__)
    except MemoryError:
        leave(module, started)
        raise
    return code if code is not None else _run_odd(data, module, started)


def _run_odd(data, module, started):
    """Run or refuse what cannot be compiled as it is; return the code that is left to run."""
    path = module.__file__
    try:
        has_run = _run_file(data, path)
    except (AttributeError, ImportError, OSError, TypeError):
        has_run = None
    if has_run is None:
        # Refused in slightly other words than the interpreter's.
        leave(module, started)
        return compile(data, path, 'exec', dont_inherit=True)
    if not has_run:
        # It is told by now, and who is to be inspected (`-i`) is told of each exit.
        sys.excepthook = lambda *told: None
        sys.exit(1)
    return compile('', path, 'exec')


def _say(text):
    import os
    try:
        sys.stderr.write(text)
    except Exception:
        os.write(2, text.encode())


def forget_file(module):
    """Do what an interpreter does after the last line of a script."""
    for name in ('__file__', '__cached__')[:1 if sys.version_info < (3, 8) else 2]:
        vars(module).pop(name, None)


def leave(module, started):
    """Prepare for the exception that leaves the script: nobody shall see the frame below it.

    The hook is called when all frames are gone, and puts the script's own hook
    back first.
    """
    kind = sys.exc_info()[0]
    if kind is not None and not sys.flags.inspect and issubclass(kind, SystemExit):
        return
    hook = getattr(sys, 'excepthook', _MISSING)
    own = (main.__code__.co_filename, started)

    def show(kind, error, trace):
        sys.excepthook = hook
        while trace is not None and trace.tb_frame.f_code.co_filename in own:
            trace = trace.tb_next
        sys.last_traceback = trace
        if error is not None:
            error.__traceback__ = trace
        if hook is _MISSING:
            del sys.excepthook
            _say('sys.excepthook is missing\n')
            sys.__excepthook__(kind, error, trace)
        else:
            call(kind, error, trace)
        forget_file(module)

    def call(kind, error, trace):
        try:
            hook(kind, error, trace)
        except BaseException as second:
            if isinstance(second, SystemExit) and not sys.flags.inspect:
                raise
            _say('Error in sys.excepthook:\n')
            second.__traceback__ = second.__traceback__.tb_next
            sys.__excepthook__(type(second), second, second.__traceback__)
            _say('\nOriginal exception was:\n')
            sys.__excepthook__(kind, error, trace)

    sys.excepthook = show


if __name__ == '__main__':
    #: Kept, or the globals of the functions above would go with the old module.
    _boot_module = sys.modules['__main__']
    _started = __file__
    show_command_line(getattr(sys, 'orig_argv', [sys.executable])[:1] + sys.argv[1:])
    _code, _script = main(_started)
    try:
        exec(_code, vars(_script))
        forget_file(_script)
    except BaseException:
        leave(_script, _started)
        raise
    finally:
        # What the script made goes when an interpreter would let it go.
        del _code, _script

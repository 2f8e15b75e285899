"""Run a Python processor from exactly the bytes that were scanned and hashed.

Started as `python boot.py PROCESSOR ARGUMENT...` by the interpreter of the
processors; it imports nothing of the project.  `STAGERUNNER_PINNED` (and `…1`,
`…2` where it is too long for one variable) lists the processor and its local
helpers, a line `SHA-256 path` each.  A file that changed since it was checked
ends the attempt with exit code 75: the next attempt checks it again.  Helpers
are compiled from their source, never from a cached `.pyc`: that is trusted by
time stamp and size, which an edit may keep.

Beyond that the processor sees what it would see under `python PROCESSOR`.
"""

import sys

CHANGED = 75


def _sha256():
    """Return the constructor of the built-in hash; loading OpenSSL would cost milliseconds."""
    for name in ('_sha2', '_sha256'):
        try:
            return __import__(name).sha256
        except ImportError:
            pass
    import hashlib
    return hashlib.sha256


def _read_pinned(path, digest, sha256):
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


def _pin_helpers(pinned, sha256):
    """Make every import of a pinned file compile exactly the bytes that were checked.

    Where the source has no stat, importlib neither reads nor writes a `.pyc`.
    """
    import os
    loader = sys.modules['_frozen_importlib_external'].SourceFileLoader
    plain_stats, plain_data = loader.path_stats, loader.get_data
    names = {os.path.basename(path) for path in pinned}
    real = {_one_spelling(path): digest for path, digest in pinned.items()}

    def digest_of(path):
        # A folder on the search path may be written with links, unlike the pinned ones.
        if path in pinned or os.path.basename(path) not in names:
            return pinned.get(path)
        return real.get(_one_spelling(path))

    def path_stats(self, path):
        if digest_of(path):
            raise OSError(path)
        return plain_stats(self, path)

    def get_data(self, path):
        digest = digest_of(path)
        return _read_pinned(path, digest, sha256) if digest else plain_data(self, path)

    loader.path_stats, loader.get_data = path_stats, get_data


def _trim(hook, own):
    """Wrap an exception hook so that it does not see the frames of this file."""
    def trimmed(kind, error, trace):
        while trace is not None and trace.tb_frame.f_code.co_filename == own:
            trace = trace.tb_next
        if error is not None:
            error.__traceback__ = trace
        hook(kind, error, trace)
    return trimmed


def _new_main(script):
    """Put a fresh `__main__` in place of this one, as `python script` makes it."""
    import os
    module = type(sys)('__main__')
    module.__file__ = os.path.abspath(script) if sys.version_info >= (3, 9) else script
    module.__builtins__ = sys.modules['builtins']
    if sys.version_info < (3, 14):
        module.__cached__ = None
        module.__annotations__ = {}
    external = sys.modules['_frozen_importlib_external']
    module.__loader__ = external.SourceFileLoader('__main__', module.__file__)
    sys.modules['__main__'] = module
    if not getattr(sys.flags, 'safe_path', False) and not sys.flags.isolated:
        sys.path[0] = os.path.dirname(os.path.realpath(script))
    return module


def _handed_over(environ):
    """Take the list of pinned files out of the variables that hold it."""
    lines, name = [], 'STAGERUNNER_PINNED'
    number = 0
    while name in environ:
        lines += environ.pop(name).split('\n')
        number += 1
        name = 'STAGERUNNER_PINNED%d' % number
    return lines


def main():
    """Become the processor."""
    import os
    lines = _handed_over(os.environ)
    pinned = {}
    for line in lines:
        digest, _, path = line.partition(' ')
        pinned[path] = digest
    del sys.argv[0]
    script = sys.argv[0]
    sha256 = _sha256()
    data = _read_pinned(script, lines[0].partition(' ')[0], sha256)
    _pin_helpers(pinned, sha256)
    module = _new_main(script)
    own = main.__code__.co_filename
    default = sys.excepthook = _trim(sys.__excepthook__, own)
    try:
        exec(compile(data, module.__file__, 'exec', dont_inherit=True), module.__dict__)
    except BaseException:
        if getattr(sys, 'excepthook', default) is not default:
            sys.excepthook = _trim(sys.excepthook, own)
        raise


if __name__ == '__main__':
    #: Kept, or the globals of the functions above would go with the old module.
    _boot_module = sys.modules['__main__']
    main()

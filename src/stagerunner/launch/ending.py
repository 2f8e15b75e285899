"""End a warm processor as soon as nothing of its script is left that could notice.

When a script is over, an interpreter waits for its threads, calls what was
registered for the end, flushes its streams, and takes apart first the script
and the modules that it loaded, then those that every interpreter has, then its
own types and names.  All of that happens here too, up to the modules that every
interpreter has: to take those apart means to copy most pages of the keeper, one
after the other, for nothing.  At that point `Ending` looks at what is left of
the script.  Where anything is left whose end could do something (an object with
a finaliser, an open file, a generator), and whenever there is the least doubt,
the interpreter goes on as usual.
"""

import _thread
import _weakref
import gc
import os
import sys

#: The script is taken apart before these modules by interpreters of this version on.
_ORDERLY = (3, 8)

#: Functions of the standard library may be left: nobody calls them at an interpreter's end.
#: Others may be what C has been asked to call then (an audit hook).
_LIBRARY = (os.path.dirname(os.__file__) + os.sep, '<frozen ')


def _harmless():
    """Return the types whose objects come to their ends in silence."""
    class Plain:
        __slots__ = ('slot',)

    kinds = [dict, list, tuple, set, frozenset, type, property, staticmethod, classmethod,
             _weakref.ref, type(sys), type(len), _Function, type(Plain.__dict__),
             type(Plain.slot), type(dict.update), type(int.__add__), type((1).__add__),
             _Sentinel]
    external = sys.modules['_frozen_importlib_external']
    kinds += [external.FileFinder, external.SourceFileLoader, external.ExtensionFileLoader,
              sys.modules['_frozen_importlib'].ModuleSpec]
    return frozenset(kinds)


_Function = type(_harmless)


class Ending:
    """Ends the process in the middle of the interpreter's own end, with exit code 0."""

    def __init__(self, baseline, leave):
        #: Of the modules that every interpreter has, the one that was loaded last.
        self.last = [(name, module) for name, module in sys.modules.items()
                     if name in baseline and type(module) is type(sys)][-1]
        self.n_modules = len(baseline)
        #: exit(3), None where it cannot be called.
        self.leave = leave
        self.main = None
        self.is_plain = False

    def arm(self, main):
        """Take care of the end of a script that came to its last line, run in module `main`."""
        if (self.leave is None or sys.version_info < _ORDERLY or sys.flags.inspect
                or _has_other_streams()
                # Who knows the collector may have hidden things from it.
                or 'gc' in sys.modules):
            return
        name, module = self.last
        if sys.modules.get(name) is module:
            self.main = _weakref.ref(main)
            # Without another module there is no library in C that wants to hear of the end.
            self.is_plain = len(sys.modules) <= self.n_modules
            # Of a module that is taken apart, what begins with a line goes first.
            vars(module)['_end_of_script'] = _Sentinel(self)

    def leave_if_alone(self):
        """End the process if nobody could notice."""
        if (not sys.is_finalizing() or self.main() is not None or _thread._count()
                or gc.callbacks or gc.get_debug()):
            return
        gc.collect()
        for left in gc.get_objects():
            kind = type(left)
            if kind not in _HARMLESS or (
                    kind is _weakref.ref and left.__callback__ is not None) or (
                    kind is _Function and not left.__code__.co_filename.startswith(_LIBRARY)):
                return
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
        if self.is_plain:
            os._exit(0)
        self.leave(0)


def _has_other_streams():
    """True when a script put others in place: that they cannot be flushed is an exit code."""
    names = vars(sys)
    return any(names.get(name) is not names.get(f'__{name}__') for name in ('stdout', 'stderr'))


class _Sentinel:
    """Is destroyed when the modules that every interpreter has begin to be taken apart."""

    def __init__(self, ending):
        self.ending = ending

    def __del__(self):
        try:
            self.ending.leave_if_alone()
        except BaseException:
            # Whatever it was, the interpreter finds it again on its own way.
            return


_HARMLESS = _harmless()

"""What an interpreter is given to start that is to become a keeper, and then each of its forks.

Small, because all of it is let go at the end of each fork, which copies the pages where it lies:
the work is in `launch.keeper`.
"""

import sys

if __name__ == '__main__':
    #: What a fresh interpreter has at the first line of a script (as in `boot.Start`).
    _modules, _importers = set(sys.modules), set(sys.path_importer_cache)
    sys.path.insert(0, sys.argv[3])
    from stagerunner.launch import boot
    from stagerunner.launch import keeper
    del sys.path[0]
    #: Kept, or the globals of this module would go with it.
    _own_module = sys.modules['__main__']
    _started = __file__
    if sys.argv[2] == 'fence':
        keeper.raise_fence(_started, int(sys.argv[1]), sys.argv[3], sys.argv[4])
    _stage, _end, _prepared = keeper.serve(
        _started, boot.Start(_modules, _importers), int(sys.argv[1]), sys.argv[2])
    _code, _script = boot.begin(_prepared, _stage.pins.sha256, _started)
    del _prepared
    try:
        exec(_code, vars(_script))
        boot.forget_file(_script)
        _end.arm(_script)
    except BaseException:
        boot.leave(_script, _started)
        raise
    finally:
        # What the script made goes when an interpreter would let it go.
        del _code, _script

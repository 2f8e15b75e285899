"""A small process that is isolated once and then becomes the parent of processors.

Started as `python keeper.py CHANNEL REPORT SOURCE` by the Linux launcher, one
per worker and kind.  It has one thread, no lock, no database and no file of
the runner.  For each job it forks; the fork either goes on as the processor
(warm: the interpreter has started already) or executes a program.  The keeper
adopts every descendant that tries to escape, so that nothing of a job is left
when it reports the end; when the runner is gone, it ends its job and itself.

Where there is to be a fence, the start is `python -I -S -B keeper.py CHANNEL
fence SOURCE PYTHON` with the variables of the runner: an interpreter that runs
nobody's `sitecustomize` raises the fence, gets the variables of the processors
over the channel, and only then executes the keeper with them.  What they make
an interpreter (or the dynamic linker) load is inside the fence from its start.

What a warm processor could notice is put back to what a fresh interpreter has:
`sys.modules`, `sys.argv`, `sys.path`, `__main__`, environment, descriptors,
signals.  What cannot be put back is executed fresh (`launch.linux` decides).
"""

import sys

#: What a fresh interpreter has at the first line of a script (as in `boot.Start`).
_modules, _importers = set(sys.modules), set(sys.path_importer_cache)

import _signal  # noqa: E402 - what the baseline has is what a fresh start has
import errno  # noqa: E402
import os  # noqa: E402
import select  # noqa: E402
import time  # noqa: E402

#: After this many rounds of killing, what is still there cannot be killed (state D).
_SWEEPS = 400
_SWEEP_PAUSE_S = 0.005

#: So often the keeper's own children are killed before the whole tree is looked for again.
#: Who forks and ends at once is in no listing of all processes when that is read, but
#: each of them becomes a child of the keeper, and to read those takes microseconds.
_QUICK_ROUNDS = 50

#: What ends when it sees that a job ended (a resource tracker, the end of a pipeline)
#: has this long to do so, in seconds; it is no leftover.
_PATIENCE_S = 0.1

#: Signals that an interpreter ignores, and would hand down ignored to a program.
_IGNORED = (_signal.SIGPIPE, _signal.SIGXFSZ)


#: Variables by which an interpreter tells or counts what it does from its start on.
_TELLING = ('PYTHONVERBOSE', 'PYTHONPROFILEIMPORTTIME', 'PYTHONMALLOCSTATS', 'PYTHONDUMPREFS',
            'PYTHONTRACEMALLOC', 'PYTHONPERFSUPPORT', 'PYTHON_PERF_JIT_SUPPORT')


class Keeper:
    """Serves one runner until it goes away."""

    def __init__(self, channel, kernel, boot, processes):
        self.boot = boot
        self.processes = processes
        self.channel = channel
        self.kernel = kernel
        self.can_be_warm = not has_acting_start()
        self.wake, self._wake_writer = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self._wake_writer, False)
        _signal.set_wakeup_fd(self._wake_writer)
        _signal.signal(_signal.SIGCHLD, lambda signum, frame: None)

    def serve(self):
        """Run jobs; returns only in the fork that is to become a warm processor."""
        while True:
            message, descriptors = self._receive()
            if message is None:
                os._exit(0)
            if message['verb'] != 'run':
                # It was meant for a job that ended meanwhile.
                continue
            process = os.fork()
            if process == 0:
                self._become(message, descriptors)
                return
            for descriptor in descriptors:
                os.close(descriptor)
            self._watch(process)

    # -- in the keeper -----------------------------------------------------------

    def _watch(self, process):
        """See one job through: pass signals on, wait, sweep, report."""
        while True:
            ready = select.select([self.channel, self.wake], [], [])[0]
            if self.wake in ready:
                self._drain()
                found, status, usage = os.wait4(process, os.WNOHANG)
                if found:
                    leftovers = self._sweep(0.0 if os.WIFSIGNALED(status) else _PATIENCE_S)
                    self.channel.send(('ended', status, tuple(usage), leftovers))
                    return
                self._reap_adopted(process)
            if self.channel in ready:
                self._obey(process, self._receive()[0])

    def _receive(self):
        """Return an order with its descriptors; (None, []) when nobody can give any."""
        try:
            return self.channel.receive()
        except OSError:
            return None, []

    def _drain(self):
        try:
            while os.read(self.wake, 4096):
                pass
        except OSError:
            pass

    def _reap_adopted(self, process):
        """Take note of the ends of adopted processes, but leave the job itself to `_watch`."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except OSError:
                return
            if found is None or found.si_pid == process:
                return
            os.waitpid(found.si_pid, 0)

    def _obey(self, process, message):
        """Ask or kill the whole tree; when nobody is there to give orders any more, kill it."""
        if message is None:
            self._sweep()
            os._exit(0)
        if message['verb'] == 'ask':
            self.processes.signal_all(self.processes.descendants(os.getpid()), _signal.SIGTERM)
        elif message['verb'] == 'kill':
            os.kill(process, _signal.SIGKILL)

    def _sweep(self, patience_s=0.0):
        """Kill every descendant that is left; return how many there were."""
        until = time.monotonic() + patience_s
        while not self._is_alone() and time.monotonic() < until:
            time.sleep(_SWEEP_PAUSE_S)
        seen = set()
        for _ in range(_SWEEPS):
            if self._is_alone():
                break
            found = self.processes.descendants(os.getpid())
            seen.update(found)
            self._kill(found)
            time.sleep(_SWEEP_PAUSE_S)
        return len(seen)

    def _is_alone(self):
        """Take note of who ended; True when nobody is left."""
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return True
        return False

    def _kill(self, processes):
        """Kill processes with their groups: a group is hit as a whole, however fast it forks."""
        groups = set()
        for process in processes:
            try:
                groups.add(os.getpgid(process))
            except OSError:
                continue
        for group in groups - {os.getpgrp()}:
            try:
                os.killpg(group, _signal.SIGKILL)
            except OSError:
                continue
        self.processes.signal_all(processes, _signal.SIGKILL)
        for _ in range(_QUICK_ROUNDS):
            if self._is_alone():
                return
            self.processes.signal_all(_children(), _signal.SIGKILL)

    # -- in the fork -------------------------------------------------------------

    def _become(self, job, descriptors):
        """Turn the fork into what the job asks for; returns for a warm processor only."""
        try:
            self._detach(job, descriptors)
            if job['warm'] and self.can_be_warm:
                self._restore(job)
            else:
                for number in _IGNORED:
                    _signal.signal(number, _signal.SIG_DFL)
                os.execvpe(job['argv'][0], job['argv'], job['env'])
        except (OSError, ValueError) as error:
            self.channel.send(('broken', getattr(error, 'errno', errno.EINVAL) or 0))
            os._exit(127)

    def _detach(self, job, descriptors):
        """Leave the keeper: session, signals, descriptors, limits, files, folder."""
        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        parent = os.getppid()
        if self.kernel is not None:
            self.kernel.die_with_parent()
            if os.getppid() != parent:
                os._exit(137)
        os.setsid()
        os.close(self.wake)
        os.close(self._wake_writer)
        output, errors = descriptors[:2]
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.close(output)
        os.close(errors)
        for descriptor in descriptors[2:]:
            os.set_inheritable(descriptor, True)
        os.set_inheritable(self.channel.fileno(), False)
        os.chdir(job['cwd'])
        if job['warm']:
            self.boot.show_command_line([job['argv'][0], *job['argv'][2:]])
        if job['limits']:
            set_limits(job['limits'])
        if job['files'] is not None:
            self.kernel.restrict_files(*job['files'])

    def _restore(self, job):
        """Make this interpreter look as if it had just been started for the processor."""
        self.channel.close()
        env, argv = job['env'], [os.fsdecode(part) for part in job['argv']]
        if b'LC_CTYPE' not in env and 'LC_CTYPE' in os.environ:
            # Not given to the keeper either: the interpreter set it at its start (PEP 538).
            env[b'LC_CTYPE'] = os.environb[b'LC_CTYPE']
        os.environ.clear()
        os.environb.update(env)
        self.boot.show_environment(env)
        if hasattr(sys, 'orig_argv'):
            sys.orig_argv = argv  # novermin - asked for above
        sys.argv = argv[1:]
        for finder in sys.path_importer_cache.values():
            if hasattr(finder, 'invalidate_caches'):
                finder.invalidate_caches()


def _children():
    """Return the processes whose parent is this one; none where the kernel lists no children."""
    try:
        with open(f'/proc/self/task/{os.getpid()}/children', 'rb', 0) as listing:
            return [int(number) for number in listing.read().split()]
    except OSError:
        return []


def has_acting_start():
    """True when a start of this interpreter does what a fork of it would not repeat.

    It tells of its start, runs somebody's start-up code (that of the standard
    library's folder belongs to the interpreter), starts threads, or has a
    search path that depends on the working directory.
    """
    library = os.path.dirname(os.__file__)
    for name in ('sitecustomize', 'usercustomize'):
        origin = getattr(sys.modules.get(name), '__file__', None)
        if name in _modules and os.path.dirname(origin or '') != library:
            return True
    if sys.version_info[:2] == (3, 8) and (
            sys.flags.dev_mode or 'debug' in os.environ.get('PYTHONMALLOC', '')):
        # With the debugging allocator any fork of Python 3.8 crashes when it ends.
        return True
    path = os.environ.get('PYTHONPATH')
    return (any(os.environ.get(name) for name in _TELLING)
            or len(os.listdir('/proc/self/task')) > 1
            or bool(path) and not all(map(os.path.isabs, path.split(os.pathsep))))


def hide_variables(boot):
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


def set_limits(limits):
    """Set the process limits of a stage: bytes of memory, CPU seconds, bytes of a file, CPUs."""
    import resource

    # At the soft limit of CPU seconds comes a signal that says so, at the hard one SIGKILL.
    for kind, value, more in (('memory', resource.RLIMIT_AS, 0), ('cpu', resource.RLIMIT_CPU, 1),
                              ('file', resource.RLIMIT_FSIZE, 0)):
        if limits.get(kind):
            most = resource.getrlimit(value)[1]
            wanted = [limits[kind], limits[kind] + more]
            resource.setrlimit(value, [
                limit if most == resource.RLIM_INFINITY else min(limit, most)
                for limit in wanted])
    if limits.get('cores'):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[:limits['cores']])


def _hold(modules):
    """Keep the end of a fork from tearing down what the keeper made: that would copy its pages.

    A cycle that is frozen is never collected, and neither is what it refers to.
    """
    import gc

    cycle = list(modules.values())
    cycle.append(cycle)
    gc.collect()
    gc.freeze()


def raise_fence(descriptor, source, python):
    """Isolate this process, then become the keeper with the variables of its processors."""
    sys.path.insert(0, source)
    from stagerunner.launch.channel import Channel
    mechanisms, is_enforced = (), False
    try:
        from stagerunner import isolation
        kernel = isolation.Kernel()
        mechanisms = isolation.fence_network(kernel)
        # The host may refuse what the probe asks for: only with a filter of ours does that count.
        is_enforced = 'seccomp' in mechanisms and kernel.refuses_sockets()
    except (ImportError, OSError, AttributeError):
        # No ctypes or no such calls: the report says that nothing is in force.
        pass
    channel = Channel(descriptor)
    env = channel.receive()[0]
    if env is None:
        os._exit(0)
    report = ','.join(('enforced' if is_enforced else '',) + mechanisms)
    os.execvpe(python, [python, __file__, str(descriptor), report, source], env)


def main():
    """Report, serve; return what makes a fork the processor."""
    descriptor, report, source = int(sys.argv[1]), sys.argv[2].split(','), sys.argv[3]
    sys.path.insert(0, source)
    from stagerunner.launch import boot
    from stagerunner.launch import processes
    from stagerunner.launch.channel import Channel
    channel = Channel(descriptor)
    os.set_inheritable(descriptor, False)
    hide_variables(boot)
    kernel = None
    try:
        from stagerunner import isolation
        kernel = isolation.Kernel()
        kernel.become_subreaper()
    except (ImportError, OSError, AttributeError):
        # No ctypes or no such calls: then neither files nor orphans are looked after.
        pass
    sha256 = boot.load_sha256()
    del sys.path[0]
    landlock = kernel.landlock_version() if kernel is not None else 0
    try:
        channel.send(('ready', tuple(report[1:]), report[0] == 'enforced', landlock))
        _hold(sys.modules)
        Keeper(channel, kernel, boot, processes).serve()
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)
    start = boot.Start()
    start.modules, start.importers = _modules, _importers
    return boot, start, sha256


if __name__ == '__main__':
    #: Kept, or the globals of the functions above would go with the old module.
    _keeper_module = sys.modules['__main__']
    _started = __file__
    if sys.argv[2] == 'fence':
        raise_fence(int(sys.argv[1]), sys.argv[3], sys.argv[4])
    _boot, _start, _sha256 = main()
    _code, _script = _boot.main(_start, _started, _sha256)
    try:
        exec(_code, vars(_script))
        _boot.forget_file(_script)
    except BaseException:
        _boot.leave(_script, _started)
        raise
    finally:
        # What the script made goes when an interpreter would let it go.
        del _code, _script

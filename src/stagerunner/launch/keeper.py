"""A small process that is isolated once and then becomes the parent of processors.

Started as `python seed.py CHANNEL REPORT SOURCE` by the Linux launcher, one
per worker and kind.  It has one thread, no lock, no database and no file of
the runner.  For each job it forks; the fork either goes on as the processor
(warm: the interpreter has started already) or executes a program.  The keeper
adopts every descendant that tries to escape, so that nothing of a job is left
when it reports the end; when the runner is gone, it ends its job and itself.

Where there is to be a fence, a fork of the runner raises it and executes the
keeper with the variables of the processors.  Later, when the runner is not to
be forked, the start is `python -I -S -B seed.py CHANNEL fence SOURCE PYTHON`
with the variables of the runner: an interpreter that runs nobody's
`sitecustomize` raises the fence, gets those of the processors over the channel,
and only then executes the keeper.  What they make an interpreter (or the
dynamic linker) load is inside the fence from its start.

What a warm processor could notice is put back to what a fresh interpreter has:
`sys.modules`, `sys.argv`, `sys.path`, `__main__`, environment (`launch.ready`),
descriptors, signals.  What cannot be put back is executed fresh (`launch.linux`
decides).
"""

import _signal
import errno
import gc
import os
import resource
import select
import sys

from stagerunner import isolation
from stagerunner.launch import ending
from stagerunner.launch import processes
from stagerunner.launch import raising
from stagerunner.launch import ready
from stagerunner.launch.channel import Channel

#: What ends when it sees that a job ended (a resource tracker, the end of a pipeline)
#: has this long to do so, in seconds; it is no leftover.
_PATIENCE_S = 0.1

#: A fork that took a job tells name, digest and path of its script in at most so many bytes.
_NOTE_BYTES = 1 << 16

#: Signals that an interpreter ignores, and would hand down ignored to a program.
_IGNORED = (_signal.SIGPIPE, _signal.SIGXFSZ)


class Keeper:
    """Serves one runner until it goes away."""

    def __init__(self, channel, kernel, stage, end, *, is_enforced):
        self.channel = channel
        self.kernel = kernel
        #: What prepares warm processors, None where there can be none, and ends them.
        self.stage = stage
        self.end = end
        self.is_enforced = is_enforced
        #: A pipe that wakes it when a child ended; made for the first job.
        self.wake = self._wake_writer = -1
        self.process = 0
        #: Whether the next fork waits for its job, and not the job for the fork.
        self.is_ahead = False

    def serve(self):
        """Run jobs; returns what was prepared in the fork that is to become a warm processor."""
        while True:
            is_fork, prepared = self._fork_ahead() if self.is_ahead else self._fork_for_job()
            if is_fork:
                return prepared

    def _fork_for_job(self):
        """Wait for a job, fork for it, and see it through; returns as `_fork_ahead`."""
        message, descriptors = self._receive()
        if message is None:
            os._exit(0)
        if message['verb'] == 'split':
            self._split(descriptors[0])
        if message['verb'] != 'run':
            # It was meant for a job that ended meanwhile.
            return False, None
        if self.wake < 0:
            self._settle()
        prepared = None
        if message['warm'] and self.stage is not None:
            self._forget_rubbish()
            prepared = self.stage.prepare(message)
        process = os.fork()
        if process == 0:
            self._leave()
            self._become(message, descriptors, prepared)
            return True, prepared
        for descriptor in descriptors:
            os.close(descriptor)
        if self._watch(process) == 0 and prepared is not None:
            self.stage.ended_well(prepared.script)
        # Without the kernel's help a fork would survive its keeper, and nobody would know.
        self.is_ahead = message['alone'] and prepared is not None and self.kernel is not None
        return False, None

    def _fork_ahead(self):
        """Fork, let the fork take the next job, and see it through.

        Returns, in the fork, True and what it has prepared; in the keeper False and None.
        """
        self._forget_rubbish()
        told, tell = os.pipe()
        try:
            process = os.fork()
        except OSError:
            # There is no room for one process more than is needed.
            self.is_ahead = False
            os.close(told)
            os.close(tell)
            return False, None
        if process == 0:
            os.close(told)
            self._leave()
            return True, self._take_job(tell)
        os.close(tell)
        said = os.read(told, _NOTE_BYTES)
        os.close(told)
        if not said:
            # There is nobody left who gives jobs, or the fork was killed and the job with it.
            os.waitpid(process, 0)
            os._exit(0)
        script = [os.fsdecode(part) for part in said[1:].split(b'\0') if part]
        if self._watch(process) == 0 and len(script) == 3:
            self.stage.ended_well(tuple(script))
        return False, None

    # -- in the keeper -----------------------------------------------------------

    @staticmethod
    def _forget_rubbish():
        """Before a fork: what is there by now is of no concern to the collector of the fork.

        And what lies about for later use is gone: to give it back copies pages.
        """
        gc.collect()
        gc.freeze()

    def _split(self, descriptor):
        """Fork a keeper that is like this one, which has not had a job, and serves a channel.

        The process in between ends at once.  So the new one is no descendant of this one, but a
        child of the runner, who adopts.
        """
        told, tell = os.pipe()
        between = os.fork()
        if between == 0:
            number = 0
            try:
                number = os.fork()
                if number:
                    os.write(tell, b'%d' % number)
            finally:
                if number or sys.exc_info()[0]:
                    os._exit(0)
            os.close(told)
            os.close(tell)
            os.setsid()
            os.set_inheritable(descriptor, False)
            self.channel.move_to(descriptor)
            return
        os.close(tell)
        os.close(descriptor)
        os.waitpid(between, 0)
        number = int(os.read(told, 32) or 0)
        os.close(told)
        self.channel.send(('split', number))

    def _settle(self):
        """Become one that has jobs: adopt whatever these leave, and be told of the ends."""
        self.process = os.getpid()
        if self.kernel is not None:
            self.kernel.become_subreaper()
        self.wake, self._wake_writer = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self._wake_writer, False)
        _signal.set_wakeup_fd(self._wake_writer)
        _signal.signal(_signal.SIGCHLD, lambda signum, frame: None)

    def _watch(self, process):
        """See one job through: pass signals on, wait, sweep, report; return how it ended."""
        while True:
            ready = select.select([self.channel, self.wake], [], [])[0]
            if self.wake in ready:
                self._drain()
                found, status, usage = self._wait_for(process)
                if found:
                    leftovers = processes.sweep(0.0 if os.WIFSIGNALED(status) else _PATIENCE_S)
                    self.channel.send(('ended', status, tuple(usage), leftovers))
                    return status
                self._reap_adopted(process)
            if self.channel in ready:
                self._obey(process, self._receive()[0])

    @staticmethod
    def _wait_for(process):
        # The call looks its own type up in this module, which no processor may find loaded.
        sys.modules['resource'] = resource
        try:
            return os.wait4(process, os.WNOHANG)
        finally:
            del sys.modules['resource']

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
            processes.sweep()
            os._exit(0)
        if message['verb'] == 'ask':
            processes.signal_all(processes.descendants(os.getpid()), _signal.SIGTERM)
        elif message['verb'] == 'kill':
            os.kill(process, _signal.SIGKILL)

    # -- in the fork -------------------------------------------------------------

    def _take_job(self, tell):
        """Become the next job that is given; tell the keeper of which script it is."""
        while True:
            message, descriptors = self._receive()
            if message is None:
                os._exit(0)
            if message['verb'] == 'run':
                break
        prepared = self.stage.prepare(message) if message['warm'] else None
        script = prepared.script if prepared is not None else ()
        os.write(tell, b'\0' + b'\0'.join([os.fsencode(part) for part in script]))
        os.close(tell)
        self._become(message, descriptors, prepared)
        return prepared

    def _leave(self):
        """Leave the keeper: signals, session, what wakes it."""
        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        if self.kernel is not None:
            self.kernel.die_with_parent()
            if os.getppid() != self.process:
                os._exit(137)
        os.setsid()
        os.close(self.wake)
        os.close(self._wake_writer)

    def _become(self, job, descriptors, prepared):
        """Turn the fork into what the job asks for; returns for a warm processor only."""
        try:
            self._connect(job, descriptors)
            if prepared is None:
                for number in _IGNORED:
                    _signal.signal(number, _signal.SIG_DFL)
                os.chdir(job['cwd'])
                self._restrict(job)
                os.execvpe(job['argv'][0], job['argv'], job['env'])
            if prepared.error is not None:
                raise prepared.error
            self._restrict(job)
            self.stage.shown.show(*prepared.shown)
            _number_main_thread()
            self.channel.close()
        except (OSError, ValueError) as error:
            self.channel.send(('broken', getattr(error, 'errno', errno.EINVAL) or 0))
            os._exit(127)

    def _connect(self, job, descriptors):
        """Take the descriptors of a job in place of the keeper's."""
        if job['fenced'] and not self.is_enforced:
            # The first keeper of this kind had a fence, so this job may not go without.
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        output, errors = descriptors[:2]
        os.dup2(output, 1)
        os.dup2(errors, 2)
        os.close(output)
        os.close(errors)
        if job['stdin']:
            given = os.open(job['stdin'], os.O_RDONLY)
            os.dup2(given, 0)
            os.close(given)
        for descriptor in descriptors[2:]:
            os.set_inheritable(descriptor, True)
        os.set_inheritable(self.channel.fileno(), False)

    def _restrict(self, job):
        """Set the limits of a job and shut it out of files that it did not declare."""
        if job['limits']:
            set_limits(job['limits'])
        if job['files'] is not None:
            self.kernel.restrict_files(*job['files'])


def _number_main_thread():
    """Give the main thread the number of this process, not that of the keeper (before 3.13).

    Some interpreters have `threading` from their start on, by a line of somebody's `.pth` file.
    """
    threading = sys.modules.get('threading')
    if threading is not None and hasattr(threading.Thread, '_set_native_id'):
        threading.main_thread()._set_native_id()


def set_limits(limits):
    """Set the process limits of a stage: bytes of memory, CPU seconds, bytes of a file, CPUs."""
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
    cycle = list(modules.values())
    cycle.append(cycle)
    gc.collect()
    gc.freeze()


def raise_fence(started, descriptor, source, python):
    """Isolate this process, then become the keeper with the variables of its processors."""
    report = raising.raise_fence()
    # Held until the end: it closes what it is made of.
    channel = Channel(descriptor)
    env = channel.receive()[0]
    if env is None:
        os._exit(0)
    raising.execute_keeper(python, started, descriptor, source, report, env)


def serve(started, start, descriptor, report):
    """Report and run jobs; return what makes a fork the processor that was prepared.

    `started` is the script that calls this, `start` what its interpreter had loaded by then.
    """
    channel = Channel(descriptor)
    os.set_inheritable(descriptor, False)
    ready.hide_variables()
    kernel = None
    try:
        kernel = isolation.Kernel()
    except (ImportError, OSError, AttributeError):
        # No ctypes or no such calls: then neither files nor orphans are looked after.
        pass
    landlock = kernel.landlock_version() if kernel is not None else 0
    mechanisms = report.split(',')
    try:
        channel.send(('ready', tuple(mechanisms[1:]), mechanisms[0] == 'enforced', landlock))
        _hold(sys.modules)
        end = ending.Ending(start.modules, kernel.leave if kernel is not None else None)
        stage = None if ready.has_acting_start(start.modules) else ready.Ready(
            start, started, kernel)
        prepared = Keeper(channel, kernel, stage, end,
                          is_enforced=mechanisms[0] == 'enforced').serve()
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)
    return stage, end, prepared

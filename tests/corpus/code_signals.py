"""Handle signals, alarms and children."""
import os
import signal
import subprocess

got = []
signal.signal(signal.SIGALRM, lambda number, frame: got.append('alarm'))
signal.signal(signal.SIGCHLD, lambda number, frame: got.append('child'))
signal.signal(signal.SIGUSR1, lambda number, frame: got.append('user'))
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
os.kill(os.getpid(), signal.SIGUSR1)
subprocess.call(['true'])
print(got, signal.getsignal(signal.SIGINT))
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError as error:
    print(error)

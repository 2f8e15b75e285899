"""Fail in threads: the exit code stays 0."""
import sys
import threading


def fail(error):
    """Fail."""
    raise error


for error in (ValueError('in a thread'), SystemExit(3), KeyboardInterrupt()):
    thread = threading.Thread(target=fail, args=(error,), name='worker')
    thread.start()
    thread.join()
print('main ends', sys.exc_info())

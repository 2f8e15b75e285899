"""Get SIGINT, with something to clean up."""
import atexit
import os
import signal
import time

atexit.register(print, 'cleaned up')
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
finally:
    print('finally')

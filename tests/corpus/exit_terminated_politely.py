"""Turn SIGTERM into an exit code."""
import os
import signal
import sys

signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(40 + number))
os.kill(os.getpid(), signal.SIGTERM)

"""Print whether the process leads its session and group, and has no terminal."""
import os

print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid(), os.getppid() > 1)
try:
    os.open('/dev/tty', os.O_RDWR)
except OSError as error:
    print(error)

"""Print the open descriptors and what they lead to."""
import fcntl
import os

for name in sorted(os.listdir('/proc/self/fd'), key=int):
    try:
        target = os.readlink('/proc/self/fd/' + name)
    except OSError:
        # It was the listing itself.
        continue
    print(name, target.partition(':')[0], fcntl.fcntl(int(name), fcntl.F_GETFD),
          oct(fcntl.fcntl(int(name), fcntl.F_GETFL)))

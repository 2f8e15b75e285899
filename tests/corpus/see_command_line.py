"""Print the command line that `ps` shows."""
import os

with open('/proc/self/cmdline', 'rb') as line:
    print(line.read().rstrip(b'\0').split(b'\0'))
with open('/proc/self/comm', 'rb') as line:
    print(line.read())
print(os.readlink('/proc/self/exe'))

"""Read stdin to its end."""
import os
import sys

print(repr(sys.stdin.read()), sys.stdin.isatty(), sys.stdin.fileno(), sys.stdin.mode,
      sys.stdin.name)
print(os.readlink('/proc/self/fd/0'), sys.stdin.encoding, sys.stdin.errors,
      sys.stdin.buffer.read())
try:
    input('prompt: ')
except EOFError as error:
    print(error)

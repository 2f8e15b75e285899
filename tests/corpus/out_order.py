"""Mix buffered and direct writing."""
import os
import sys

print('one')
os.write(1, b'two\n')
print('three', file=sys.stderr)
sys.stdout.flush()
os.write(1, b'four\n')
sys.stdout.buffer.write(b'five\n')
print('six')
sys.stderr.write('seven')
os.write(2, b'eight\n')

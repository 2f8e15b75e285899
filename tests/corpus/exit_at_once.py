"""Leave without ceremony; what is in the buffer is lost."""
import os
import sys

print('flushed', flush=True)
print('lost')
sys.stderr.write('kept')
os._exit(7)

"""Leave the interpreter without a stream to flush at its end."""
import sys

print('written before', flush=True)
del sys.stdout

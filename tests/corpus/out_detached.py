"""Take the stream apart."""
import sys

print('first')
raw = sys.stdout.detach()
raw.write(b'second\n')
raw.flush()

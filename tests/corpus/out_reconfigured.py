"""Change the streams."""
import sys

sys.stdout.reconfigure(encoding='latin-1', errors='replace', line_buffering=True)
print('Grün', '\u20ac', sys.stdout.line_buffering, sys.stdout.encoding)
sys.stderr.reconfigure(write_through=True)
print('ä', file=sys.stderr)
print(sys.stdout, sys.stderr)

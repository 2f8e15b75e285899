"""Write to the streams' other names while the usual ones are replaced."""
import io
import sys

sys.stderr = io.StringIO()
sys.stdout = io.StringIO()
print('lost')
print('to stdout', file=sys.__stdout__)
print('to stderr', file=sys.__stderr__)
raise ValueError('into the replaced stderr')

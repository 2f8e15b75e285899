"""Print what the encoding cannot express."""
import sys

print(repr('\udc80'), ascii('ä\udc80'))
print('\udc80', file=sys.stderr)
sys.stdout.write('ä\n')
print('\udc80')

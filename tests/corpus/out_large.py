"""Leave more unflushed than any buffer holds."""
import sys

for number in range(3000):
    sys.stdout.write('%06d %s\n' % (number, 'x' * 60))
sys.stdout.write('no line end' * 500)

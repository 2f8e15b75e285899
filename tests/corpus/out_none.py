"""Go without streams."""
import sys

print('kept')
sys.stdout = None
print('lost')
sys.stderr = None
raise ValueError('nobody hears')

"""Print after stdout was closed."""
import sys

print('before')
sys.stdout.close()
print('after')

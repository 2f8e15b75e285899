"""Print by which names the script goes."""
import sys

print(sys.argv)
print(getattr(sys, 'orig_argv', None))
print(sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix)
print(__file__, __name__, __package__, __spec__, __doc__)

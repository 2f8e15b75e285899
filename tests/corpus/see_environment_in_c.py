"""Print variables by way of the C library."""
import ctypes
import os

getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
for name in (b'LC_CTYPE', b'LANG', b'PATH', b'CORPUS', b'STAGERUNNER_PINNED', b'PYTHONPATH'):
    print(name, getenv(name))
print('STAGERUNNER_PINNED' in os.environ)

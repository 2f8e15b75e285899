"""Print what importing common modules adds, and that they are whole."""
import sys

before = set(sys.modules)
import collections  # noqa: E402
import ctypes  # noqa: E402
import decimal  # noqa: E402
import hashlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import re  # noqa: E402
import select  # noqa: E402
import struct  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import typing  # noqa: E402

print([name for name in sys.modules if name not in before])
print(json.dumps({'a': [1]}), re.sub('a', 'b', 'aaa'), struct.calcsize('Q'),
      decimal.Decimal(1) / 3)
print(hashlib.sha256(b'x').hexdigest(), random.Random(3).random(), os.sep,
      tempfile.template)
print(ctypes.sizeof(ctypes.c_long), ctypes.CDLL(None).abs(-3), select.EPOLLIN,
      threading.active_count())
print(subprocess.list2cmdline(['a b']), typing.get_type_hints(json.loads),
      collections.Counter('aab'))
print(hasattr(collections, 'abc'), [name for name in dir(os) if name.startswith('fork')])

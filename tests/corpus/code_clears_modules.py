"""Remove modules that were there from the start, and load them again."""
import sys

names = sorted(sys.modules)
for name in ('os', 'io', 'abc', 'stat'):
    sys.modules.pop(name, None)
import abc  # noqa: E402
import io  # noqa: E402
import os  # noqa: E402

print(os.getcwd() == os.path.abspath('.'), io.StringIO('x').read(), abc.ABC.__name__,
      sorted(os.environ)[:2])
print(names == sorted(set(names) | {'os', 'io', 'abc'}))

"""Print how the interpreter was started."""
import sys

print(sys.flags, sys.warnoptions, sys._xoptions)
print(sys.getrecursionlimit(), sys.getswitchinterval(), sys.dont_write_bytecode)
print(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors(), sys.getdefaultencoding())
print(sys.gettrace(), sys.getprofile(), sys.api_version, sys.hash_info.algorithm, sys.platform)
print(sorted(name for name in dir(sys) if not name.startswith('__')))
print(getattr(sys, 'pycache_prefix', None), sys.float_info.max, sys.maxsize)

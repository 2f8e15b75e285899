"""Print every attribute of the module that runs, in order."""
import sys

main = sys.modules['__main__']
print(list(vars(main)))
print(sorted(dir(main)))
for name in ('__annotations__', '__cached__', '__doc__', '__file__', '__package__', '__spec__'):
    print(name, repr(getattr(main, name, 'missing')))
print(type(__loader__).__name__, __loader__.name, __loader__.path, __loader__.is_package(__name__))
print(__builtins__, vars(main) is globals(), list(sys.modules).index('__main__'))

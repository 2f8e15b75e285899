"""Run other code as a script."""
import runpy
import sys

result = runpy.run_path('bin/helper.py', run_name='__main__')
print(result['NAME'], sorted(name for name in result if not name.startswith('__')))
print(__name__, sys.argv, sys.modules['__main__'].__file__)
runpy.run_module('pack', run_name='__main__', alter_sys=True)
print(sys.argv, __file__)

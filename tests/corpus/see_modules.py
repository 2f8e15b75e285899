import sys

print(list(sys.modules))
print(sorted(name for name, module in sys.modules.items() if module is None))

"""Print the names in all modules that are there from the start."""
import sys

for name, module in sorted(sys.modules.items()):
    if name != '__main__':
        print(name, sorted(vars(module)))

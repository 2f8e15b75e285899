"""Print where modules are looked for."""
import sys

print(sys.path)
print(sorted(sys.path_importer_cache))
print([type(value).__name__ for _, value in sorted(sys.path_importer_cache.items())])
print(len(sys.path_hooks), sys.meta_path)

"""Print the resource limits."""
import resource

for name in sorted(dir(resource)):
    if name.startswith('RLIMIT_'):
        print(name, resource.getrlimit(getattr(resource, name)))
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)

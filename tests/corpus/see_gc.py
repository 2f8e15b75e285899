"""Print the state of the garbage collector, and that it works."""
import gc
import weakref


class Node:
    """Part of a cycle."""


print(gc.get_threshold(), gc.isenabled(), gc.get_debug(), gc.garbage, gc.callbacks)
node = Node()
node.self = node
gone = weakref.ref(node)
del node
gc.callbacks.append(lambda phase, info: print(phase, sorted(info)))
gc.collect()
print(gone())
del gc.callbacks[:]

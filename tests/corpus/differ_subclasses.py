"""Name all classes there are."""
print(sorted(kind.__name__ for kind in object.__subclasses__()))

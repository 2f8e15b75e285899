"""Ask for more memory than there is."""
try:
    b'x' * (1 << 62)
except MemoryError as error:
    print(repr(error))
raise MemoryError('on purpose')

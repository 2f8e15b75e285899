"""Call C, with callbacks and structures."""
import ctypes
import ctypes.util

libc = ctypes.CDLL(None, use_errno=True)


class Pair(ctypes.Structure):
    """Two numbers."""

    _fields_ = [('quot', ctypes.c_int), ('rem', ctypes.c_int)]


libc.div.restype = Pair
print(libc.div(17, 5).quot, libc.div(17, 5).rem, ctypes.POINTER(Pair), libc.close(-1),
      ctypes.get_errno())
pointer = ctypes.POINTER(ctypes.c_int)
compare = ctypes.CFUNCTYPE(ctypes.c_int, pointer, pointer)
numbers = (ctypes.c_int * 4)(3, 1, 2, 0)
libc.qsort(numbers, 4, ctypes.sizeof(ctypes.c_int),
           compare(lambda a, b: a[0] - b[0]))
print(list(numbers), ctypes.pythonapi.Py_IsInitialized(),
      ctypes.cast(b'abc', ctypes.c_char_p).value)
libc.printf(b'buffered by the C library\n')
print(ctypes.c_long.__ctype_le__ is ctypes.c_long, ctypes.sizeof(ctypes.c_wchar))

"""Print identities that people wrongly rely on."""
import sys

print('a' is sys.intern('a'), 256 is int('256'), () is tuple([]), sys.getrefcount(object()))  # noqa: F632, C409
print(type(sys.modules), type(sys.path), type(sys.argv), type(vars()))

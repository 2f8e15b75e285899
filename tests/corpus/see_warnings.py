"""Warn in all ways: of what the script itself does people are told by default."""
import warnings

import helper

print([(action, getattr(message, 'pattern', message), kind, getattr(module, 'pattern', module),
        line)
       for action, message, kind, module, line in warnings.filters])
for kind in (UserWarning, DeprecationWarning, PendingDeprecationWarning, ResourceWarning,
             ImportWarning, SyntaxWarning, FutureWarning, BytesWarning):
    warnings.warn('a ' + kind.__name__, kind, stacklevel=1)
for _ in range(2):
    warnings.warn('twice', UserWarning, stacklevel=1)
warnings.warn_explicit('elsewhere', DeprecationWarning, 'other.py', 3, 'other')


def deprecated():
    """Blame the caller."""
    warnings.warn('blamed', DeprecationWarning, stacklevel=2)


deprecated()
open(helper.__file__)
print(sorted(name for name in globals() if 'warning' in name))

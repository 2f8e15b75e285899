"""Print the hooks of the interpreter."""
import sys

print(sys.excepthook, sys.excepthook is sys.__excepthook__, sys.displayhook)
print(getattr(sys, 'unraisablehook', None), sys.breakpointhook, sys.exc_info())
print([hasattr(sys, name) for name in
       ('last_type', 'last_value', 'last_exc', 'ps1', 'tracebacklimit')])
import builtins  # noqa: E402
import threading  # noqa: E402

print(getattr(threading, 'excepthook', None), sorted(vars(builtins)))

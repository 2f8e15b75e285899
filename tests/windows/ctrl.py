"""Start a run in a console of its own, press CTRL_C or CTRL_BREAK there, and say what came of it.

Run by the Windows Python: `ctrl.py EVENT FILE SCRIPT ARGUMENT...`.  The event (0 for
CTRL_C, 1 for CTRL_BREAK) is sent when FILE exists.  Prints JSON.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time

CREATE_NO_WINDOW = 0x08000000


def press(event, path, script):
    """Run a script in the console of this process and press a key there."""
    for name in ('SIGINT', 'SIGBREAK'):
        signal.signal(getattr(signal, name), lambda signum, frame: None)
    process = subprocess.Popen([sys.executable, *script], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while not os.path.exists(path) and time.monotonic() < until:
        time.sleep(0.01)
    kernel = ctypes.WinDLL('kernel32', use_last_error=True)
    sent = bool(kernel.GenerateConsoleCtrlEvent(event, 0))
    if not sent:
        process.kill()
    out, err = process.communicate()
    print(json.dumps({'sent': sent, 'code': process.returncode, 'out': out.decode(),
                      'err': err.decode()}))


def main():
    """Get a console, then press the key in it."""
    if sys.argv[1] == 'here':
        press(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    else:
        raise SystemExit(subprocess.call([sys.executable, __file__, 'here', *sys.argv[1:]],
                                         stdin=subprocess.DEVNULL, creationflags=CREATE_NO_WINDOW))


main()

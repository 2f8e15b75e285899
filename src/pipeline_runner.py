"""The front door: `python src/pipeline_runner.py --pipeline pipeline.json --run-id X`."""

import gc
import os
import sys

if sys.version_info < (3, 7):  # pragma: no cover - seen only by older interpreters
    sys.exit('stagerunner needs Python 3.7 or newer, this is Python %d.%d; '
             'call it with a newer one' % sys.version_info[:2])

# Starting up makes no garbage, and looking for some costs a twentieth of a run without work.
gc.disable()
if sys.flags.isolated or getattr(sys.flags, 'safe_path', False):
    sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
try:
    # Not at the top: an old interpreter must get the message above.
    from stagerunner.cli import main
except KeyboardInterrupt:
    sys.exit(130)
gc.set_threshold(50_000, 20, 100)  # Most of what a run makes it keeps until its end.
gc.enable()
if __name__ == '__main__':
    # All is written and flushed: to take the interpreter apart costs a tenth of such a run.
    os._exit(main())

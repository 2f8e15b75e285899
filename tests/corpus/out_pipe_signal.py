"""Let a shell's pipe break: programs die of SIGPIPE, Python does not."""
import signal
import subprocess
import sys

print(signal.getsignal(signal.SIGPIPE), signal.getsignal(signal.SIGXFSZ))
sys.stdout.flush()
print(subprocess.call(['bash', '-c', 'yes | head -n 1; echo ${PIPESTATUS[@]}']))

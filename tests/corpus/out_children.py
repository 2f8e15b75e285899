"""Let children write to the same streams."""
import subprocess
import sys

subprocess.call(['sh', '-c', 'echo from sh; echo error from sh >&2'])
subprocess.call([sys.executable, '-c',
                 'import sys; print("from python", len(sys.argv), sys.flags)'])
print(subprocess.run(['sh', '-c', 'cat; exit 3'], stdout=subprocess.PIPE))
print(subprocess.run([sys.executable, '-c', 'import sys; print(sys.path[1:])'],
                     stdout=subprocess.PIPE).returncode)

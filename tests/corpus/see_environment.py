"""Print the environment as Python, the C library and a child see it."""
import os
import posix
import subprocess

print(sorted(os.environ.items()))
print(sorted(os.environb))
print(sorted(posix.environ.items()))
print(sorted(subprocess.run(['env'], stdout=subprocess.PIPE).stdout.splitlines()))
os.environ['ADDED'] = 'later'
print(os.getenv('ADDED'),
      subprocess.run(['sh', '-c', 'echo $ADDED'], stdout=subprocess.PIPE).stdout)

"""Import a file that is no Python."""
with open('bin/broken.py', 'w') as broken:
    broken.write('x = 1\ndef f(:\n    pass\n')
import broken

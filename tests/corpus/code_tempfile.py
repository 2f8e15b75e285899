"""Make temporary files."""
import os
import tempfile

with tempfile.TemporaryDirectory() as folder:
    print(os.path.dirname(folder) == tempfile.gettempdir(), tempfile.gettempdir(),
          os.listdir(folder))
    names = {tempfile.mktemp() for _ in range(20)}
    print(len(names))
with tempfile.NamedTemporaryFile('w+') as file:
    file.write('x')
    file.seek(0)
    print(file.read(), os.path.exists(file.name))
left = tempfile.TemporaryDirectory()
print(os.path.isdir(left.name))
left.cleanup()

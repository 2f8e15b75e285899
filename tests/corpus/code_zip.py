"""Import from an archive."""
import sys
import zipfile

with zipfile.ZipFile('archive.zip', 'w') as archive:
    # With a fixed date: it is compared byte by byte.
    archive.writestr(zipfile.ZipInfo('packed.py'), '"""Packed."""\nNAME = __name__\n'
                     'def fail():\n    raise ValueError("zip")\n')
sys.path.insert(0, 'archive.zip')
import packed

print(packed.NAME, packed.__file__, type(packed.__loader__).__name__)
packed.fail()

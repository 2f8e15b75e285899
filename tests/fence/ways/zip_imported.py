"""Import a module out of a zip file."""

import sys
import zipfile

from _way import attempt
from _way import code
from _way import leave
from _way import place


def go():
    """Pack and import."""
    leave('archive.zip', '')
    with zipfile.ZipFile(place('archive.zip'), 'w') as archive:
        archive.writestr('zipped.py', code())
    sys.path.insert(0, place('archive.zip'))
    __import__('zipped')


attempt(go)

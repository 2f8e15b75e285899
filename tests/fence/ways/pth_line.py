"""Let the module `site` execute a line of a .pth file."""

import site

from _way import attempt
from _way import code
from _way import leave
from _way import place


def go():
    """Write the line and have the folder added."""
    leave('packages/way.pth', 'import sys; exec(%r)\n' % code())
    site.addsitedir(place('packages'))


attempt(go)

"""Ask for a page."""

import importlib

from _way import LOOPBACK
from _way import TOKEN
from _way import attempt
from _way import port


def go():
    """Ask, and do not mind the answer."""
    request = importlib.import_module('url' + 'lib.request')
    request.build_opener(request.ProxyHandler({})).open(
        'http://%s:%d/%s' % (LOOPBACK, port(), TOKEN.decode('ascii')), timeout=10)


attempt(go)

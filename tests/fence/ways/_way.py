"""What all ways out share: what they have to get across, where to, and an end in peace."""

import os
import sys

NAME = os.environ['WAY_NAME']

#: What listeners look for.
TOKEN = ('way-%s-out' % NAME).encode('ascii')

LOOPBACK, LOOPBACK_6 = '127.0.0.1', '::1'

#: Nothing on loopback takes longer, in seconds.
PATIENCE_S = 10

#: A network module under a name that no scan of imports sees.
HIDDEN = 'sock' + 'et'


def port(kind='TCP'):
    """Return the port of a kind of listener; a way that has none here ends with an error."""
    return int(os.environ['WAY_' + kind])


def code():
    """Return Python text that gets the token across."""
    return ('import socket\n'
            'connection = socket.create_connection((%r, %d), %d)\n'
            'connection.sendall(%r)\n'
            'connection.close()\n' % (LOOPBACK, port(), PATIENCE_S, TOKEN))


def network():
    """Return the module `socket`, hidden from the scan."""
    return __import__(HIDDEN)


def place(name):
    """Return a path where this way may leave a file."""
    return os.path.join(os.environ['PIPELINE_OUTPUT_DIR'], name)


def leave(name, content):
    """Write a file, with the folders above it; return its path."""
    path = place(name)
    if not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path))
    with open(path, 'wb') as target:
        target.write(content if isinstance(content, bytes) else content.encode('utf-8'))
    return path


def attempt(go):
    """Try a way: note that it was tried; what comes of it must not keep others from trying."""
    leave('tried', '')
    try:
        go()
    except BaseException as error:
        sys.stderr.write('%s: %s: %s\n' % (NAME, type(error).__name__, error))

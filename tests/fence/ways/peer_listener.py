"""Wait for a peer from outside, and answer."""

from _way import LOOPBACK
from _way import PATIENCE_S
from _way import TOKEN
from _way import attempt
from _way import network
from _way import port


def go():
    """Listen, accept, send."""
    module = network()
    listener = module.socket()
    listener.setsockopt(module.SOL_SOCKET, module.SO_REUSEADDR, 1)
    listener.bind((LOOPBACK, port('PEER')))
    listener.listen(1)
    listener.settimeout(PATIENCE_S)
    peer, _ = listener.accept()
    peer.sendall(TOKEN)
    peer.close()


attempt(go)

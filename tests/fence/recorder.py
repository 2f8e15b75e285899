"""Listen on loopback in every way there is, and note which way out arrived by its token.

A process of its own, because tests themselves are kept from the network.  The
first line that it prints are the variables that ways need; for each line it
reads it prints who arrived by then; at the end of its input it ends.
"""

import ctypes
import json
import os
import re
import select
import socket
import sys

#: What a way has to get across, with its name in it.
TOKEN = re.compile(rb'way-([a-z0-9_]+)-out')

#: What the helpers of the test say: a connection of theirs is nobody's arrival.
HELPER = b'helper-of-the-test'

#: The end of names that are looked up, and the flags of an answer that there is none (RFC 1035).
DOMAIN, NO_SUCH_NAME = b'-out\x07example', b'\x81\x83'

#: A number of no protocol, for packets without TCP and UDP (RFC 3692, experiments).
RAW_PROTOCOL = 253

LOOPBACK, LOOPBACK_6 = '127.0.0.1', '::1'


class Recorder:
    """All listeners, the connections to them, and who they came from."""

    def __init__(self, folder):
        self.arrived = set()
        self.strangers = []
        self.streams = {}
        self.listening = []
        self.packets = []
        self.variables = {'WAY_PATH': os.path.join(folder, 'proxy.socket'),
                          'WAY_ABSTRACT': 'stagerunner-test-%d' % os.getpid()}
        self.peer = None
        self.open_all()

    def open_all(self):
        """Open a listener of every kind that this machine has."""
        self.listen('WAY_TCP', socket.AF_INET, (LOOPBACK, 0))
        self.listen('WAY_TCP6', socket.AF_INET6, (LOOPBACK_6, 0))
        self.listen('WAY_SCTP', socket.AF_INET, (LOOPBACK, 0), 132)
        self.listen('WAY_VSOCK', getattr(socket, 'AF_VSOCK', 40), (0xFFFFFFFF, 0xFFFFFFFF))
        self.listen(None, socket.AF_UNIX, '\0' + self.variables['WAY_ABSTRACT'])
        self.listen(None, socket.AF_UNIX, self.variables['WAY_PATH'])
        os.chmod(self.variables['WAY_PATH'], 0o777)
        self.hear('WAY_UDP', socket.AF_INET, (LOOPBACK, 0), socket.SOCK_DGRAM)
        self.hear('WAY_UDP6', socket.AF_INET6, (LOOPBACK_6, 0), socket.SOCK_DGRAM)
        self.hear('WAY_UDPLITE', socket.AF_INET, (LOOPBACK, 0), socket.SOCK_DGRAM, 136)
        self.hear(None, socket.AF_INET, ('', 0), socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.hear(None, socket.AF_INET, ('', 0), socket.SOCK_RAW, RAW_PROTOCOL)
        # Kept until somebody listens there: who waits for a peer gets one.
        kept = socket.socket()
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind((LOOPBACK, 0))
        self.kept, self.peer = kept, kept.getsockname()
        self.variables['WAY_PEER'] = str(self.peer[1])

    def listen(self, name, family, address, protocol=0):
        """Accept connections, where the machine knows the kind."""
        listener = self.opened(name, family, address, socket.SOCK_STREAM, protocol)
        if listener:
            listener.listen(64)
            self.listening.append(listener)

    def hear(self, name, family, address, kind, protocol=0):
        """Take packets, where the machine knows the kind and lets us."""
        listener = self.opened(name, family, address, kind, protocol)
        if listener:
            self.packets.append(listener)

    def opened(self, name, family, address, kind, protocol):
        """Return a bound socket and note its port under `name`, or None."""
        try:
            opened = socket.socket(family, kind, protocol)
            opened.bind(address)
        except OSError as error:
            sys.stderr.write('no %s: %s\n' % (name or address, error))
            return None
        opened.setblocking(False)
        if name:
            self.variables[name] = str(opened.getsockname()[1])
        return opened

    def serve(self):
        """Answer questions until nobody is there to ask any more."""
        print(json.dumps(self.variables), flush=True)
        while True:
            ready = self.round(0.02)
            if sys.stdin in ready:
                if not sys.stdin.readline():
                    return
                while len(self.round(0)) > 0:
                    pass
                print(json.dumps({'arrived': sorted(self.arrived),
                                  'strangers': self.strangers}), flush=True)

    def round(self, timeout_s):
        """Take what arrived; return what was ready."""
        self.meet_peer()
        ready = select.select([sys.stdin, *self.listening, *self.packets, *self.streams],
                              [], [], timeout_s)[0]
        for source in ready:
            if source in self.streams:
                self.read(source)
            elif source in self.packets:
                self.take(source)
            elif source in self.listening:
                self.greet(source.accept()[0], source.getsockname())
        return ready

    def meet_peer(self):
        """Connect to whoever waits for a peer."""
        if self.peer:
            visitor = socket.socket()
            try:
                visitor.connect(self.peer)
            except OSError:
                visitor.close()
                return
            self.peer = None
            self.greet(visitor, 'a listener that waited')

    def greet(self, stream, where):
        """Begin to read from a connection; a stranger until it says who it is."""
        stream.setblocking(False)
        stranger = '%s (file %d)' % (where, stream.fileno())
        self.streams[stream] = [stranger, b'']
        self.strangers.append(stranger)

    def read(self, stream):
        """Take a part of what somebody says; hang up when that says who it is."""
        stranger, said = self.streams[stream]
        try:
            part = stream.recv(65536)
        except OSError:
            part = b''
        said += part
        self.streams[stream][1] = said[-1024:]
        is_known = self.note(said) or HELPER in said
        if is_known and stranger in self.strangers:
            self.strangers.remove(stranger)
        if not part or (is_known and HELPER not in said):
            del self.streams[stream]
            stream.close()

    def take(self, source):
        """Take a packet; a question to a name server is answered, so that nobody waits."""
        data, sender = source.recvfrom(65536)
        if self.note(data) and DOMAIN in data:
            source.sendto(data[:2] + NO_SUCH_NAME + data[4:], sender)

    def note(self, data):
        """Look for tokens; True when there was one."""
        found = TOKEN.findall(data)
        self.arrived.update(name.decode('ascii') for name in found)
        return bool(found)


if __name__ == '__main__':
    # Nobody may be left listening when the test is gone.
    ctypes.CDLL(None).prctl(1, 9)
    Recorder(sys.argv[1]).serve()

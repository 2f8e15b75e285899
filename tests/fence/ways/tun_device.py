"""Make a network device of our own and let packets come in through it."""

import fcntl
import os
import struct

from _calls import checksum
from _calls import netlink
from _way import TOKEN
from _way import attempt

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
RTM_NEWLINK, RTM_NEWADDR, NLM_F_CREATE = 16, 20, 0x400
IFF_UP = 1

#: A net for documentation (RFC 5737): the device is ours, the sender somebody behind it.
HERE, THERE = bytes([198, 51, 100, 1]), bytes([198, 51, 100, 2])

#: For experiments (RFC 3692).
PROTOCOL = 253


def go():
    """Make the device, give it an address without a socket of IP, send."""
    device = os.open('/dev/net/tun', os.O_RDWR)
    made = fcntl.ioctl(device, TUNSETIFF, struct.pack('16sH22x', b'wayout%d', IFF_TUN | IFF_NO_PI))
    name = made[:16].rstrip(b'\0').decode('ascii')
    with open('/sys/class/net/%s/ifindex' % name) as source:
        number = int(source.read())
    body = struct.pack('=BBBBI', 2, 30, 0, 0, number)
    body += struct.pack('=HH4sHH4s', 8, 1, HERE, 8, 2, HERE)
    assert not netlink(RTM_NEWADDR, NLM_F_CREATE, body)
    assert not netlink(RTM_NEWLINK, 0, struct.pack('=BxHiII', 0, 0, number, IFF_UP, IFF_UP))
    header = struct.pack('>BBHHHBBH4s4s', 0x45, 0, 20 + len(TOKEN), 1, 0, 64, PROTOCOL, 0,
                         THERE, HERE)
    header = header[:10] + struct.pack('>H', checksum(header)) + header[12:]
    os.write(device, header + TOKEN)


attempt(go)

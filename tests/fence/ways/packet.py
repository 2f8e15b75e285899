"""Put a datagram on the loopback device below IP."""

import struct

from _calls import checksum
from _way import TOKEN
from _way import attempt
from _way import network
from _way import port

AF_PACKET, ETH_P_IPV6 = 17, 0x86DD
UDP = 17

#: The address of a device without one.
NOBODY = bytes(6)

#: ::1 (the kernel takes 127.0.0.1 from its own IP only).
OWN = bytes(15) + b'\1'


def go():
    """Send an IPv6 packet."""
    module = network()
    length = 8 + len(TOKEN)
    plain = struct.pack('>HHHH', port('UDP6'), port('UDP6'), length, 0) + TOKEN
    total = checksum(OWN + OWN + struct.pack('>II', length, UDP) + plain)
    datagram = plain[:6] + struct.pack('>H', total) + plain[8:]
    packet = struct.pack('>IHBB', 6 << 28, length, UDP, 64) + OWN + OWN + datagram
    module.socket(AF_PACKET, module.SOCK_DGRAM).sendto(packet, ('lo', ETH_P_IPV6, 0, 0, NOBODY))


attempt(go)

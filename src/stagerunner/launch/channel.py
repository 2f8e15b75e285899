"""Messages and descriptors between the runner and its keepers, over an inherited pair of sockets.

Used by both ends; what it needs is loaded when a channel is made, because a
run with nothing to do makes none, and because a keeper must be able to forget it.
"""

from __future__ import annotations

#: Known to type checkers; loading `typing` would cost each keeper milliseconds, twice.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any
    from typing import List
    from typing import Sequence
    from typing import Tuple

#: Messages are marshalled in the oldest form that all interpreters share.
_MARSHAL = 2

#: At most so many descriptors come with one message.
_DESCRIPTORS = 16


class Channel:
    """One end of the pair: framed messages of plain values, with descriptors."""

    def __init__(self, descriptor: int):
        import _socket
        import array
        import marshal
        import struct

        self._kind = _socket.AF_UNIX, _socket.SOCK_STREAM, 0
        self.socket = _socket.socket(*self._kind, descriptor)
        self._rights = _socket.SOL_SOCKET, _socket.SCM_RIGHTS
        self._room = _socket.CMSG_SPACE(_DESCRIPTORS * array.array('i').itemsize)
        self._array = array.array
        self._dumps, self._loads = marshal.dumps, marshal.loads
        self._length = struct.Struct('<I')

    def move_to(self, descriptor: int) -> None:
        """Go on with another pair; nothing is loaded for it."""
        self.socket.close()
        self.socket = type(self.socket)(*self._kind, descriptor)

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self.socket.fileno()

    def send(self, message: Any, descriptors: Sequence[int] = ()) -> None:
        """Send one message; raises `OSError` when the other end is gone."""
        data = self._dumps(message, _MARSHAL)
        data = self._length.pack(len(data)) + data
        rights = [(*self._rights, self._array('i', descriptors).tobytes())] if descriptors else []
        sent = self.socket.sendmsg([data], rights)
        if sent < len(data):
            self.socket.sendall(data[sent:])

    def receive(self) -> Tuple[Any, List[int]]:
        """Return (message, descriptors), or (None, []) when the other end is gone."""
        header, descriptors = self._header()
        if len(header) < 4:
            return None, []
        left, parts = self._length.unpack(header)[0], []
        while left:
            part = self.socket.recv(min(left, 1 << 20))
            if not part:
                return None, []
            parts.append(part)
            left -= len(part)
        return self._loads(b''.join(parts)), descriptors

    def _header(self) -> Tuple[bytes, List[int]]:
        """Read the length of a message; descriptors arrive with its first byte."""
        numbers = self._array('i')
        header = b''
        while len(header) < 4:
            part, rights, _, _ = self.socket.recvmsg(
                4 - len(header), self._room)
            for level, kind, data in rights:
                if (level, kind) == self._rights:
                    numbers.frombytes(data[:len(data) - len(data) % numbers.itemsize])
            if not part:
                return b'', []
            header += part
        return header, list(numbers)

    def close(self) -> None:
        """Close this end."""
        self.socket.close()

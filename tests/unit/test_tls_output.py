"""What goes out through TLS: it is full while anything waits, encrypted or not."""

from __future__ import annotations

from typing import Any, cast

from tcpbalance.net.tls.tls_layer import TlsOutput
from tcpbalance.net.tls.tls_socket import WAITS


class Encrypting:
    """A TLS socket that encrypts what it is given, above a kernel with room for so many bytes.

    :ivar room: what the kernel takes.
    :ivar sent: what it has taken.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent = b""
        self.unsent = b""

    def send(self, data: bytes, flags: int = 0) -> int:
        self.flush()
        self.unsent = bytes(data)
        self._let_go()
        return len(data)

    def send_message(self, data: bytes, flags: int = 0) -> int:
        size = self.send(data)
        return WAITS if self.unsent else size

    def flush(self) -> None:
        self._let_go()
        if self.unsent:
            raise BlockingIOError

    def _let_go(self) -> None:
        self.sent += self.unsent[: self.room]
        self.unsent, self.room = self.unsent[self.room :], max(0, self.room - len(self.unsent))


def test_it_is_full_until_the_last_encrypted_byte_is_out() -> None:
    """No event would send those that wait where it is not."""
    tls = Encrypting(room=1)
    output = TlsOutput(cast(Any, tls))
    told = [output.send(b"one"), output.send(b"two")]
    for room in (1, 2, 1, 1):
        tls.room = room
        told.append(output.flush())
        assert output.full is not told[-1]
    assert (told, tls.sent) == ([False, False, False, False, False, True], b"onetwo")

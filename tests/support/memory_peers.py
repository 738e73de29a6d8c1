"""The programs at the outer ends: clients and backends that do as told, and read unless told not to."""

from __future__ import annotations

import contextlib
import socket

from OpenSSL import SSL

from support.memory_socket import NO_LINGER, MemorySocket
from support.memory_tls import CLOSE_NOTIFY, HELLO, Unframer, records
from support.tls_lines import client_context, client_in_memory, to_send

BROKEN = b"\x17\x03\x03\x00\x20" + bytes(32)
"""A record of TLS that cannot be decrypted."""

_PIECE = 64 * 1024


class Peer:
    """A program with one connection to the balancer.

    :param sock: its end of the connection; a real one serves as well, see ``transport_scripts``.
    :ivar sent: every byte it was told to send.
    :ivar complete: whether it has read the end of the stream, and so takes what it has read for the whole.
    :ivar broke_off: whether it has reset the connection.
    :ivar arrived: the bytes on the wire that had come to the balancer's kernel before that.
    :ivar left_first: whether it has ended both directions itself, and so does not care for what is to come.
    """

    left_first = False

    def __init__(self, sock: MemorySocket) -> None:
        self.socket = sock
        self.sent = bytearray()
        self.complete = False
        self.on_connection_error = False
        self.arrived = 0
        self._received = bytearray()
        self._unsent = bytearray()
        self._finishing = False
        self._reading = True
        self._at_end = False

    # What a test tells it.

    def send(self, data: bytes) -> None:
        """Send *data*, as fast as the connection takes it."""
        assert not self._finishing, "a program that has finished sends no more"
        self.sent += data
        self._unsent += self._on_the_wire(data)
        self._push()

    def finish(self) -> None:
        """Send the end of the stream after the last byte, and go on reading."""
        self._finishing = True
        self._push()

    def reset(self) -> None:
        """Break the connection off; what is still under way is lost."""
        self.on_connection_error = True
        if isinstance(self.socket, MemorySocket):
            self.arrived = len(self.sent) - len(self._unsent) - len(self.socket.outgoing.unsent)
        self._unsent.clear()
        if not self.socket.closed:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
            self.socket.close()

    def close(self) -> None:
        """Send the end of the stream and read no more: what still comes is answered with a reset."""
        self.finish()
        assert not self._unsent, "a program closes when its last byte has gone to the kernel"
        self.socket.close()

    def stop_reading(self) -> None:
        """Leave what comes in the kernel's buffer."""
        self._reading = False

    def start_reading(self) -> None:
        """Read again whatever comes."""
        self._reading = True

    def read(self, limit: int) -> int:
        """Read once, at most *limit* bytes, also after ``stop_reading``; tell how many there were."""
        before = len(self._received)
        self._take(limit)
        return len(self._received) - before

    # What a test asks it.

    @property
    def received(self) -> bytes:
        """Every byte it has read."""
        return bytes(self._received)

    def received_since(self, count: int) -> bytes:
        """What it has read after so many bytes."""
        return bytes(self._received[count:])

    @property
    def saw(self) -> str:
        """``fin`` once it has read to the end, ``reset`` once the connection broke, else ``open``."""
        if self.socket.was_reset:
            return "reset"
        return "fin" if self.complete else "open"

    @property
    def unsent(self) -> int:
        """Bytes on the wire that the program wants to send and that its kernel does not take."""
        return len(self._unsent)

    @property
    def finished(self) -> bool:
        """Whether it was told to send no more."""
        return self._finishing

    # What it does by itself.

    def step(self) -> bool:
        """Send and read what can be sent and read now; tell whether anything was."""
        pushed = self._push()
        read = self._reading and self._read_all()
        return pushed or read

    def _on_the_wire(self, data: bytes) -> bytes:
        return data

    def _off_the_wire(self, data: bytes) -> None:
        self._received += data
        self.complete = not data

    def _end_stream(self) -> bool:
        if self.socket.write_closed:
            return False
        self.socket.shutdown(socket.SHUT_WR)
        return True

    def _push(self) -> bool:
        if self.socket.closed or self.socket.was_reset:
            return False
        moved = self._push_bytes()
        if self._finishing and not self._unsent and not self.socket.was_reset:
            return self._end_stream() or moved
        return moved

    def _push_bytes(self) -> bool:
        moved = False
        while self._unsent and not self.socket.was_reset:
            try:
                taken = self.socket.send(bytes(self._unsent[:_PIECE]))
            except BlockingIOError:
                break
            del self._unsent[:taken]
            moved = True
        return moved

    def _read_all(self) -> bool:
        moved = False
        while self._take(_PIECE):
            moved = True
        return moved

    def _take(self, limit: int) -> bool:
        if self.socket.closed or self._at_end:
            return False
        try:
            data = self.socket.recv(limit)
        except BlockingIOError:
            return False
        except (ConnectionResetError, BrokenPipeError):
            self._at_end = True
            return True
        self._at_end = not data
        self._off_the_wire(data)
        return True


class TlsPeer(Peer):
    """A program that speaks (null) TLS: ``finish`` says close_notify; it closes once it has said and heard
    one.

    :ivar truncated: whether the stream ended without a close_notify, which such a program can tell from its
        end.
    :ivar answers: false for one that hears a close_notify and does nothing about it.
    """

    def __init__(self, sock: MemorySocket) -> None:
        super().__init__(sock)
        self.truncated = False
        self.answers = True
        self._unframer = Unframer()
        self._said_close_notify = False
        self._unsent += HELLO
        self._push()

    @property
    def saw(self) -> str:
        """As for any program, or ``truncated``."""
        return "truncated" if self.truncated and not self.socket.was_reset else super().saw

    def finish(self) -> None:
        self.left_first = self.left_first or not self.complete
        super().finish()

    def close_without_close_notify(self) -> None:
        """Close the connection beneath, as a truncating attacker or a careless program does."""
        self.on_connection_error = True
        self.socket.close()

    def _on_the_wire(self, data: bytes) -> bytes:
        return records(data)

    def _off_the_wire(self, data: bytes) -> None:
        self._unframer.feed(data)
        self._received += self._unframer.plain
        self._unframer.plain.clear()
        self.complete = self._unframer.close_notify
        self.truncated = not data and not self.complete
        if self.complete and self.answers:
            self._finishing = True

    def _end_stream(self) -> bool:
        if not self._said_close_notify:
            self._said_close_notify = True
            self._unsent += CLOSE_NOTIFY
            self._push_bytes()
            return True
        if self.complete:
            self.socket.close()
        return self.complete


class OpenSslPeer(Peer):
    """A program that speaks TLS by OpenSSL: ``finish`` says close_notify before the end of the stream.

    :ivar established: whether its handshake is over.
    """

    context = client_context()

    def __init__(self, sock: MemorySocket) -> None:
        super().__init__(sock)
        self.established = False
        self._early = bytearray()
        self._says_no_more = False
        self.tls = client_in_memory(self.context, "web.example")
        self._go_on()

    def _go_on(self) -> None:
        if not self.established:
            with contextlib.suppress(SSL.WantReadError):
                self.tls.do_handshake()
                self.established = True
                self._last_step()
        self._unsent += b"".join(to_send(self.tls))
        self._push()

    def say_close_notify(self) -> None:
        """Say it alone: the end of the stream does not follow."""
        self._says_no_more = True
        self.tls.shutdown()
        self._unsent += b"".join(to_send(self.tls))
        self._push()

    def break_record(self) -> None:
        """Send a record that cannot be decrypted."""
        self._says_no_more = True
        self._unsent += BROKEN
        self._push()

    @property
    def finished(self) -> bool:
        """Whether it says no more."""
        return self._says_no_more or super().finished

    def _last_step(self) -> None:
        """The handshake is over: send its end, with what is to follow at once."""
        if self._early:
            self.tls.send(bytes(self._early))
            self._early.clear()
        self._unsent += b"".join(to_send(self.tls))

    def _on_the_wire(self, data: bytes) -> bytes:
        if not self.established:
            self._early += data
        elif data:
            self.tls.send(data)
        return b"".join(to_send(self.tls))

    def _off_the_wire(self, data: bytes) -> None:
        if data:
            self.tls.bio_write(data)
        with contextlib.suppress(SSL.Error):
            self._go_on()
            try:
                while not self.complete:
                    self._received += self.tls.recv(_PIECE)
            except SSL.ZeroReturnError:
                self.complete = True
        self._unsent += b"".join(to_send(self.tls))

    def _end_stream(self) -> bool:
        if self._early:
            return False
        if self.established and not self._says_no_more:
            self._says_no_more = True
            self.tls.shutdown()
            self._unsent += b"".join(to_send(self.tls))
            self._push_bytes()
            if self._unsent or self.socket.was_reset:
                return True
        return super()._end_stream()

"""What a stream of TLS costs us, counted and not timed: lines of code, bytes that are moved because they
wait, and records that one turn of the poller processes."""

from __future__ import annotations

import contextlib
from bisect import bisect
from functools import partial
from itertools import cycle, islice
from typing import Any, Literal
from unittest.mock import patch

from attrs import define, frozen
from OpenSSL import SSL
from twisted.internet.interfaces import IHandshakeListener
from zope.interface import implementer

from support.certificates import Issued
from support.hellos import cut, record
from support.memory_stage import MemoryStage
from support.network import Network, no_logged_failure
from support.tls_lines import A_RECORD, client_context, frontend_tls, to_send
from support.tls_records import CLIENT, SERVER, SUITE_1_2, KeyLog, SealerOfOld
from support.transport_scripts import HalfCloseRecorder
from support.work import counted
from tcpbalance.config.addresses import Address
from tcpbalance.config.tls import PoolTlsConfig
from tcpbalance.net.tls import openssl, tls_socket
from tcpbalance.net.tls.client import ClientTls, TlsPeer
from tcpbalance.net.tls.connection import Connection
from tcpbalance.net.tls.records import Records
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.net.tls.tls_socket import TlsSocket
from tcpbalance.net.wheel import Wheel

HEADERS = 40
"""Bytes of IP and TCP before each segment, without options."""

IN_A_SEGMENT = 65_535 - HEADERS
"""Bytes that a segment can hold: the length of a packet of IP has 16 bits."""

MAX_SEGMENTS = 200
"""Segments of a stream that are sent; the rest of it is not."""

ROOM = 256 * 1024
"""Bytes that may wait in a kernel."""

MANY = 10_000
"""Turns after which it must be quiet."""

TICKETS = 2
"""Records that OpenSSL sends of itself behind the handshake of a server."""

Role = Literal["client", "backend"]
"""What the peer is to us."""

VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}


class Moved:
    """Counts the bytes of what is put into an attribute, in the place of its descriptor.

    :param beneath: the descriptor; None where there is none.
    """

    def __init__(self, beneath: Any) -> None:
        self.bytes = 0
        self._beneath = beneath

    def __get__(self, owner: Any, kind: Any = None) -> Any:
        if self._beneath is None:
            return owner.__dict__.get("_kept", b"")
        return self._beneath.__get__(owner, kind)

    def __set__(self, owner: Any, value: Any) -> None:
        with contextlib.suppress(AttributeError, KeyError):
            if value is self.__get__(owner):  # has grown where it is
                return
        self.bytes += len(value)
        if self._beneath is None:
            owner.__dict__["_kept"] = value
        else:
            self._beneath.__set__(owner, value)


class Lib:
    """OpenSSL, counting the bytes that it is given to read."""

    def __init__(self) -> None:
        self.given = 0
        self._lib, self._write = openssl._lib, openssl.BIO_write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lib, name)

    def BIO_new_mem_buf(self, data: Any, size: int) -> Any:
        self.given += size
        return self._lib.BIO_new_mem_buf(data, size)

    def write(self, bio: Any, data: Any, size: int) -> Any:
        self.given += size
        return self._write(bio, data, size)


@define
class Cost:
    """What a stream has cost.

    :ivar wire: its bytes, with the headers of segments.
    :ivar segments: that it came in.
    :ivar lines: of code that were executed.
    :ivar moved: bytes that were moved because they wait.
    :ivar records: that were processed.
    :ivar max_records: that were processed in one turn.
    """

    wire: int = 0
    segments: int = 0
    lines: int = 0
    moved: int = 0
    records: int = 0
    max_records: int = 0


@implementer(IHandshakeListener)
class Listener(HalfCloseRecorder):
    def handshakeCompleted(self) -> None:
        self.story.append("agreed")


class Line:
    """A transport on a poller in memory that speaks TLS, and its peer.

    :param ours: makes our end.
    :param peer: the peer's end, in memory.
    """

    def __init__(self, ours: ServerTls | TlsPeer, peer: SSL.Connection) -> None:
        self.peer = peer
        self.network = Network(data_path="copying", receive_buffer=ROOM)
        self.stage = MemoryStage(Listener, network=self.network)
        self.poller = self.stage.transport._poller
        self.transport = self.stage.transport
        if isinstance(ours, ServerTls):
            self.transport.accept_tls(ours)
        else:
            self.transport.connect_tls(ours)
        self.cost = Cost()
        self._ends: list[int] = []
        self._sent = self._heard = 0
        self._lib = Lib()

    def shake(self, fragments: list[int], segments: list[int]) -> None:
        """Let the two agree, or not; the peer cuts its records as far as they are in the clear."""
        self.send(b"", [1])
        for _ in range(4):
            heard = self.stage.peer.received_since(self._heard)
            self._heard += len(heard)
            if heard:
                self.peer.bio_write(heard)
            with contextlib.suppress(SSL.WantReadError):
                self.peer.do_handshake()
            self.send(recut(b"".join(to_send(self.peer)), fragments), segments)

    def send(self, data: bytes, segments: list[int], end: str = "") -> None:
        """Send so, and let the poller have its turns after each segment.

        :param end: what the peer does behind the last one, before all of it is read.
        """
        at = 0
        while at < len(data):
            at += 5 + int.from_bytes(data[at + 3 : at + 5])
            self._ends.append(self._sent + at)
        self._sent += len(data)
        pieces = sent_of(data, segments) or [b""]
        lib, kept, unsent = self._lib, Moved(vars(Records)["kept"]), Moved(vars(TlsSocket)["unsent"])
        with (
            patch.object(openssl, "_lib", lib),
            patch.object(openssl, "BIO_write", lib.write),
            patch.object(tls_socket, "BIO_write", lib.write),
            patch.object(Records, "kept", kept),
            patch.object(TlsSocket, "unsent", unsent),
            no_logged_failure(),
            counted() as work,
        ):
            self._send_pieces(pieces, end)
        self.cost.lines += work.lines
        self.cost.moved += kept.bytes + unsent.bytes

    def _send_pieces(self, pieces: list[bytes], end: str) -> None:
        for number, segment in enumerate(pieces, 1):
            if self.stage.peer.socket.closed or self.stage.peer.socket.was_reset:
                return
            self.stage.peer.send(segment)
            self._count(segment)
            if number == len(pieces):
                for action in filter(None, end.split(", ")):
                    getattr(self.stage.peer, action)()
                    self._count(b"")
                    self._turns(1)
            self._turns(MANY)

    def _count(self, arrived: bytes) -> None:
        # More bytes than one can hold have come in several, and are read in several reads.
        segments = max(1, -(-len(arrived) // IN_A_SEGMENT))
        self.cost.segments += segments
        self.cost.wire += len(arrived) + segments * HEADERS

    def _turns(self, limit: int) -> None:
        cost, lib = self.cost, self._lib
        for _ in range(limit):
            before = lib.given
            self.poller.doRead()
            records = bisect(self._ends, lib.given) - bisect(self._ends, before)
            cost.records += records
            cost.max_records = max(cost.max_records, records)
            if not self.stage.peer.step() and not self.poller._again:
                break
        else:
            assert limit < MANY


def sent_at_most(segments: list[int]) -> int:
    """Tell how many bytes of a stream are sent in segments of these sizes."""
    return sum(islice(cycle(segments), MAX_SEGMENTS))


def sent_of(data: bytes, segments: list[int]) -> list[bytes]:
    """Cut a stream into segments of these sizes in turn, and keep the first of them."""
    return cut(data[: sent_at_most(segments)], segments)


def recut(flight: bytes, sizes: list[int]) -> bytes:
    """Cut what is in the clear at the beginning of a flight into records of these sizes."""
    at, clear = 0, b""
    while flight[at : at + 1] == b"\x16" and flight[at + 5] in (1, 2, 11, 12, 14):
        end = at + 5 + int.from_bytes(flight[at + 3 : at + 5])
        clear += flight[at + 5 : end]
        at = end
    return b"".join(record(piece, version=b"\3\3") for piece in cut(clear, sizes)) + flight[at:]


@frozen
class Ends:
    """Makes both ends of a connection.

    :ivar issued: what the server shows, whichever of the two that is.
    """

    issued: Issued

    def peer(self, role: Role, version: str) -> tuple[SSL.Connection, Any]:
        """Gives the peer's end, in memory, and what makes its records once the two have agreed."""
        context = client_context(version=VERSIONS[version], ciphers=SUITE_1_2)
        log = KeyLog(context)
        context.use_certificate_chain_file(str(self.issued.certificate))
        context.use_privatekey_file(str(self.issued.key))
        peer = SSL.Connection(context, None)
        if role == "client":
            peer.set_connect_state()
        else:
            peer.set_accept_state()
        end, tickets = (CLIENT, 0) if role == "client" else (SERVER, TICKETS)
        if version == "1.2":
            return peer, partial(SealerOfOld, peer, end)
        return peer, partial(log.sealer, end, tickets)

    def ours(self, role: Role) -> ServerTls | TlsPeer:
        """Gives what makes our end."""
        if role == "client":
            return ServerTls(frontend_tls(self.issued))
        return ClientTls(PoolTlsConfig(verify=False)).peer(Address.parse("10.0.0.1:443"), None)

    def line(self, role: Role, version: str) -> tuple[Line, Any]:
        """Gives it before the handshake, and what makes the peer's records behind it."""
        peer, sealer = self.peer(role, version)
        return Line(self.ours(role), peer), sealer

    def agreed(self, role: Role, version: str, joined: bool, stalled: bool = False) -> tuple[Line, Any]:
        """Gives it when the two have agreed and what follows is counted.

        :param joined: whether the bytes go to another transport, else to a protocol.
        :param stalled: whether the peer does not read, and much waits for it.
        """
        line, sealer = self.line(role, version)
        line.shake([A_RECORD], [ROOM])
        assert line.stage.protocol.story == ["agreed"]
        if stalled:
            line.stage.peer.stop_reading()
            line.transport.write(bytes(2 * ROOM))
        if joined:
            sink = MemoryStage(Listener, network=line.network)
            line.transport.relay_with(sink.transport, Wheel(line.network.reactor, line.network.clock.seconds))
        line.cost = Cost()
        return line, sealer


def read_in_memory(connection: SSL.Connection, data: bytes, segments: list[int]) -> Cost:
    """Read as Twisted's TLS does, all that comes in a segment in one go."""
    cost, kept = Cost(), Moved(None)
    failed = False

    def read(segment: bytes) -> None:
        nonlocal failed
        connection.bio_write(segment)
        try:
            while True:
                connection.recv(A_RECORD)
        except SSL.WantReadError:
            return
        except SSL.Error:
            failed = True

    with patch.object(Connection, "_kept", kept), counted() as work:
        for segment in sent_of(data, segments):
            read(segment)
            cost.wire += len(segment) + HEADERS
            if failed:
                break
    cost.lines, cost.moved = work.lines, kept.bytes
    return cost

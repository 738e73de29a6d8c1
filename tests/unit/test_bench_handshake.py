"""The cheap client of TLS makes the handshake that a real server asks for, and takes no other."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

import ssl
from pathlib import Path

from cryptography.exceptions import InvalidTag

from bench import certificates, offer
from bench.errors import Failed
from bench.handshake import Client, Offer

REQUEST = b"GET / HTTP/1.1\r\n\r\n"


class Server:
    """Python's own, in memory."""

    def __init__(self, certificate: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)

    def connect(self) -> None:
        """Be ready for one connection."""
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self.context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def shake(self, data: bytes) -> bytes:
        """Take what came for the handshake, and give what is to be sent."""
        self.incoming.write(data)
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            assert self.outgoing.pending > 0
        return self.outgoing.read()


@pytest.fixture(params=[certificates.ECDSA, certificates.RSA])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Server:
    """Give a server with a certificate of each kind."""
    made = Server(certificates.make(request.param, tmp_path))
    made.connect()
    return made


@pytest.mark.parametrize("size", [1, 7, 1 << 16])
def test_a_connection_from_its_hello_to_its_end_whatever_the_pieces(server: Server, size: int) -> None:
    client = Client(Offer(), REQUEST)

    def feed(data: bytes) -> bytes:
        return b"".join(client.feed(data[at : at + size]) for at in range(0, len(data), size))

    tickets = server.shake(feed(server.shake(client.start())))
    assert server.tls.read() == REQUEST
    assert server.tls.version() == offer.VERSION
    cipher = server.tls.cipher()
    assert cipher is not None
    assert cipher[0] == offer.CIPHER
    assert feed(tickets) == b""
    assert client.received == b""

    server.tls.write(b"an")
    server.tls.write(b"swer")
    feed(server.outgoing.read())
    assert (client.received, client.ended) == (b"answer", False)

    with pytest.raises(ssl.SSLWantReadError):
        server.tls.unwrap()
    feed(server.outgoing.read())
    assert (client.received, client.ended) == (b"answer", True)
    server.incoming.write(client.end())
    server.tls.unwrap()


def test_each_handshake_is_a_full_one(server: Server) -> None:
    common = Offer()
    for _ in range(3):
        client = Client(common, REQUEST)
        server.connect()
        client.feed(server.shake(client.feed(server.shake(client.start()))))
        assert server.tls.read() == REQUEST
        assert not server.tls.session_reused
    assert server.context.session_stats()["hits"] == 0


def test_a_server_that_speaks_only_what_is_older_is_refused(server: Server) -> None:
    server.context.maximum_version = ssl.TLSVersion.TLSv1_2
    server.connect()
    client = Client(Offer(), REQUEST)
    with pytest.raises(Failed, match="alert 70 of TLS"):
        client.feed(server.shake(client.start()))


def test_what_was_changed_on_the_way_is_refused(server: Server) -> None:
    client = Client(Offer(), REQUEST)
    flight = bytearray(server.shake(client.start()))
    flight[-1] ^= 1
    with pytest.raises(InvalidTag):
        client.feed(bytes(flight))


def test_a_plain_answer_is_refused() -> None:
    client = Client(Offer(), REQUEST)
    client.start()
    with pytest.raises(Failed, match="no ServerHello"):
        client.feed(b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00")

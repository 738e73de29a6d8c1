"""Bytes through TLS: all of them arrive, an end is an end, and what was broken off never looks complete."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from attrs import frozen
from OpenSSL import SSL

from support import peers
from support.certificates import Authority
from support.clients import connect, reset
from support.daemon import Daemon
from support.tls_clients import TlsClient, new_address, record_of
from support.waiting import until, until_steady

NAME = "web.example"
MIB = 1 << 20

FRONTEND = """
[frontends.{name}]
listen = "127.0.0.1:0"
pool = "{name}"

[frontends.{name}.tls]
certificates = [{{ cert = "web.pem", key = "web.key" }}]

[pools.{name}]
backends = ["{address}"]
"""

LOG = """
shutdown_grace = "500ms"

[access_log]
path = "access.log"
format = "json"
"""

DATA = os.urandom(8 * MIB)
STALLED, PER_SESSION = 10, MIB

HANDLERS = {
    "echo": peers.echo,
    "hash": peers.hash_after_end,
    "says": peers.says(DATA),
    "breaks": peers.reset_after(b"the first half"),
    "hangs": peers.hang,
    "floods": peers.floods(64 * MIB),
}

VERSIONS = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION], ids=["1.2", "1.3"])


@frozen
class Edge:
    """A balancer that speaks TLS in front of backends that do not, each with a frontend of its name."""

    daemon: Daemon
    backends: dict[str, peers.Peer]
    root: Path
    carries_close_notifies: bool

    @contextmanager
    def client(
        self, frontend: str, version: int = SSL.TLS1_3_VERSION, source: str = "127.0.0.1"
    ) -> Iterator[TlsClient]:
        """Connect."""
        with connect(self.daemon.ports[frontend], source) as sock:
            yield TlsClient(sock, NAME, self.root, version)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory, data_path: object) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("tls-transfers")
    authority = Authority.root()
    authority.issue(folder, "web", NAME)
    root = authority.write(folder / "root.pem")
    with ExitStack() as stack:
        backends = {name: stack.enter_context(peers.peer(handler)) for name, handler in HANDLERS.items()}
        frontends = [FRONTEND.format(name=name, address=peer.address) for name, peer in backends.items()]
        daemon = stack.enter_context(Daemon(LOG + "".join(frontends), folder))
        # On the portable data path TLS is Twisted's, which ends whole: see "The life of a connection".
        yield Edge(daemon, backends, root, carries_close_notifies=data_path != "portable")


@VERSIONS
def test_a_large_download_ends_with_a_close_notify(edge: Edge, version: int) -> None:
    address = new_address()
    with edge.client("says", version, address) as client:
        assert hashlib.sha256(client.read_all()).digest() == hashlib.sha256(DATA).digest()
        client.finish()
    record = record_of(edge.daemon, address)
    assert (record["reason"], record["backend_bytes"]) == ("backend_closed", len(DATA))


@VERSIONS
def test_the_answer_to_a_large_upload_comes_after_the_client_s_close_notify(edge: Edge, version: int) -> None:
    """The backend answers when it has seen the end, and not before.

    Neither openssl nor curl can be told to say close_notify and read on; a client of pyOpenSSL can.
    """
    address = new_address()
    with edge.client("hash", version, address) as client:
        answer = client.exchange(DATA).decode()
    record = record_of(edge.daemon, address)
    assert (record["reason"], record["closed_by"]) == ("client_closed", "client")
    assert record["client_bytes"] == len(DATA)
    if edge.carries_close_notifies:
        assert answer == hashlib.sha256(DATA).hexdigest()
        assert record["backend_bytes"] == 64


@pytest.mark.parametrize("size", [1, 16 << 10, (16 << 10) + 1])
def test_the_close_notify_of_a_client_that_says_little_is_carried_too(edge: Edge, size: int) -> None:
    """Often in one segment with what was said; 16 KiB are a whole record."""
    address = new_address()
    with edge.client("hash", source=address) as client:
        answer = client.exchange(DATA[:size]).decode()
    assert record_of(edge.daemon, address)["client_bytes"] == size
    if edge.carries_close_notifies:
        assert answer == hashlib.sha256(DATA[:size]).hexdigest()


@VERSIONS
def test_both_directions_at_once(edge: Edge, version: int) -> None:
    with edge.client("echo", version) as client:
        assert client.echoed(DATA) == DATA


def test_an_answer_that_a_backend_breaks_off_does_not_look_complete(edge: Edge) -> None:
    address = new_address()
    with edge.client("breaks", source=address) as client:
        client.send(b"?")
        assert client.recv() == b"the first half"
        client.send(b"!")
        with pytest.raises(SSL.Error) as broken:
            client.recv()
    assert not isinstance(broken.value, SSL.ZeroReturnError)
    assert record_of(edge.daemon, address)["reason"] == "backend_reset"


def test_a_client_that_breaks_off_is_seen_to_do_so_by_the_backend(edge: Edge) -> None:
    backend, address = edge.backends["hangs"], new_address()
    sock = connect(edge.daemon.ports["hangs"], address)
    try:
        TlsClient(sock, NAME, edge.root).send(b"?")
        until(lambda: backend.open_connections == 1, "the backend's connection")
    finally:
        reset(sock)
    until(lambda: backend.broken == 1, "a connection that is broken off")
    record = record_of(edge.daemon, address)
    assert (record["reason"], record["closed_by"]) == ("client_reset", "client")


def test_clients_that_stop_reading_hold_up_nobody_and_little_memory(edge: Edge) -> None:
    with edge.client("floods") as first:
        assert len(first.read_all()) == 64 * MIB
    before = edge.daemon.memory
    with ExitStack() as stack:
        stalled = [stack.enter_context(edge.client("floods")) for _ in range(STALLED)]
        until(lambda: edge.backends["floods"].open_connections == STALLED, "every backend's connection")
        until_steady(lambda: edge.daemon.processor_time)
        grown = edge.daemon.memory - before
        with edge.client("echo") as client:
            assert client.echoed(DATA) == DATA
        assert len(stalled[0].read_all()) == 64 * MIB
    until(lambda: not edge.backends["floods"].open_connections, "the end of what nobody reads any more")
    # Without back-pressure this would be 10 times 64 MiB.
    assert grown < STALLED * PER_SESSION

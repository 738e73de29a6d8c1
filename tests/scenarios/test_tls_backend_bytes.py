"""What goes through TLS to a backend, and before it: PROXY headers, much at once, TLS on both sides."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support import peers
from support.certificates import Authority
from support.clients import connect, read
from support.daemon import Daemon
from support.ports import free_port
from support.tls_peers import configured, fetch, page, quoted, records_of, served, tls_peer

NAME = "web.example"
SIZE = 8 << 20
TLS = f'ca = "root.pem"\nserver_name = "{NAME}"\n'

# A frontend that speaks TLS on both sides: its clients are those of another one, that speaks TLS to it.
MIDDLE = """
[frontends.middle]
listen = "127.0.0.1:{port}"
pool = "echo"
tls.certificates = [{{ cert = "{name}.pem", key = "{name}.key" }}]
"""

pytestmark = pytest.mark.requires("nginx")


@pytest.fixture(scope="module")
def balancer(tmp_path_factory: pytest.TempPathFactory, data_path: object) -> Iterator[Daemon]:
    """A frontend for each kind of backend."""
    folder = tmp_path_factory.mktemp("tls-backend-bytes")
    authority = Authority.root()
    authority.write(folder / "root.pem")
    shown = authority.issue(folder, NAME, NAME)
    port = free_port()
    with ExitStack() as stack:
        announced = page(
            shown.certificate, shown.key, "$proxy_protocol_addr $ssl_server_name", how="ssl proxy_protocol"
        )
        pools = [
            served(
                "announced",
                quoted(stack.enter_context(announced).address),
                tls=TLS,
                pool='send_proxy_protocol = "v2"',
            ),
            served("echo", quoted(stack.enter_context(tls_peer(peers.echo, shown)).address), tls=TLS),
            MIDDLE.format(port=port, name=NAME),
            served("outer", f'"127.0.0.1:{port}"', tls=TLS),
        ]
        yield stack.enter_context(Daemon(configured(pools), folder))


def test_the_proxy_header_goes_in_the_clear_before_the_handshake(balancer: Daemon) -> None:
    assert fetch(balancer.ports["announced"]) == f"127.0.0.1 {NAME}"
    (record,) = records_of(balancer, "announced")
    assert record["unique_id"]
    assert (record["attempts"], record["cause"]) == (1, None)


def _exchange(port: int, size: int) -> str:
    """Send random bytes to an echo and read them back at once, and give what differs."""
    data = os.urandom(size)
    with connect(port) as client:
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        came = read(client, size)
        sender.join()
    return "" if came == data else f"{len(came)} bytes of {size}, or others"


@pytest.mark.parametrize("frontend", ["echo", "outer"], ids=["to the backend", "on both sides"])
def test_much_goes_both_ways_at_once(balancer: Daemon, frontend: str) -> None:
    before = len(balancer.access_records)
    assert _exchange(balancer.ports[frontend], SIZE) == ""
    records = balancer.wait_for_records(before + (1 if frontend == "echo" else 2))[before:]
    assert {(record["client_bytes"], record["backend_bytes"]) for record in records} == {(SIZE, SIZE)}

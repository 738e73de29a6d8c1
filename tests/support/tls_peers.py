"""Backends that speak TLS: nginx, and peers of our own for behaviour that no ready-made server shows."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import peers
from support.certificates import Issued
from support.clients import ask
from support.daemon import Daemon
from support.nginx import Nginx, nginx
from support.peers import Handler, Peer
from support.waiting import until

REQUEST = b"GET / HTTP/1.0\r\n\r\n"


@contextmanager
def page(
    certificate: Path, key: Path, answer: str = "page", more: str = "", how: str = "ssl"
) -> Iterator[Nginx]:
    """Run an nginx that shows a certificate and has one page.

    :param answer: what is on it; nginx's variables are filled in.
    :param more: further directives of its server.
    :param how: parameters of its ``listen``.
    """
    shown = f"ssl_certificate {certificate}; ssl_certificate_key {key}; {more}"
    with nginx("page", how=how, more=shown, answer=answer) as (server,):
        yield server


def over_tls(handler: Handler, issued: Issued) -> Handler:
    """Speak TLS with whoever comes, and serve what is in it with a handler of ``peers``.

    :param issued: what is shown.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)

    def handle(sock: socket.socket) -> None:
        # Else an answer right behind the handshake waits for the peer's word on the session tickets (Nagle).
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(sock, server_side=True) as tls:
            handler(tls)

    return handle


@contextmanager
def tls_peer(handler: Handler, issued: Issued) -> Iterator[Peer]:
    """Run a peer that serves `over_tls`."""
    with peers.peer(over_tls(handler, issued)) as running:
        yield running


def fetch(port: int) -> str:
    """Ask for a page, in plain, and give what is on it."""
    head, _, body = ask(port, REQUEST, finish=False).decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 "), head
    return body.removesuffix("\n")


def quoted(*addresses: str) -> str:
    """Give addresses as they stand in a list in TOML."""
    return ", ".join(f'"{address}"' for address in addresses)


def records_of(daemon: Daemon, frontend: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait for the records of a frontend that has had so many connections."""

    def found() -> list[dict[str, Any]]:
        return [record for record in daemon.access_records if record["frontend"] == frontend]

    until(lambda: len(found()) >= count, lambda: f"{count} records of {frontend}: {daemon.access_records}")
    assert len(found()) == count
    return found()


def configured(pools: Iterable[str]) -> str:
    """Give a configuration of frontends with their pools, which logs what they do."""
    return '[access_log]\npath = "access.log"\nformat = "json"\n' + "".join(pools)


def served(name: str, *backends: str, tls: str, pool: str = "") -> str:
    """Give a frontend and a pool of one name.

    :param backends: as they are written in TOML.
    :param tls: the keys of the pool's ``tls``.
    :param pool: further keys of the pool.
    """
    return (
        f'[frontends.{name}]\nlisten = "127.0.0.1:0"\npool = "{name}"\n'
        f"[pools.{name}]\nbackends = [{', '.join(backends)}]\n{pool}\n"
        f"[pools.{name}.tls]\n{tls}\n"
    )

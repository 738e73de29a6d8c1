"""The kernel finds the same owner of a client as we do."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from random import Random

import pytest

from support.own_network import in_own_network
from tcpbalance.workers.owner import attach, owner

WORKERS = 5


def listeners(stack: ExitStack, family: int, host: str, workers: int = WORKERS) -> list[socket.socket]:
    """Listen on one address with as many sockets as there are workers."""
    listening: list[socket.socket] = []
    port = 0
    for number in range(workers):
        sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        port = sock.getsockname()[1]
        if number == 0:
            attach(sock, workers)
        sock.listen()
        sock.setblocking(False)
        listening.append(sock)
    return listening


def place_of(source: str, listening: list[socket.socket]) -> int:
    """Connect from *source*, and give the number of the socket that the client comes to."""
    first = listening[0]
    found = []
    with socket.socket(first.family, socket.SOCK_STREAM) as client:
        client.bind((source, 0))
        client.connect(first.getsockname())
        for number, sock in enumerate(listening):
            try:
                with closing(sock.accept()[0]):
                    found.append(number)
            except BlockingIOError:
                continue
    (place,) = found
    return place


def random_sources(count: int) -> Iterator[str]:
    rng = Random(16)
    for _ in range(count):
        yield f"127.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"


def test_of_ipv4_clients() -> None:
    with ExitStack() as stack:
        listening = listeners(stack, socket.AF_INET, "127.0.0.1")
        for source in random_sources(200):
            expected = owner(socket.inet_pton(socket.AF_INET, source), WORKERS)
            assert place_of(source, listening) == expected, source


@pytest.mark.requires("ip")
def test_of_ipv6_clients() -> None:
    def body() -> None:
        rng = Random(16)
        sources = [":".join(["fd00", *(f"{rng.randrange(65536):x}" for _ in range(7))]) for _ in range(100)]
        commands = "".join(f"address add {source}/128 dev lo nodad\n" for source in sources)
        subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
        with ExitStack() as stack:
            listening = listeners(stack, socket.AF_INET6, "::1")
            for source in sources:
                expected = owner(socket.inet_pton(socket.AF_INET6, source), WORKERS)
                assert place_of(source, listening) == expected, source

    in_own_network(body)


def test_one_of_one() -> None:
    with ExitStack() as stack:
        assert place_of("127.9.9.9", listeners(stack, socket.AF_INET, "127.0.0.1", 1)) == 0

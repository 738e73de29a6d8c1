"""The sockets of an address for several workers: each client comes to its owner."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from random import Random

import pytest

from tcpbalance.config.addresses import Address
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.net.binding import ListenError, bind
from tcpbalance.net.socket_file import SocketFile
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.workers import socket_group
from tcpbalance.workers.owner import owner
from tcpbalance.workers.socket_group import SocketGroup, listen

OPTIONS = SocketOptions.of(SocketConfig())

WORKERS = 4


@contextmanager
def group(listening: str = "127.0.0.1:0", options: SocketOptions = OPTIONS) -> Iterator[SocketGroup]:
    made = listen(Address.parse(listening), options, SocketFile(), 64, WORKERS)
    with closing(made):
        yield made


def address_of(made: SocketGroup) -> str:
    host, port = made.of_worker(0).getsockname()
    return f"{host}:{port}"


def came_to(made: SocketGroup) -> list[int]:
    """The workers whose sockets have a client."""
    found = []
    for number in range(WORKERS):
        try:
            made.of_worker(number).accept()[0].close()
        except BlockingIOError:
            continue
        found.append(number)
    return found


def test_each_client_comes_to_its_owner() -> None:
    rng = Random(4)
    with group() as made:
        for _ in range(50):
            source = f"127.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
            with socket.create_connection(made.of_worker(0).getsockname(), 10, (source, 0)):
                assert came_to(made) == [owner(socket.inet_aton(source), WORKERS)]


def test_who_chooses_can_change_while_clients_come() -> None:
    with group() as made, ExitStack() as clients:

        def workers() -> set[int]:
            for _ in range(60):
                clients.enter_context(socket.create_connection(made.of_worker(0).getsockname(), 10))
            found = set()
            while came := came_to(made):
                found |= {*came}
            return found

        its_own = {owner(socket.inet_aton("127.0.0.1"), WORKERS)}
        for by_owner in (True, True, False, False, True):
            made.choose_by_owner(by_owner)
            if by_owner:
                assert workers() == its_own
            else:
                # The ports of so many connections do not all have one hash.
                assert len(workers()) > 1


def test_a_choice_that_the_system_refuses_is_logged_and_can_be_made_later(
    monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with group() as made:
        with monkeypatch.context() as patch:
            patch.setattr(socket_group, "detach", refuse)
            made.choose_by_owner(False)
        (line,) = lines
        assert line.endswith("as before the reload: cannot allocate memory; reload again")
        made.choose_by_owner(False)
        made.choose_by_owner(True)
        assert len(lines) == 1


def test_an_address_that_another_program_has_is_refused() -> None:
    with bind(Address.parse("127.0.0.1:0"), OPTIONS) as other:
        other.listen()
        address = "{}:{}".format(*other.getsockname())
        with pytest.raises(ListenError, match="address already in use"), group(address):
            pass


def test_it_is_not_joined() -> None:
    """Sockets that allow others beside them would be joined by those of a second start."""
    with (
        group() as made,
        pytest.raises(ListenError, match="address already in use"),
        group(address_of(made)),
    ):
        pass


def test_of_a_unix_socket_all_have_the_same(tmp_path: Path) -> None:
    with group(f"unix:{tmp_path}/s") as made:
        assert len({made.of_worker(number).fileno() for number in range(WORKERS)}) == 1
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/s")
            assert came_to(made) == [0]


def test_options_are_those_of_a_listener() -> None:
    options = SocketOptions.of(SocketConfig(max_segment=1000))
    with group(options=options) as made:
        for number in range(WORKERS):
            sock = made.of_worker(number)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) == 1000
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


def test_where_one_socket_fails_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(sock: socket.socket, workers: int) -> None:
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patched:
        patched.setattr("tcpbalance.workers.socket_group.attach", refuse)
        with pytest.raises(ListenError, match="operation not supported"), group():
            pass

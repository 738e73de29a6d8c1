"""Listening sockets that were open when the program began: which are taken, by which frontend, and what is
refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tcpbalance.config.addresses import Address
from tcpbalance.environment import PassedDescriptor
from tcpbalance.net.binding import ListenError
from tcpbalance.net.inherited import InheritedSockets


class Passing:
    """Makes sockets as a service manager does, and passes them as descriptors that children would inherit."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def __call__(self, sock: socket.socket, name: str = "web", owns_file: bool = False) -> PassedDescriptor:
        number = os.dup(sock.fileno())
        os.set_inheritable(number, True)
        self._stack.callback(self._close, number)
        return PassedDescriptor(number, name, owns_file)

    @staticmethod
    def _close(number: int) -> None:
        """Close a descriptor that was refused before it became a socket's."""
        if is_open(number):
            os.close(number)

    def listening(
        self, host: str = "127.0.0.1", family: int = socket.AF_INET, v6only: bool = True
    ) -> tuple[socket.socket, str]:
        """Make a listener, and give the address that it has as an operator writes it."""
        sock = self._stack.enter_context(socket.socket(family))
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6only)
        sock.bind((host, 0))
        sock.listen()
        port = sock.getsockname()[1]
        return sock, f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"

    def unix(self, path: Path, kind: int = socket.SOCK_STREAM, listens: bool = True) -> socket.socket:
        sock = self._stack.enter_context(socket.socket(socket.AF_UNIX, kind))
        sock.bind(str(path))
        if listens:
            sock.listen()
        return sock


@pytest.fixture
def passing() -> Iterator[Passing]:
    with ExitStack() as stack:
        yield Passing(stack)


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
@pytest.mark.parametrize("any_port", [True, False])
def test_a_frontend_gets_the_socket_of_its_name_and_address(
    passing: Passing, host: str, family: int, any_port: bool
) -> None:
    sock, address = passing.listening(host, family)
    inherited = InheritedSockets([passing(sock)])
    asked = address.rpartition(":")[0] + ":0" if any_port else address
    claimed = inherited.claim("web", Address.parse(asked))
    assert claimed is not None
    with claimed.sock as taken:
        assert taken.getsockname() == sock.getsockname()
        assert not taken.getblocking()
        assert not taken.get_inheritable()
        assert inherited.claim("web", Address.parse(asked)) is None


def test_an_address_is_looked_up_once_however_many_sockets_there_are(
    passing: Passing, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [passing.listening() for _ in range(10)]
    inherited = InheritedSockets([passing(sock) for sock, _ in made], is_handed_over=True)
    looked_up: list[Any] = []
    getaddrinfo = socket.getaddrinfo

    def count(*arguments: Any) -> Any:
        looked_up.append(arguments)
        return getaddrinfo(*arguments)

    monkeypatch.setattr(socket, "getaddrinfo", count)
    for sock, address in reversed(made):
        claimed = inherited.claim("web", Address.parse(address))
        assert claimed is not None
        assert claimed.sock.getsockname() == sock.getsockname()
        claimed.sock.close()
    assert len(looked_up) <= len(made)
    assert inherited.claim("web", Address.parse("127.0.0.1:1")) is None
    assert len(looked_up) <= len(made)


def test_a_frontend_of_two_addresses_gets_both(passing: Passing) -> None:
    (first, one), (second, other) = passing.listening(), passing.listening("127.0.0.2")
    inherited = InheritedSockets([passing(first), passing(second)])
    for address, sock in ((other, second), (one, first)):
        claimed = inherited.claim("web", Address.parse(address))
        assert claimed is not None
        with claimed.sock as taken:
            assert taken.getsockname() == sock.getsockname()
    inherited.refuse_others("web")


def test_a_unix_socket_is_known_by_its_path(passing: Passing, tmp_path: Path) -> None:
    sock = passing.unix(tmp_path / "web")
    inherited = InheritedSockets([passing(sock)])
    assert inherited.claim("web", Address.parse(f"unix:{tmp_path}/other")) is None
    claimed = inherited.claim("web", Address.parse(f"unix:{tmp_path}/web"))
    assert claimed is not None
    claimed.sock.close()


def test_a_unix_socket_without_its_file_is_of_no_use(passing: Passing, tmp_path: Path) -> None:
    inherited = InheritedSockets([passing(passing.unix(tmp_path / "web"))], is_handed_over=True)
    (tmp_path / "web").unlink()
    assert inherited.claim("web", Address.parse(f"unix:{tmp_path}/web")) is None
    inherited.close_unclaimed()


def test_systemd_must_name_it_after_the_frontend(passing: Passing) -> None:
    sock, address = passing.listening()
    passed = passing(sock, "tcpbalance.socket")
    inherited = InheritedSockets([passed])
    with pytest.raises(ListenError) as raised:
        inherited.claim("web", Address.parse(address))
    assert str(raised.value) == (
        f"inherited descriptor {passed.number} (tcpbalance.socket), which listens on {address}: use "
        "FileDescriptorName=web in the socket unit"
    )
    inherited.close_unclaimed()


def test_systemd_must_not_have_a_socket_that_the_frontend_does_not_know(passing: Passing) -> None:
    sock, address = passing.listening()
    passed = passing(sock)
    inherited = InheritedSockets([passed])
    assert inherited.claim("web", Address.parse("127.0.0.1:1")) is None
    inherited.refuse_others("api")
    with pytest.raises(ListenError) as raised:
        inherited.refuse_others("web")
    assert str(raised.value) == (
        f"inherited descriptor {passed.number} (web), which listens on {address}: listen has no such "
        "address: add it, or change the socket unit"
    )
    inherited.close_unclaimed()


def test_a_predecessor_may_have_had_another_configuration(passing: Passing) -> None:
    (kept, address), (dropped, _) = passing.listening(), passing.listening()
    inherited = InheritedSockets([passing(kept, "old name"), passing(dropped)], is_handed_over=True)
    claimed = inherited.claim("web", Address.parse(address))
    assert claimed is not None
    with claimed.sock as taken:
        assert taken.getsockname() == kept.getsockname()
    inherited.refuse_others("web")
    inherited.close_unclaimed()


@pytest.mark.parametrize("owns_file", [True, False])
def test_the_file_of_what_is_not_claimed_is_removed_after_the_handover(
    passing: Passing, tmp_path: Path, owns_file: bool
) -> None:
    path = tmp_path / "web"
    passed = passing(passing.unix(path), owns_file=owns_file)
    inherited = InheritedSockets([passed], is_handed_over=True)
    inherited.close_unclaimed()
    assert path.exists()
    inherited.remove_files()
    assert path.exists() is not owns_file


def test_a_file_that_has_taken_the_place_of_another_stays(passing: Passing, tmp_path: Path) -> None:
    path = tmp_path / "web"
    inherited = InheritedSockets([passing(passing.unix(path), owns_file=True)], is_handed_over=True)
    inherited.close_unclaimed()
    path.rename(tmp_path / "aside")
    passing.unix(path)
    inherited.remove_files()
    assert path.exists()


def test_a_file_that_may_not_be_removed_is_named(
    passing: Passing, tmp_path: Path, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "web"
    inherited = InheritedSockets([passing(passing.unix(path), owns_file=True)], is_handed_over=True)
    inherited.close_unclaimed()

    def refuse(_: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "unlink", refuse)
    inherited.remove_files()
    monkeypatch.undo()
    assert lines[-1] == f"socket file {path} is left behind: permission denied; remove it"


def test_any_port_is_one_of_the_frontends_own(passing: Passing) -> None:
    sock, _ = passing.listening()
    inherited = InheritedSockets([passing(sock, "other")], is_handed_over=True)
    assert inherited.claim("web", Address.parse("127.0.0.1:0")) is None
    inherited.close_unclaimed()


def test_what_is_not_claimed_is_closed_with_a_warning(passing: Passing, lines: list[str]) -> None:
    sock, address = passing.listening()
    passed = passing(sock, "wbe")
    inherited = InheritedSockets([passed])
    inherited.close_unclaimed()
    assert not is_open(passed.number)
    (line,) = lines
    assert line == (
        f"inherited descriptor {passed.number} (wbe), which listens on {address}: there is no frontend wbe, "
        "its clients are not served: stop the socket unit, or correct FileDescriptorName="
    )


def refusal(passing: Passing, sock: socket.socket) -> str:
    """Give why a socket is refused, and see that those before it are closed again."""
    before, _ = passing.listening()
    passed = passing(sock)
    fine = passing(before)
    with pytest.raises(ListenError) as raised:
        InheritedSockets([fine, passed])
    assert not is_open(fine.number)
    assert not is_open(passed.number)
    return str(raised.value).removeprefix(f"inherited descriptor {passed.number} (web): ")


def test_a_socket_that_does_not_listen_is_refused(passing: Passing) -> None:
    with socket.socket() as sock:
        expected = "must be a listening socket: use Accept=no in the socket unit"
        assert refusal(passing, sock) == expected


def test_a_datagram_socket_is_refused(passing: Passing, tmp_path: Path) -> None:
    sock = passing.unix(tmp_path / "web", socket.SOCK_DGRAM, listens=False)
    assert refusal(passing, sock) == "must be a stream socket: use ListenStream= in the socket unit"


def test_a_socket_of_another_family_is_refused(passing: Passing) -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as sock:
        assert refusal(passing, sock) == "must be of IPv4, IPv6 or unix, got address family 16"


def test_a_socket_of_both_families_is_refused(passing: Passing) -> None:
    sock, _ = passing.listening("::", socket.AF_INET6, v6only=False)
    assert refusal(passing, sock) == (
        "takes clients of IPv4, too: use BindIPv6Only=ipv6-only in the socket unit, and another "
        "ListenStream= for 0.0.0.0"
    )


def test_a_socket_of_all_ipv6_addresses_is_taken(passing: Passing) -> None:
    sock, address = passing.listening("::", socket.AF_INET6)
    claimed = InheritedSockets([passing(sock)]).claim("web", Address.parse(address))
    assert claimed is not None
    claimed.sock.close()


def test_a_descriptor_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        number = file.fileno()
        with pytest.raises(ListenError) as raised:
            InheritedSockets([PassedDescriptor(number, "web")])
    assert str(raised.value) == (
        f"inherited descriptor {number} (web): is no socket: socket operation on non-socket"
    )


def test_a_descriptor_that_is_not_open_is_refused() -> None:
    with pytest.raises(ListenError, match=r"\(web\): is no socket: bad file descriptor"):
        InheritedSockets([PassedDescriptor(2**30, "web")])

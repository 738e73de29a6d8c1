"""Mode and owner of a unix socket's file are set before anybody can connect."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from tcpbalance import Address, ListenError, SocketConfig, SocketFile
from tcpbalance.net.binding import bind
from tcpbalance.net.socket_options import SocketOptions


def bound(path: Path) -> socket.socket:
    return bind(Address(path=str(path)), SocketOptions.of(SocketConfig()))


def test_the_mode_is_set_while_nobody_can_connect(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with bound(path) as sock, socket.socket(socket.AF_UNIX) as client:
        SocketFile(mode=0o666).give_to(sock)
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        with pytest.raises(ConnectionRefusedError):
            client.connect(str(path))


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (SocketFile(user="no such user"), "there is no user no such user on this machine"),
        (SocketFile(group="no such group"), "there is no group no such group on this machine"),
    ],
)
def test_what_cannot_be_set_leaves_nothing_behind(tmp_path: Path, file: SocketFile, reason: str) -> None:
    path = tmp_path / "a.sock"
    with pytest.raises(ListenError) as error:
        file.give_to(bound(path))
    assert str(error.value) == f"cannot listen on unix:{path}: {reason}"
    assert not path.exists()

"""Mode and owner of a unix socket's file are set before anybody can connect."""

from __future__ import annotations

import os
import pwd
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


def test_a_file_that_is_as_asked_for_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with bound(path):
        path.chmod(0o640)
        owner = pwd.getpwuid(os.getuid()).pw_name
        for file in (SocketFile(), SocketFile(mode=0o640), SocketFile(mode=0o640, user=owner)):
            file.check(str(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (
            SocketFile(mode=0o660),
            "is not as listen_mode says: use SocketMode= in the socket unit, or restart",
        ),
        (SocketFile(user="nobody"), "is not as listen_user says: use SocketUser= in the socket unit"),
        (SocketFile(group="nogroup"), "is not as listen_group says: use SocketGroup= in the socket unit"),
        (SocketFile(user="no such user"), "cannot be checked: there is no user no such user on this machine"),
    ],
)
def test_a_file_that_is_not_is_refused(tmp_path: Path, file: SocketFile, reason: str) -> None:
    path = tmp_path / "a.sock"
    with bound(path):
        path.chmod(0o640)
        with pytest.raises(ListenError) as error:
            file.check(str(path))
    assert str(error.value).startswith(f"its file {reason}")


def test_a_file_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match=r"its file cannot be checked: .*No such file"):
        SocketFile(mode=0o660).check(str(tmp_path / "a.sock"))

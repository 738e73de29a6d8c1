"""Messages reach the service manager in their order, and one that does not read them holds nothing up."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tcpbalance.systemd.notify_socket import MAX_PENDING, NotifySocket


def listen(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    sock.setblocking(False)
    return sock


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def manager(path: str) -> Iterator[socket.socket]:
    with listen(path) as sock:
        yield sock


def received(sock: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(sock.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_messages_arrive(manager: socket.socket, path: str) -> None:
    sender = NotifySocket(path)
    sender.send("READY=1\nSTATUS=é")
    sender.send_or_drop("WATCHDOG=1")
    assert received(manager) == ["READY=1\nSTATUS=é", "WATCHDOG=1"]


def test_an_address_without_a_file() -> None:
    name = f"tcpbalance-test-{os.getpid()}"
    with listen(f"\0{name}") as manager:
        NotifySocket(f"@{name}").send("READY=1")
        assert received(manager) == ["READY=1"]


def fill(path: str) -> int:
    """Send until there is no more space.

    :returns: how many messages fit.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        count = 0
        try:
            while True:
                sock.sendto(b"X=1", path)
                count += 1
        except BlockingIOError:
            return count


def test_what_must_arrive_does_so_in_order_when_there_is_space_again(
    manager: socket.socket, path: str
) -> None:
    sender = NotifySocket(path)
    count = fill(path)
    sender.send("RELOADING=1")
    sender.send_or_drop("WATCHDOG=1")
    sender.send("READY=1")
    assert received(manager) == ["X=1"] * count
    sender.send_or_drop("STATUS=fine")
    assert received(manager) == ["RELOADING=1", "READY=1", "STATUS=fine"]


def test_a_manager_that_never_reads_costs_a_bounded_memory(manager: socket.socket, path: str) -> None:
    sender = NotifySocket(path)
    count = fill(path)
    for number in range(3 * MAX_PENDING):
        sender.send(f"N={number}")
    assert received(manager) == ["X=1"] * count
    messages = []
    while "WATCHDOG=1" not in messages:
        sender.send_or_drop("WATCHDOG=1")
        messages += received(manager)
    assert messages == [*(f"N={number}" for number in range(2 * MAX_PENDING, 3 * MAX_PENDING)), "WATCHDOG=1"]


def test_a_manager_that_is_gone_is_logged_once_and_may_come_back(path: str, lines: list[str]) -> None:
    sender = NotifySocket(path)
    sender.send("READY=1")
    assert sender.flush()
    sender.send_or_drop("WATCHDOG=1")
    (line,) = lines
    assert line.startswith(f"NOTIFY_SOCKET {path}: no such file or directory; the service manager does not")
    with listen(path) as manager:
        sender.send_or_drop("WATCHDOG=1")
        assert received(manager) == ["WATCHDOG=1"]

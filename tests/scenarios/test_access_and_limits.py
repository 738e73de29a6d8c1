"""Access lists, limits, bans and trials: who is refused is reset, and the others notice nothing."""

from __future__ import annotations

import re
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from support.clients import connect, read, reset
from support.daemon import Daemon
from support.peers import Peer, holds, peer
from support.waiting import until

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = {listen}
pool = "web"
{more}

[pools.web]
backends = ["{backend}"]
"""

_SUMMARY = re.compile(r"frontend web: connections (refused|not refused, because of dry_run): (\d+) \((.*)\)")


@pytest.fixture
def greeter() -> Iterator[Peer]:
    """A backend that says hello and stays."""
    with peer(holds(b"hello")) as running:
        yield running


def balancer(folder: Path, backend: Peer, more: str, listen: str = '"127.0.0.1:0"') -> Daemon:
    return Daemon(CONFIG.format(listen=listen, backend=backend.address, more=more), folder)


def served(port: int, source: str) -> socket.socket | None:
    """Connect and be greeted; None where the connection is refused."""
    with ExitStack() as stack, suppress(ConnectionResetError):
        # A reset may come before the end of the call.
        sock = stack.enter_context(connect(port, source))
        if read(sock, 5) == b"hello":
            stack.pop_all()
            return sock
    return None


def is_served(port: int, source: str) -> bool:
    """Connect, be greeted and leave."""
    sock = served(port, source)
    if sock is not None:
        reset(sock)
    return sock is not None


def leave(daemon: Daemon, *clients: socket.socket | None) -> None:
    """Let clients go, and wait until the balancer has noticed."""
    before = len(daemon.access_records)
    for client in clients:
        assert client is not None
        client.close()
    daemon.wait_for_records(before + len(clients))


def summaries(daemon: Daemon) -> list[tuple[str, int, str]]:
    return [(what, int(count), reasons) for what, count, reasons in _SUMMARY.findall(daemon.log)]


# Limits


def test_a_client_has_so_many_connections_and_others_have_theirs(tmp_path: Path, greeter: Peer) -> None:
    with balancer(tmp_path, greeter, "limits.connections_per_client = 2") as daemon:
        first, second = (served(daemon.port, "127.0.1.1") for _ in range(2))
        assert (first is not None, second is not None) == (True, True)
        assert not is_served(daemon.port, "127.0.1.1")
        assert is_served(daemon.port, "127.0.1.2")
        leave(daemon, first)
        third = served(daemon.port, "127.0.1.1")
        assert not is_served(daemon.port, "127.0.1.1")
        leave(daemon, second, third)
        daemon.wait_for_log(
            r"connections refused: 1 \(too_many_connections: 1\), the last from 127\.0\.1\.1:"
        )


def test_a_client_that_was_quiet_may_come_in_a_burst_and_then_at_its_rate(
    tmp_path: Path, greeter: Peer
) -> None:
    limits = 'limits.connect_rate_per_client = "60/m"\nlimits.burst_per_client = 3'
    with balancer(tmp_path, greeter, limits) as daemon:
        began = time.monotonic()
        assert [is_served(daemon.port, "127.0.1.1") for _ in range(4)] == [True, True, True, False]
        assert is_served(daemon.port, "127.0.1.2")
        until(lambda: is_served(daemon.port, "127.0.1.1"), "the next one")
        assert time.monotonic() - began >= 0.9
        daemon.wait_for_log(r"\(too_fast: 1\)")


def test_a_ban_begins_and_ends(tmp_path: Path, greeter: Peer) -> None:
    limits = """
limits.connections_per_client = 1
limits.ban_after = 2
limits.ban_for = "1500ms"
"""
    with balancer(tmp_path, greeter, limits) as daemon:
        first = served(daemon.port, "127.0.1.1")
        began = time.monotonic()
        assert [is_served(daemon.port, "127.0.1.1") for _ in range(2)] == [False, False]
        leave(daemon, first)
        assert not is_served(daemon.port, "127.0.1.1")
        assert is_served(daemon.port, "127.0.1.2")
        until(lambda: is_served(daemon.port, "127.0.1.1"), "the end of the ban")
        assert 1.4 <= time.monotonic() - began < 10
        daemon.wait_for_log(r"connections refused: \d+ \(.*banned: ")


def test_beyond_so_many_connections_clients_wait(tmp_path: Path, greeter: Peer) -> None:
    with balancer(tmp_path, greeter, "limits.connections = 2") as daemon, ExitStack() as stack:
        inside = [served(daemon.port, f"127.0.1.{number}") for number in (1, 2)]
        waiting = stack.enter_context(connect(daemon.port, "127.0.1.3"))
        assert select.select([waiting], [], [], 0.3) == ([], [], [])
        assert greeter.accepted == 2
        leave(daemon, inside[0])
        assert read(waiting, 5) == b"hello"
        leave(daemon, inside[1])
        assert summaries(daemon) == []


# Access


def test_deny_wins_over_allow_and_the_others_are_refused(tmp_path: Path, greeter: Peer) -> None:
    access = 'access.allow = ["127.0.1.0/24"]\naccess.deny = ["127.0.1.9"]'
    with balancer(tmp_path, greeter, access) as daemon:
        assert is_served(daemon.port, "127.0.1.1")
        assert not is_served(daemon.port, "127.0.1.9")
        daemon.wait_for_log(r"connections refused: 1 \(denied: 1\), the last from 127\.0\.1\.9:")
        assert not is_served(daemon.port, "127.0.2.1")
        daemon.wait_for_records(1)
        assert (len(daemon.access_records), greeter.accepted) == (1, 1)


def test_a_deny_file_is_read_again_when_it_is_replaced(tmp_path: Path, greeter: Peer) -> None:
    file = tmp_path / "deny.txt"
    file.write_text("127.0.1.1  # first\n")
    with balancer(tmp_path, greeter, 'access.deny_file = "deny.txt"') as daemon:
        assert not is_served(daemon.port, "127.0.1.1")
        stays = served(daemon.port, "127.0.1.2")
        replace(file, "127.0.1.2\n")
        daemon.wait_for_log("frontend web: read .*deny.txt again")
        assert is_served(daemon.port, "127.0.1.1")
        assert not is_served(daemon.port, "127.0.1.2")
        assert stays is not None
        stays.setblocking(False)
        with pytest.raises(BlockingIOError):
            stays.recv(1)
        stays.close()


def test_a_broken_deny_file_changes_nothing_and_the_log_has_its_line(tmp_path: Path, greeter: Peer) -> None:
    file = tmp_path / "deny.txt"
    file.write_text("127.0.1.1\n")
    with balancer(tmp_path, greeter, 'access.deny_file = "deny.txt"') as daemon:
        replace(file, "# of today\n127.0.1.2\n127.0.1.300\n")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log(r"stays in use: .*deny\.txt:3: ")
        assert not is_served(daemon.port, "127.0.1.1")
        assert is_served(daemon.port, "127.0.1.2")
        replace(file, "127.0.1.2\n")
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("frontend web: read .*deny.txt again")
        assert is_served(daemon.port, "127.0.1.1")
        assert not is_served(daemon.port, "127.0.1.2")


def replace(file: Path, text: str) -> None:
    """Put a new file in its place, as a program that makes such files should."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)


def test_an_ipv6_listener_knows_its_clients_too(tmp_path: Path, greeter: Peer) -> None:
    """IPv4-mapped addresses cannot be had here: our listeners on IPv6 take IPv6 alone."""
    access = 'access.deny = ["::1", "127.0.1.1"]'
    with balancer(tmp_path, greeter, access, listen='["127.0.0.1:0", "[::]:0"]') as daemon:
        assert not is_served(daemon.port, "127.0.1.1")
        assert is_served(daemon.port, "127.0.1.2")
        port = int(daemon.addresses["web"][1].rpartition(":")[2])
        with pytest.raises(ConnectionResetError), socket.create_connection(("::1", port), 20) as client:
            client.recv(5)
        with pytest.raises(ConnectionRefusedError):
            connect(port)


def test_an_ipv4_client_in_the_form_of_ipv6_is_judged_as_ipv4_behind_a_proxy(
    tmp_path: Path, greeter: Peer
) -> None:
    more = 'accept_proxy_protocol = ["127.0.0.1"]\naccess.deny = ["192.0.2.0/24", "127.0.0.1"]'
    with balancer(tmp_path, greeter, more) as daemon:
        for host, comes_in in (("::ffff:192.0.2.7", False), ("::ffff:198.51.100.7", True)):
            with connect(daemon.port) as client:
                client.sendall(f"PROXY TCP6 {host} ::1 5 80\r\n".encode())
                if comes_in:
                    assert read(client, 5) == b"hello"
                else:
                    with pytest.raises(ConnectionResetError):
                        client.recv(5)
        records = daemon.wait_for_records(2)
        assert [(r["reason"], r["cause"]) for r in records if r["reason"] == "refused"] == [
            ("refused", "denied")
        ]


# Trials


@pytest.mark.parametrize(
    ("rules", "would", "also"),
    [
        ('access.deny = ["127.0.1.1"]\naccess.dry_run = true', "denied", ""),
        (
            "limits.connections_per_client = 1\nlimits.connections = 2\nlimits.dry_run = true",
            "too_many_connections",
            r"limits not enforced, because of dry_run \(connections: 1\)",
        ),
    ],
    ids=["access", "limits"],
)
def test_on_trial_nobody_is_refused_and_the_log_says_who_would_have_been(
    tmp_path: Path, greeter: Peer, rules: str, would: str, also: str
) -> None:
    with balancer(tmp_path, greeter, rules) as daemon:
        clients = [served(daemon.port, "127.0.1.1") for _ in range(10)]
        assert None not in clients
        daemon.wait_for_log(
            rf"connections not refused, because of dry_run: 1 \({would}: 1\), the last from 127\.0\.1\.1:"
        )
        daemon.wait_for_log(also)
        leave(daemon, *clients)
        assert {what for what, _, _ in summaries(daemon)} == {"not refused, because of dry_run"}

"""systemd listens, and the balancer takes the sockets over: `systemd-socket-activate` stands for systemd."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import peers
from support.clients import ask, ask_unix, connect, read
from support.daemon import TCPBALANCE, TWISTD
from support.ports import free_port
from support.process import Process, folder_of
from support.programs import require
from support.visitors import Visitors
from support.waiting import until

pytestmark = pytest.mark.requires("systemd-socket-activate", "setpriv")

CONFIG = """
[frontends.web]
listen = {listen}
pool = "web"

[pools.web]
backends = ["{backend}"]
"""

RUN: list[str | Path] = [TCPBALANCE, "run", "tcpbalance.toml"]

SUPERVISOR = """
while [ ! -e end ]; do
    sh -c 'echo $$ > pid; LISTEN_PID=$$; export LISTEN_PID; exec setpriv --pdeathsig KILL "$@"' sh "$@" &
    wait $!
done
"""
"""What systemd does with the sockets and the service: it keeps the ones, and starts the other again."""

LOW_PORTS = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


@contextmanager
def activated(
    folder: Path,
    config: str,
    listen: Sequence[str],
    *,
    name: str = "web",
    command: Sequence[str | Path] = RUN,
) -> Iterator[Process]:
    """Start a program with listening sockets, as soon as the first client comes."""
    (activate,) = require("systemd-socket-activate")
    (folder / "tcpbalance.toml").write_text(config)
    sockets = [part for address in listen for part in ("--listen", address)]
    names = f"--fdname={':'.join([name] * len(listen))}"
    with Process([activate, *sockets, names, *command], folder, folder / "output.log") as process:
        until(lambda: process.output.count("Listening on") == len(listen), lambda: process.output)
        yield process


@pytest.fixture
def backend() -> Iterator[peers.Peer]:
    with peers.peer(peers.echo) as peer:
        yield peer


@pytest.mark.parametrize(
    "command", [RUN, [TWISTD, "-n", "--pidfile=", "tcpbalance", "-c", "tcpbalance.toml"]]
)
def test_the_first_client_starts_it_and_all_are_served(
    tmp_path: Path, backend: peers.Peer, command: Sequence[str | Path]
) -> None:
    addresses = [f"127.0.0.1:{free_port()}", f"127.0.0.2:{free_port()}", f"{tmp_path}/web.sock"]
    listen = [*addresses[:2], f"unix:{addresses[2]}"]
    config = CONFIG.format(listen=listen, backend=backend.address)
    with activated(tmp_path, config, addresses, command=command) as process:
        first, second = (int(address.rpartition(":")[2]) for address in addresses[:2])
        assert ask(first, b"a") == b"a"
        with socket.create_connection(("127.0.0.2", second), timeout=20) as client:
            client.sendall(b"b")
            assert read(client, 1) == b"b"
        assert ask_unix(addresses[2], b"c") == b"c"
        assert process.output.count("frontend web: uses inherited descriptor") == 3
        assert process.stop() == 0
    assert Path(addresses[2]).is_socket()  # systemd's to remove


def test_it_needs_no_right_to_the_port(backend: peers.Peer) -> None:
    """As a user who may not bind a low port."""
    if os.geteuid() != 0 or int(LOW_PORTS.read_text()) < 1024:
        pytest.skip("low ports cannot be told apart here")
    port = next(port for port in range(1023, 600, -1) if _is_free(port))
    nobody = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=-all"]
    with folder_of("nobody") as folder:
        config = CONFIG.format(listen=f'"127.0.0.1:{port}"', backend=backend.address)
        with activated(folder, config, [f"127.0.0.1:{port}"], command=[*nobody, *RUN]) as process:
            assert ask(port, b"a") == b"a"
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert re.search(r"^Uid:\s+[1-9]", status, re.MULTILINE)
            assert process.stop() == 0


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def test_children_inherit_neither_sockets_nor_variables(tmp_path: Path, backend: peers.Peer) -> None:
    port = free_port()
    check = "env > environment.new; ls -l /proc/self/fd > descriptors; mv environment.new environment"
    config = CONFIG.format(listen=f'"127.0.0.1:{port}"', backend=backend.address) + (
        f'[pools.web.health]\ncheck = "command"\nargv = ["sh", "-c", "{check}"]\n'
    )
    with activated(tmp_path, config, [f"127.0.0.1:{port}"]) as process:
        assert ask(port, b"a") == b"a"
        environment = (tmp_path / "environment").read_text()
        assert "PATH=" in environment
        assert not re.search(r"^(LISTEN|NOTIFY|WATCHDOG)_", environment, re.MULTILINE)
        assert "socket:" not in (tmp_path / "descriptors").read_text()
        assert b"LISTEN_FDS=1" in Path(f"/proc/{process.pid}/environ").read_bytes()


def refusal(process: Process, port: int) -> str:
    """Have a client start the program, and give why it ends."""
    with connect(port):
        assert process.wait(20) == 1
    return process.output.splitlines()[-1]


def test_a_name_that_is_not_the_frontends_keeps_it_from_starting(tmp_path: Path) -> None:
    port = free_port()
    config = CONFIG.format(listen=f'"127.0.0.1:{port}"', backend="127.0.0.1:9")
    with activated(tmp_path, config, [f"127.0.0.1:{port}"], name="tcpbalance.socket") as process:
        assert refusal(process, port) == (
            f"frontend web: inherited descriptor 3 (tcpbalance.socket), which listens on 127.0.0.1:{port}: "
            "use FileDescriptorName=web in the socket unit"
        )


def test_an_address_that_is_not_the_frontends_keeps_it_from_starting(tmp_path: Path) -> None:
    port = free_port()
    config = CONFIG.format(listen=f'"127.0.0.1:{free_port()}"', backend="127.0.0.1:9")
    with activated(tmp_path, config, [f"127.0.0.1:{port}"]) as process:
        assert refusal(process, port) == (
            f"frontend web: inherited descriptor 3 (web), which listens on 127.0.0.1:{port}: listen has no "
            "such address: add it, or change the socket unit"
        )


def test_a_socket_file_of_another_mode_keeps_it_from_starting(tmp_path: Path) -> None:
    port, path = free_port(), tmp_path / "web.sock"
    config = CONFIG.format(listen=[f"127.0.0.1:{port}", f"unix:{path}"], backend="127.0.0.1:9")
    config = config.replace("pool =", 'listen_mode = "0601"\npool =')
    with activated(tmp_path, config, [f"127.0.0.1:{port}", f"{path}"]) as process:
        assert refusal(process, port) == (
            f"frontend web: inherited descriptor 4 (web), which listens on unix:{path}: its file is not as "
            "listen_mode says: use SocketMode= in the socket unit, or restart the program where it made the "
            "file itself"
        )


def test_sockets_for_another_process_are_not_used(tmp_path: Path) -> None:
    """A script between systemd and the balancer that does not `exec`."""
    port = free_port()
    config = CONFIG.format(listen=f'"127.0.0.1:{port}"', backend="127.0.0.1:9")
    script: list[str | Path] = ["sh", "-c", '"$@"; exit $?', "sh"]
    with activated(tmp_path, config, [f"127.0.0.1:{port}"], command=[*script, *RUN]) as process:
        hint = refusal(process, port)
        assert hint.startswith(f"LISTEN_FDS: the sockets are for process {process.pid}, not for this one;")
        assert f"cannot listen on 127.0.0.1:{port}: address already in use" in process.output


@pytest.mark.timeout(180)  # the program starts four times, on a machine that may be busy
def test_a_restart_under_load_refuses_no_client(tmp_path: Path, backend: peers.Peer) -> None:
    port = free_port()
    config = CONFIG.format(listen=f'"127.0.0.1:{port}"', backend=backend.address)
    supervisor: list[str | Path] = ["sh", "-c", SUPERVISOR, "sh"]
    pids = []
    with activated(tmp_path, config, [f"127.0.0.1:{port}"], command=[*supervisor, *RUN]) as process:
        with Visitors(port) as visitors:
            for _ in range(3):
                visitors.see(200)
                pid = int((tmp_path / "pid").read_text())
                pids.append(pid)
                os.kill(pid, signal.SIGTERM)
                until(lambda pid=pid: (tmp_path / "pid").read_text() not in ("", f"{pid}\n"), "a restart")  # type: ignore[misc]
            visitors.see(200)
        assert visitors.failures == []
        (tmp_path / "end").touch()
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
        assert process.wait() == 0
    assert len(set(pids)) == 3
    assert process.output.count("tcpbalance has ended") == 4

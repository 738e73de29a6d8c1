"""The connections of the clients in `debug_clients` are in the log, which can be changed while it runs."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from support.admin import Admin, Stage
from support.certificates import Authority
from support.clients import ask, connect, read_all
from support.command import command
from support.daemon import Daemon
from support.tls_clients import curl
from support.tls_peers import page
from support.waiting import until

PATH = "/api/v1/debug_clients"
CLIENT, OTHER = "127.0.0.7", "127.0.0.8"
OVER = rf"client {CLIENT}:\d+, \+\d+\.\d{{6}} s: over: 1 bytes from the client, 1 bytes from the backend"


def is_traced(daemon: Daemon, client: str) -> bool:
    """Connect, and see whether that is logged."""
    before = len(daemon.access_records)
    lines = daemon.log.count(f"client {client}:")
    ask(daemon.port, b"x", source=client)
    daemon.wait_for_records(before + 1)
    return daemon.log.count(f"client {client}:") > lines


def test_it_is_set_by_the_api_until_the_next_reload(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        assert admin.get(PATH) == {"debug_clients": []}
        assert not is_traced(daemon, CLIENT)

        status, answer = admin.ask("PUT", PATH, {"debug_clients": [CLIENT]})
        assert (status, answer) == (
            200,
            {"debug_clients": [f"{CLIENT}/32"], "lasts": "until the next reload"},
        )
        daemon.wait_for_log(rf"admin: 127\.0\.0\.1:\d+ sets debug_clients to {CLIENT}/32: done")
        ask(daemon.port, b"x", source=CLIENT)
        daemon.wait_for_log(
            rf"frontend web: client {CLIENT}:\d+, \+0\.\d{{6}} s: accepted at 127\.0\.0\.1:\d+"
        )
        daemon.wait_for_log(rf"client {CLIENT}:\d+, \+0\.\d{{6}} s: tries backend [ab] ")
        daemon.wait_for_log(OVER)
        assert not is_traced(daemon, OTHER)
        assert admin.get("/api/v1/plan")["plan"]["changed"][0]["key"] == "debug_clients"

        assert admin.ask("POST", "/api/v1/reload", {})[0] == 200
        assert admin.get(PATH) == {"debug_clients": []}
        until(lambda: not is_traced(daemon, CLIENT), "no longer logged")


def test_it_is_set_by_the_file(stage: Stage) -> None:
    traced = f'debug_clients = ["127.0.0.7"]\n{stage.config()}'
    with Daemon(traced, stage.folder) as daemon:
        admin = Admin(daemon)
        ask(daemon.port, b"x", source=CLIENT)
        daemon.wait_for_log(OVER)
        file = daemon.config_file
        file.write_text(file.read_text().replace(CLIENT, OTHER))
        assert admin.ask("POST", "/api/v1/reload", {})[0] == 200
        assert admin.get(PATH) == {"debug_clients": [f"{OTHER}/32"]}
        assert not is_traced(daemon, CLIENT)
        until(lambda: is_traced(daemon, OTHER), "the other is logged")


def test_what_makes_no_sense_is_refused(stage: Stage) -> None:
    with stage.daemon() as daemon:
        admin = Admin(daemon)
        many = [f"192.0.2.{number}" for number in range(65)]
        for content in ("127.0.0.1", ["127.0.0.1/8"], [7], many, [None]):
            status, answer = admin.ask("PUT", PATH, {"debug_clients": content})
            assert (status, "debug_clients must" in answer["error"]["message"]) == (400, True), answer
        assert admin.get(PATH) == {"debug_clients": []}


def test_the_command(stage: Stage) -> None:
    with stage.daemon() as daemon:
        where = f"--admin=http://127.0.0.1:{Admin(daemon).port}"

        def run(*words: str) -> str:
            done = command("debug-clients", where, *words)
            assert (done.returncode, done.stderr) == (0, "")
            return str(done.stdout)

        assert run() == "no clients\n"
        assert run(CLIENT, "2001:db8::/32") == f"{CLIENT}/32, 2001:db8::/32 (until the next reload)\n"
        assert run() == f"{CLIENT}/32, 2001:db8::/32\n"
        until(lambda: is_traced(daemon, CLIENT), "logged")
        assert run("--none") == "no clients (until the next reload)\n"
        assert command("debug-clients", where, "--none", CLIENT).returncode == 2
        assert command("debug-clients", where, "nonsense").returncode == 1


BEHIND = """
[frontends.behind]
listen = "127.0.0.1:0"
pool = "web"
accept_proxy_protocol = ["127.0.0.1"]
"""


def test_clients_that_a_proxy_names(stage: Stage) -> None:
    with stage.daemon(more=BEHIND) as daemon:
        assert Admin(daemon).ask("PUT", PATH, {"debug_clients": ["203.0.113.0/29"]})[0] == 200
        for number in range(1, 5):
            with connect(daemon.ports["behind"]) as sock:
                sock.sendall(f"PROXY TCP4 203.0.113.{number} 192.0.2.1 1000 80\r\n".encode())
                sock.shutdown(socket.SHUT_WR)
                read_all(sock)
            start = rf"frontend behind: client 203\.0\.113\.{number}:1000, \+\d+\.\d{{6}} s: "
            daemon.wait_for_log(start + r"the PROXY header of 127\.0\.0\.1:\d+ names 203\.0")
            daemon.wait_for_log(start + "over: 0 bytes from the client")
        assert "client 127.0.0.1:" not in daemon.log


OVER_TLS = """
debug_clients = ["127.0.0.1"]
[frontends.web]
listen = "127.0.0.1:0"
pool = "web"
tls = {{ certificates = [{{ cert = "web.pem", key = "web.key" }}] }}
[pools.web]
backends = ["{backend}"]
tls = {{ verify = false }}
"""


@pytest.mark.requires("nginx", "curl")
def test_the_handshakes_of_both_sides(tmp_path: Path) -> None:
    authority = Authority.root()
    issued = authority.issue(tmp_path, "web", "web.example")
    with (
        page(issued.certificate, issued.key, more="ssl_protocols TLSv1.3;") as server,
        Daemon(OVER_TLS.format(backend=server.address), tmp_path) as daemon,
    ):
        root = authority.write(tmp_path / "root.pem")
        assert curl(daemon.port, "web.example", root) == "page\n"
        daemon.wait_for_log("s: over: ")
        lines = [line for line in daemon.log.splitlines() if "client 127.0.0.1:" in line]
        # The cipher depends on what the two programs prefer.
        steps = [line.partition(" s: ")[2].partition(", TLS_")[0] for line in lines]
        steps.remove(
            "first byte from the client"
        )  # It comes during the handshake with the backend, or behind it.
        assert steps[1:4] == [
            "waits for a TLS handshake",
            "server name web.example",
            "TLS handshake with the client is over: TLSv1.3",
        ]
        assert steps[4:8] == [
            "pool web",
            f"tries backend {server.address}",
            "the backend has accepted, its TLS handshake begins",
            "TLS handshake with the backend is over: TLSv1.3",
        ]
        assert "GET /" not in daemon.log

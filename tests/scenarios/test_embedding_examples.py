"""The programs in `examples/embedding` run as their first lines say."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from support.clients import ask
from support.daemon import TWISTD
from support.examples import EXAMPLES, example
from support.http_echo import http_echoes
from support.peers import named
from support.process import Process
from support.waiting import until

FOLDER = EXAMPLES / "embedding"
ENDS_BY_INTERRUPT = (0, 1, -signal.SIGINT)
"""How Twisted's own runners end on Ctrl-C: the exit status is theirs, not ours, where we are embedded."""


def port_in(process: Process, pattern: str) -> int:
    found = until(lambda: re.search(pattern, process.output), lambda: f"a port in\n{process.output}")
    assert found is not None
    return int(found[1])


def test_an_application_file(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "edge.tac", tmp_path)
    with named("one", "two") as (one, two):
        addresses = {
            "127.0.0.1:8080": "127.0.0.1:0",
            "10.0.0.51:8080": one.address,
            "10.0.0.52:8080": two.address,
        }
        (tmp_path / "edge.toml").write_text(example("embedding/edge.toml", addresses))
        command: list[str | Path] = [TWISTD, "-n", "--pidfile=", "-y", tmp_path / "edge.tac"]
        with Process(command, tmp_path, tmp_path / "output") as process:
            port = port_in(process, r"frontend web listens on 127\.0\.0\.1:(\d+)")
            assert [ask(port) for _ in range(4)] == [b"one", b"two", b"one", b"two"]
            assert process.stop(signal.SIGINT) in ENDS_BY_INTERRUPT
            assert "Traceback" not in process.output


def test_a_program_with_a_policy_of_its_own(tmp_path: Path) -> None:
    names = ("east-1", "west-1", "east-2")
    with named(*names) as peers:
        backends = [f"{name}={peer.address}" for name, peer in zip(names, peers, strict=True)]
        command: list[str | Path] = [
            sys.executable,
            FOLDER / "own_zone_first.py",
            "127.0.0.1:0",
            "east",
            *backends,
        ]
        with Process(command, tmp_path, tmp_path / "output") as process:
            port = port_in(process, r"listening on .*port=(\d+)")
            served = {ask(port) for _ in range(40)}
            assert served == {b"east-1", b"east-2"}
            for peer in (peers[0], peers[2]):
                peer.end()
            assert {ask(port) for _ in range(3)} == {b"west-1"}
            assert process.stop(signal.SIGINT) in ENDS_BY_INTERRUPT
            assert "Traceback" not in process.output


def test_a_web_site(tmp_path: Path) -> None:
    with http_echoes("api", "one", "two") as addresses:
        command: list[str | Path] = [sys.executable, FOLDER / "routed_site.py", "127.0.0.1:0", *addresses]
        with Process(command, tmp_path, tmp_path / "output") as process:
            connection = HTTPConnection(
                "127.0.0.1", port_in(process, r"listening on .*port=(\d+)"), timeout=20
            )

            def ask(path: str) -> tuple[int, str | None, bytes]:
                connection.request("GET", path)
                response = connection.getresponse()
                return response.status, response.getheader("Location"), response.read()

            def facts(path: str) -> Any:
                return json.loads(ask(path)[2])

            assert [facts("/")["name"] for _ in range(4)] == ["one", "two", "one", "two"]
            api = facts("/api/users")
            assert (api["name"], api["target"]) == ("api", "/users")
            assert ask("/old/page?a=1")[:2] == (301, "/new?a=1")
            connection.close()
            assert process.stop(signal.SIGINT) in ENDS_BY_INTERRUPT
            assert "Traceback" not in process.output


def test_a_server_that_learns_addresses_from_a_proxy(tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, FOLDER / "proxied_echo.py", "127.0.0.1:0", "127.0.0.0/8"]
    with Process(command, tmp_path, tmp_path / "output") as process:
        port = port_in(process, r"listening on (\d+)")
        header = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"
        assert ask(port, header + b"hello\n") == b"you are 192.0.2.1\nhello\n"
        assert process.stop(signal.SIGINT) in ENDS_BY_INTERRUPT
        assert "Traceback" not in process.output

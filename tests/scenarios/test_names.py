"""Names under traffic: a name server that stops, and the files of the system as they change."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from support import peers
from support.clients import ask
from support.command import command
from support.daemon import TWISTD, Daemon
from support.name_server import FakeNameServer
from support.nginx import nginx
from support.nsd import nsd
from support.process import Process
from support.programs import require
from support.waiting import until
from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.net.resolver.blocking import look_up_all

WEB = """
[access_log]
path = "access.log"
format = "json"

[resolver]
servers = ["127.0.0.1:{name_server}"]
timeout = "200ms"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = ["web.test:{port}"]
{more}
"""

CHECKED = """
[pools.web.health]
check = "tcp"
interval = "200ms"
timeout = "1s"
on_down = "reset"
"""


@pytest.mark.requires("nginx", "nsd", "wrk")
def test_a_name_server_stopped_and_started_under_wrk(tmp_path: Path) -> None:
    (wrk,) = require("wrk")
    with (
        nginx("a") as (server,),
        nsd(tmp_path / "nsd", "web A 127.0.0.1", ttl=1) as names,
        Daemon(WEB.format(name_server=names.port, port=server.port, more=CHECKED), tmp_path) as daemon,
    ):
        how = ["-t1", "-c16", "-d60s", "--timeout", "3s", "-H", "Connection: close"]
        load = Process([wrk, *how, f"http://127.0.0.1:{daemon.port}/"], tmp_path, tmp_path / "wrk.log")
        daemon.wait_for_records(200)
        names.stop()
        daemon.wait_for_log(r"web\.test: name server unreachable \(keeping 1 address, \d s old\)")
        after = len(daemon.access_records) + 200
        daemon.wait_for_records(after)
        names.start()
        daemon.wait_for_log(r"web\.test: good answer again \(1 address, after \d s\)")
        # It ends at the signal and reports.
        assert load.stop(signal.SIGINT, 20.0) == 0
        assert daemon.stop() == 0
    requests = re.search(r"(\d+) requests in", load.output)
    assert requests is not None, load.output
    assert int(requests[1]) > after - 100
    assert "errors" not in load.output, load.output
    assert "Non-2xx" not in load.output, load.output
    assert "is down" not in daemon.log
    assert daemon.log.count("web.test: ") == 2
    reasons = {record["reason"] for record in daemon.access_records}
    assert reasons <= {"backend_closed", "client_closed", "client_reset"}


def test_it_ends_while_a_name_server_is_silent(tmp_path: Path) -> None:
    with FakeNameServer() as names:
        names.is_mute = True
        daemon = Daemon(WEB.format(name_server=names.port, port=80, more=CHECKED), tmp_path)
        with daemon.launch():
            until(lambda: names.asked, lambda: daemon.log)
            daemon.wait_for_log("frontend web waits for")
            assert daemon.stop(seconds=10.0) == 0
    assert "Traceback" not in daemon.log


@pytest.mark.requires("nsd")
def test_a_changed_zone_is_followed(tmp_path: Path) -> None:
    with (
        peers.peer(peers.says(b"here")) as server,
        nsd(tmp_path / "nsd", "web CNAME real\nreal A 127.0.0.9", ttl=1) as names,
        Daemon(WEB.format(name_server=names.port, port=server.port, more=""), tmp_path) as daemon,
    ):
        assert ask(daemon.port) == b""
        names.change("web CNAME real\nreal A 127.0.0.1")
        until(lambda: ask(daemon.port) == b"here", lambda: daemon.log)
        assert daemon.stop() == 0


@pytest.mark.requires("nsd")
def test_an_answer_that_is_too_long_for_a_datagram_is_asked_for_again_by_tcp(tmp_path: Path) -> None:
    records = "\n".join(f"many A 10.0.{number // 250}.{number % 250}" for number in range(300))
    with nsd(tmp_path / "nsd", records, ttl=60) as names:
        config = ResolverConfig(servers=(f"127.0.0.1:{names.port}",))
        replies = look_up_all(["many.test"], config, 10.0)
    assert len(set(replies["many.test"].addresses)) == 300


class OwnFiles(Daemon):
    """A balancer that finds `resolv.conf` and `hosts` of its folder in the place of the system's."""

    MOUNT = 'mount --bind resolv.conf /etc/resolv.conf && mount --bind hosts /etc/hosts && exec "$@"'

    def launch(self) -> Process:
        (unshare,) = require("unshare")
        twistd = [TWISTD, "-n", "--pidfile=", "tcpbalance", "--config", self.config_file]
        command = [unshare, "--mount", "sh", "-c", self.MOUNT, "sh", *twistd]
        self._process = Process([f"{part}" for part in command], self.folder, self._log_file)
        return self._process


FILES = """
[frontends.short]
listen = "127.0.0.1:0"
pool = "short"

[frontends.local]
listen = "127.0.0.1:0"
pool = "local"

[pools.short]
backends = ["db:{port}"]

[pools.local]
backends = ["own.example:{port}"]
"""


@pytest.mark.requires("unshare")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to put files in the place of the system's")
def test_the_files_of_the_system_count_as_they_are_and_as_they_change(tmp_path: Path) -> None:
    resolv, own = tmp_path / "resolv.conf", tmp_path / "hosts"
    resolv.write_text("nameserver 127.0.53.1\nsearch corp.test\n")
    own.write_text("127.0.0.1 localhost\n127.0.0.1 own.example\n")
    with (
        peers.peer(peers.says(b"here")) as server,
        FakeNameServer("127.0.53.1", 53) as first,
        FakeNameServer("127.0.53.2", 53) as second,
    ):
        first.ttl = second.ttl = 1
        first.addresses["db.corp.test"] = ["127.0.0.1"]
        with OwnFiles(FILES.format(port=server.port), tmp_path) as daemon:
            assert ask(daemon.ports["short"]) == b"here"
            assert ask(daemon.ports["local"]) == b"here"
            resolv.write_text("nameserver 127.0.53.2\nsearch other.test\n")
            second.addresses["db.other.test"] = ["127.0.0.9"]
            own.write_text("127.0.0.1 localhost\n127.0.0.9 own.example\n")
            for name in ("short", "local"):
                until(lambda name=name: ask(daemon.ports[name]) == b"", lambda: daemon.log)  # type: ignore[misc]
            assert daemon.stop() == 0
    assert first.asked[0][0] == "db.corp.test"
    assert ("db.other.test", "A") in second.asked


def test_check_warns_of_an_unknown_name(tmp_path: Path) -> None:
    file = tmp_path / "tcpbalance.toml"
    with FakeNameServer() as names:
        names.addresses["known.test"] = ["127.0.0.1"]
        config = WEB.format(name_server=names.port, port=80, more="")
        file.write_text(config.replace("backends = [", 'backends = ["known.test:80", '))
        done = command("check", file)
        line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "web.test" in text)
        assert done.stderr == f"{file}:{line}: warning: pools.web.backends[1]: web.test: no such name\n"
        assert (done.returncode, done.stdout) == (0, f"{file}: ok, 1 frontend, 1 pool\n")

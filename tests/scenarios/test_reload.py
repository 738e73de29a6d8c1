"""The configuration file is reloaded under traffic: no client is refused, no stream cut, each count exact."""

from __future__ import annotations

import hashlib
import random
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import peers
from support.certificates import Authority
from support.clients import ask, connect, read
from support.daemon import Daemon
from support.nginx import nginx
from support.ports import free_port
from support.process import Process
from support.programs import require
from support.waiting import until

ONE = '[frontends.web]\nlisten = "127.0.0.1:0"\npool = "web"\n[pools.web]\nbackends = ["{}"]\n'

RELOADS = 50
VISITORS = 1
STREAMS = 1


class Traffic:
    """Visitors that come and go, and streams that go on, until it is over.

    :param port: where the balancer listens.
    :ivar visits: how many have been answered, each on a connection of its own.
    :ivar failures: what went wrong.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.visits = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._guarded, args=(self._visit,)) for _ in range(VISITORS)]
        self._threads += [
            threading.Thread(target=self._guarded, args=(self._stream,)) for _ in range(STREAMS)
        ]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Exception as error:
            with self._lock:
                self.failures.append(f"{run}: {error!r}")

    def _visit(self) -> None:
        while not self._over.is_set():
            answer = ask(self._port, b"a visit")
            with self._lock:
                self.visits += 1
                if answer != b"a visit":
                    self.failures.append(f"answered {answer!r}")

    def _stream(self) -> None:
        rng, sent, received = random.Random(1), hashlib.sha256(), hashlib.sha256()
        with connect(self._port) as sock:
            while not self._over.is_set():
                data = rng.randbytes(rng.randint(1, 30_000))
                sock.sendall(data)
                sent.update(data)
                received.update(read(sock, len(data)))
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(1) == b""
        assert sent.digest() == received.digest()


@contextmanager
def echoing(count: int) -> Iterator[list[str]]:
    """Run backends that send back what they get; give their addresses."""
    with peers.peer(peers.echo) as first:
        if count == 1:
            yield [first.address]
        else:
            with echoing(count - 1) as others:
                yield [first.address, *others]


class Wrk:
    """wrk, with a connection for each request, until it is over.

    :param port: where the balancer listens.
    """

    CONNECTIONS = 2

    def __init__(self, port: int, folder: Path) -> None:
        (wrk,) = require("wrk")
        how = ["-t1", f"-c{self.CONNECTIONS}", "-d1h", "-HConnection: close", f"http://127.0.0.1:{port}/"]
        self._process = Process([wrk, *how], folder, folder / "wrk.log")

    def finish(self) -> int:
        """End it.

        :returns: how many requests it has had answers to; none has failed.
        """
        self._process.stop(signal.SIGINT)
        assert not re.search("errors|Non-2xx", self._process.output), self._process.output
        found = re.search(r"(\d+) requests in", self._process.output)
        assert found, self._process.output
        return int(found[1])


class Writer:
    """Writes configurations of every kind.

    :param folder: where certificates are.
    :param backends: the addresses that there are.
    :param pages: the address of a web server.
    :param taken: an address that another program listens on.
    """

    def __init__(self, folder: Path, backends: list[str], pages: str, taken: str) -> None:
        self._rng = random.Random(7)
        self.port, self.pages_port = free_port(), free_port()
        self._backends = backends
        self._pages = pages
        self._taken = taken
        authority = Authority.root()
        self._issued = [authority.issue(folder, name, "localhost") for name in ("one", "two")]

    def valid(self) -> str:
        pick = self._rng.choice
        listed = self._rng.sample(self._backends, self._rng.randint(1, len(self._backends)))
        tables = [
            f'{{ name = "n{self._backends.index(address)}", address = "{address}", weight = {pick([1, 2])}, '
            f'state = "{pick(["ready", "drain"]) if number else "ready"}" }}'
            for number, address in enumerate(listed)
        ]
        issued = pick(self._issued)
        tls = f"""[frontends.tls]
listen = ["127.0.0.1:0", "unix:tls.sock"]
listen_mode = "{pick(["0600", "0660"])}"
pool = "web"
[frontends.tls.tls]
certificates = [{{ cert = "{issued.certificate}", key = "{issued.key}" }}]
"""
        pages = f"""[frontends.{pick(["pages", "renamed"])}]
listen = "{pick(["127.0.0.1", "0.0.0.0"])}:{self.pages_port}"
pool = "pages"
backlog = {pick([512, 1024])}
socket = {{ {pick(["", "keepalive = '30s'", "receive_buffer = '64KiB', user_timeout = '9s'"])} }}
[pools.pages]
backends = ["{self._pages}"]
"""
        second = f'[frontends.second]\nlisten = "127.0.0.2:{self.port}"\npool = "web"\n'
        optional = {
            "[pools.web.health]\ncheck = 'tcp'\ninterval = '200ms'\n": 0.5,
            "[pools.web.affinity]\nttl = '1m'\n": 0.3,
            "[pools.web.outlier]\nconsecutive_failures = 9\n": 0.3,
            "[frontends.web.limits]\nconnections = 1000\nconnections_per_client = 900\n": 0.5,
            "[frontends.web.access]\ndeny = ['192.0.2.0/24']\n": 0.5,
            second: 0.5,
            tls: 0.5,
            "[frontends.web.socket]\nmax_segment = 1000\n": 0.3,
        }
        extra = "".join(text for text, share in optional.items() if self._rng.random() < share)
        listen = [f'"127.0.0.1:{self.port}"', *([f'"127.0.0.3:{self.port}"'] if pick([0, 1]) else [])]
        pool = pick(["web", "other"])
        return f"""\
shutdown_grace = "{pick([5, 6])}s"
[access_log]
path = "access.log"
format = "json"
[frontends.web]
listen = [{", ".join(listen)}]
pool = "{pool}"
backlog = {pick([512, 1024])}
idle_timeout = "{pick([60, 90])}s"
{extra}
{pages}
[pools.web]
balance = "{pick(["round_robin", "least_connections", "source_hash", "random"])}"
retries = {pick([2, 3])}
connect_timeout = "{pick([2, 3])}s"
backends = [{", ".join(tables)}]
[pools.other]
backends = ["{pick(self._backends)}"]
"""

    def broken(self) -> str:
        valid = self.valid()
        return self._rng.choice(
            [
                "",
                valid[: len(valid) // 2] + "[",
                valid.replace("backlog", "blacklog"),
                valid + f'[frontends.third]\nlisten = "{self._taken}"\npool = "web"\n',
                valid.replace('pool = "web"', 'pool = "wob"').replace('pool = "other"', 'pool = "wob"'),
            ]
        )


def reload(daemon: Daemon, text: str) -> None:
    """Have the balancer read another file, and wait until it has said what becomes of it."""
    before = reports(daemon)
    daemon.config_file.write_text(daemon._with_data_path(text))
    daemon.send(signal.SIGHUP)
    until(lambda: reports(daemon) > before, lambda: f"the reload\n{daemon.log[-5000:]}")


def reports(daemon: Daemon) -> int:
    return daemon.log.count("] reloaded ") + daemon.log.count("everything stays as it was")


@pytest.mark.requires("nginx", "wrk")
@pytest.mark.timeout(300)
def test_traffic_goes_on_through_reloads_of_every_kind(tmp_path: Path) -> None:
    with (
        echoing(3) as backends,
        nginx("pages") as (pages,),
        socket.create_server(("127.0.0.1", 0)) as holder,
    ):
        writer = Writer(tmp_path, backends, pages.address, f"127.0.0.1:{holder.getsockname()[1]}")
        with Daemon(writer.valid(), tmp_path) as daemon:
            wrk = Wrk(writer.pages_port, tmp_path)
            with Traffic(writer.port) as traffic:
                for number in range(RELOADS):
                    reload(daemon, writer.broken() if number % 5 == 4 else writer.valid())
                    assert traffic.failures == [], daemon.log[-5000:]
                    assert daemon.log.count("everything stays as it was") == (number + 1) // 5, daemon.log[
                        -5000:
                    ]
            assert traffic.failures == []
            assert traffic.visits > 100
            answered = wrk.finish()
            assert answered > 100
            assert daemon.stop() == 0
            assert daemon.log.count("everything stays as it was") == RELOADS // 5
        records = daemon.access_records
        reasons = [record["reason"] for record in records if record["frontend"] == "web"]
        assert reasons == ["client_closed"] * (traffic.visits + STREAMS)
        # wrk connects once to try the address, and leaves the requests that are under way in the end.
        assert 0 <= len(records) - len(reasons) - answered - 1 <= Wrk.CONNECTIONS
        assert 0 <= pages.requests - 1 - answered <= Wrk.CONNECTIONS


def test_fifty_signals_at_once_end_with_the_last_file(tmp_path: Path) -> None:
    with (
        peers.peer(peers.says(b"old")) as old,
        peers.peer(peers.says(b"new")) as new,
        Daemon(ONE.format(old.address), tmp_path) as daemon,
    ):
        assert ask(daemon.port) == b"old"
        for number in range(50):
            address = new.address if number == 49 else old.address
            daemon.config_file.write_text(daemon._with_data_path(ONE.format(address)))
            daemon.send(signal.SIGHUP)
        until(lambda: ask(daemon.port) == b"new", "the last file")
        assert daemon.stop() == 0


def test_a_reload_while_the_balancer_stops_does_no_harm(tmp_path: Path) -> None:
    with (
        peers.peer(peers.echo) as backend,
        Daemon(ONE.format(backend.address), tmp_path) as daemon,
        connect(daemon.port) as client,
    ):
        client.sendall(b"a")
        assert read(client, 1) == b"a"
        daemon.send(signal.SIGTERM)
        daemon.wait_for_log("no new connections")
        daemon.send(signal.SIGHUP)
        client.sendall(b"b")
        assert read(client, 1) == b"b"
        client.close()
        assert daemon.wait() == 0

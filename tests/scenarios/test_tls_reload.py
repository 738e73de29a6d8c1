"""Certificates change while clients come: nobody is turned away, and what cannot be used is not."""

from __future__ import annotations

import os
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import frozen
from cryptography import x509

from support.certificates import Authority, Issued
from support.clients import connect
from support.daemon import Daemon
from support.nginx import nginx
from support.tls_clients import REQUEST, s_client
from support.waiting import until, until_steady

NAME, SAFE = "web.example", "safe.example"

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[frontends.web.tls]
certificates = [{{ cert = "web.pem", key = "web.key" }}]

[frontends.safe]
listen = "127.0.0.1:0"
pool = "web"

[frontends.safe.tls]
certificates = [{{ cert = "safe.pem", key = "safe.key" }}]
client_ca = "clients.pem"
client_crl = "crl.pem"

[pools.web]
backends = ["{backend}"]
"""

pytestmark = pytest.mark.requires("nginx", "openssl")


@frozen
class Edge:
    """A balancer whose files the test replaces.

    :ivar new: where files are made, to be moved from there.
    """

    daemon: Daemon
    authority: Authority
    clients: Authority
    new: Path

    @property
    def folder(self) -> Path:
        """Where the balancer reads its files."""
        return self.daemon.folder

    @property
    def root(self) -> Path:
        """What its clients believe."""
        return self.folder / "root.pem"

    def renew(self) -> Issued:
        """Make another certificate, and leave it where it is not yet in use."""
        return self.authority.issue(self.new, "web", NAME)

    def put(self, file: Path) -> None:
        """Replace the balancer's file of the same name, all at once."""
        os.replace(file, self.folder / file.name)

    def put_both(self, issued: Issued) -> None:
        """Replace the certificate and the key, one right after the other."""
        self.put(issued.certificate)
        self.put(issued.key)

    def serial(self) -> int:
        """Ask for a page; give the number of the certificate that was shown."""
        context = ssl.create_default_context(cafile=f"{self.root}")
        with (
            connect(self.daemon.ports["web"]) as sock,
            context.wrap_socket(sock, server_hostname=NAME) as tls,
        ):
            shown = tls.getpeercert(binary_form=True)
            assert shown is not None
            tls.sendall(REQUEST)
            with tls.makefile("rb") as answer:
                assert answer.read().endswith(b"page\n")
            return x509.load_der_x509_certificate(shown).serial_number

    def mend(self) -> None:
        """Put files in their place that can be used."""
        renewed = self.renew()
        self.put_both(renewed)
        self.daemon.send(signal.SIGHUP)
        self.until_shown(renewed)

    def until_shown(self, issued: Issued, seconds: float = 10.0) -> None:
        """Wait until new clients see a certificate."""
        until(lambda: self.serial() == issued.serial, "the new certificate", seconds)

    def until_logged(self, name: str, lines: int) -> None:
        """Wait until the log has more than so many lines about a file."""
        until(
            lambda: self.daemon.log.count(name) > lines,
            lambda: f"more than {lines} lines about {name}\n{self.daemon.log}",
        )


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder, new = tmp_path_factory.mktemp("tls-reload"), tmp_path_factory.mktemp("tls-reload-new")
    authority, clients = Authority.root(), Authority.root("Clients")
    authority.write(folder / "root.pem")
    authority.issue(folder, "web", NAME)
    authority.issue(folder, "safe", SAFE)
    clients.write(folder / "clients.pem")
    clients.revoke(folder / "crl.pem")
    with nginx("page") as (server,), Daemon(CONFIG.format(backend=server.address), folder) as daemon:
        yield Edge(daemon, authority, clients, new)


class Load:
    """Clients that come one after another, in a few threads.

    :ivar served: how many have been.
    :ivar failures: what happened to those who have not.
    """

    def __init__(self, edge: Edge, threads: int = 3) -> None:
        self.served = 0
        self.failures: list[Exception] = []
        self._edge = edge
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._go_on, daemon=True) for _ in range(threads)]

    def start(self) -> None:
        """Let them come."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Let no more come."""
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def _go_on(self) -> None:
        while not self._enough.is_set():
            try:
                self._edge.serial()
                self.served += 1
            except (OSError, AssertionError) as error:
                self.failures.append(error)


@contextmanager
def under_load(edge: Edge) -> Iterator[Load]:
    """Let clients come, each of whom has to be served."""
    load = Load(edge)
    load.start()
    try:
        until(lambda: load.served > 10, lambda: f"clients to be served: {load.failures}")
        yield load
        before = load.served
        until(lambda: load.served > before + 10, lambda: f"clients to be served: {load.failures}")
    finally:
        load.end()
    assert load.failures == []


def test_a_certificate_is_replaced_and_no_client_is_turned_away(edge: Edge) -> None:
    with under_load(edge):
        for _ in range(2):
            renewed = edge.renew()
            edge.put_both(renewed)
            edge.until_shown(renewed)


def test_a_key_that_comes_later_than_its_certificate_is_waited_for(edge: Edge) -> None:
    before, renewed = edge.serial(), edge.renew()
    with under_load(edge) as load:
        edge.put(renewed.certificate)
        # Longer than it takes to notice that a file has changed.
        until_steady(lambda: load.failures, for_seconds=1.5)
        assert edge.serial() == before
        edge.put(renewed.key)
        edge.until_shown(renewed)


@pytest.mark.parametrize(
    ("name", "broken"),
    [("web.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n"), ("web.key", "")],
    ids=["half a certificate", "an empty key"],
)
def test_a_file_that_cannot_be_used_is_named_in_the_log_and_the_old_one_stays(
    edge: Edge, name: str, broken: str
) -> None:
    before, lines = edge.serial(), edge.daemon.log.count(name)
    (edge.new / name).write_text(broken)
    edge.put(edge.new / name)
    edge.until_logged(name, lines)
    assert edge.serial() == before
    edge.mend()


def test_a_file_that_is_gone_is_named_in_the_log_and_the_old_one_stays(edge: Edge) -> None:
    before, lines = edge.serial(), edge.daemon.log.count("web.pem")
    (edge.folder / "web.pem").unlink()
    edge.until_logged("web.pem", lines)
    assert edge.serial() == before
    edge.mend()


def test_a_hangup_has_the_files_read_at_once(edge: Edge) -> None:
    edge.put_both(renewed := edge.renew())
    edge.until_shown(renewed)
    # They have just been looked at, which is done about once a second; this must not take so long.
    edge.put_both(renewed := edge.renew())
    edge.daemon.send(signal.SIGHUP)
    edge.until_shown(renewed, seconds=0.5)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_client_whose_certificate_is_revoked_is_refused_from_then_on(
    edge: Edge, tmp_path: Path, version: str
) -> None:
    alice, session = edge.clients.issue_client(tmp_path, "alice", "CN=alice"), tmp_path / "session.pem"

    def is_served(*options: str | Path) -> bool:
        shown = ("-cert", alice.certificate, "-key", alice.key)
        return "\npage\n" in s_client(edge.daemon.ports["safe"], version, *shown, *options, name=SAFE)

    assert is_served("-sess_out", session)
    assert is_served("-sess_in", session)
    edge.put(edge.clients.revoke(edge.new / "crl.pem", alice))
    until(lambda: not is_served(), "the client to be refused")
    # A session from before is no way round it.
    assert not is_served("-sess_in", session)

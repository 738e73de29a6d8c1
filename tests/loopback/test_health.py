"""The monitor with real probes, backends and the real clock: what it finds, and that it leaves nothing."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from support.descriptors import open_descriptors, opened_since
from support.probe_peers import Server, http
from support.process import children
from support.sockets import until
from tcpbalance import Backend, CommandProbe, HealthConfig, HttpProbe, Pool, Probe, TcpProbe
from tcpbalance.health.monitor import HealthMonitor

REACTOR: Any = reactor


class HealthTests(TestCase):
    """A monitor and what it watches."""

    timeout = 30

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def monitor(self, probe: Probe, *addresses: str, **settings: Any) -> HealthMonitor:
        config = HealthConfig(probe=probe, **settings)
        backends = [*map(Backend, addresses)]
        pool = Pool("web", backends, clock=REACTOR.seconds, rng=Random(), health=config)
        monitor = HealthMonitor(pool, config, reactor=REACTOR, rng=Random())
        self.addCleanup(monitor.stopService)
        return monitor

    def listen(self, server: Server) -> tuple[str, Any]:
        port = REACTOR.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return f"127.0.0.1:{port.getHost().port}", port

    async def test_a_backend_goes_and_comes_back(self) -> None:
        server = Server(answer=http(b"fine"))
        steady, _ = self.listen(Server(answer=http(b"fine")))
        address, _ = self.listen(server)
        monitor = self.monitor(HttpProbe(), steady, address, interval=0.02, timeout=5.0, fall=2, rise=2)
        a, b = monitor.pool.backends
        monitor.startService()
        await monitor.first_round
        self.assertTrue(a.up)
        self.assertTrue(b.up)
        server.answer = http(status="503 Service Unavailable")
        await until(REACTOR, lambda: not b.up)
        self.assertEqual(b.cause, "status 503")
        server.answer = http(b"fine")
        await until(REACTOR, lambda: b.up)
        self.assertTrue(a.up)
        await monitor.stopService()
        await until(REACTOR, lambda: not server.open)

    async def test_stopping_in_mid_probe_leaves_no_connection(self) -> None:
        server = Server()
        address, _ = self.listen(server)
        monitor = self.monitor(HttpProbe(), address, timeout=20.0)
        await deferLater(REACTOR, 0)
        before = open_descriptors()
        monitor.startService()
        await until(REACTOR, lambda: server.heard)
        await monitor.stopService()
        await until(REACTOR, lambda: not server.open)
        self.assertEqual(opened_since(before), {})

    async def test_stopping_in_mid_probe_leaves_no_child(self) -> None:
        started = self.folder / "started"
        probe = CommandProbe(("/bin/sh", "-c", f"touch {started}-$1; sleep 600", "-", "{port}"))
        monitor = self.monitor(probe, "127.0.0.1:1", "127.0.0.1:2", timeout=20.0)
        await deferLater(REACTOR, 0)
        before = children()
        monitor.startService()
        await until(REACTOR, lambda: len(list(self.folder.iterdir())) == 2)
        await monitor.stopService()
        self.assertEqual(children() - before, set())

    async def test_many_backends_leave_nothing(self) -> None:
        servers = [Server() for _ in range(50)]
        addresses = [self.listen(server)[0] for server in servers]
        monitor = self.monitor(TcpProbe(), *addresses, interval=0.1, timeout=20.0)
        await deferLater(REACTOR, 0)
        before = open_descriptors()
        monitor.startService()
        await monitor.first_round
        self.assertTrue(all(backend.up for backend in monitor.pool.backends))
        await until(REACTOR, lambda: all(len(server.ends) >= 3 for server in servers))
        await monitor.stopService()
        await until(REACTOR, lambda: not any(server.open for server in servers))
        # What the system has accepted for the servers may still have to come.
        await until(REACTOR, lambda: opened_since(before) == {})

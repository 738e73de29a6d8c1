"""The example of a probe, as the how-to shows it, from its installation to a check of a real backend."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from support.distributions import pretend_installed
from support.probe_peers import Server, close
from support.sockets import until
from tcpbalance import Backend, ConfigError, HealthConfig, Pool, Probe, read_config
from tcpbalance.health.monitor import HealthMonitor

TREE = Path(__file__).parents[2]
EXAMPLE = TREE / "examples" / "agent_probe"
PAGE = TREE / "docs" / "how-to" / "custom-probe.md"
WITHOUT_HEALTH = """
[frontends.db]
listen = "127.0.0.1:0"
pool = "db"
[pools.db]
backends = ["10.0.0.1:5432"]
"""
REACTOR: Any = reactor


class AgentProbeTests(TestCase):
    """The example, installed as pip would do it, by what its own pyproject.toml says."""

    timeout = 30

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
        for group, entries in project["entry-points"].items():
            pretend_installed(self.folder, project["name"], group, entries)
        self.patch(sys, "path", [str(self.folder), str(EXAMPLE), *sys.path])
        self.addCleanup(sys.modules.pop, "agent_probe", None)

    def configured(self, keys: str) -> HealthConfig:
        """What the reader makes of a `[pools.db.health]` table."""
        file = self.folder / "tcpbalance.toml"
        file.write_text(WITHOUT_HEALTH + keys)
        health = read_config(file).pools["db"].health
        assert health is not None
        return health

    def listen(self, server: Server) -> int:
        port = REACTOR.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def checked(self, agent: Server, address: str = "127.0.0.1:1") -> Backend:
        """A backend after its first check, by way of the monitor and an agent that behaves like `agent`."""
        health = self.configured(f'[pools.db.health]\ncheck = "agent"\nagent_port = {self.listen(agent)}\n')
        backend = Backend(address)
        pool = Pool("db", [backend], clock=REACTOR.seconds, rng=Random(), health=health)
        monitor = HealthMonitor(pool, health, reactor=REACTOR, rng=Random())
        monitor.startService()
        await monitor.first_round
        await monitor.stopService()
        await until(REACTOR, lambda: not agent.open)
        return backend

    def test_the_configuration_of_the_page_can_be_read(self) -> None:
        (keys,) = re.findall(r"```toml\n(\[pools.*?)```", PAGE.read_text(), re.DOTALL)
        health = self.configured(keys)
        self.assertEqual((health.check, health.interval), ("agent", 5.0))
        self.assertEqual(getattr(health.probe, "agent_port", None), 9777)

    def test_a_missing_key_is_told_with_its_line(self) -> None:
        with self.assertRaisesRegex(ConfigError, r"toml:7: pools\.db\.health\.agent_port: is required"):
            self.configured('[pools.db.health]\ncheck = "agent"\n')

    async def test_passes_when_the_agent_says_up(self) -> None:
        backend = await self.checked(Server(greeting=b"up\n"))
        self.assertEqual((backend.up, backend.cause), (True, ""))

    async def test_fails_when_the_agent_says_something_else(self) -> None:
        backend = await self.checked(Server(greeting=b"maintenance\n", then=close))
        self.assertEqual((backend.up, backend.cause), (False, r'no "up\n" in the answer, got "maintenance"'))

    async def test_a_unix_socket_has_no_agent(self) -> None:
        backend = await self.checked(Server(), "unix:/run/app.sock")
        self.assertEqual((backend.up, backend.cause), (False, "no agent for a unix socket"))

    def test_it_is_a_probe_to_the_type_checker(self) -> None:
        from agent_probe import AgentProbe  # type: ignore[import-not-found] # on the path since `setUp`

        probe: Probe = AgentProbe(9777)
        self.assertEqual(probe, AgentProbe(9777))

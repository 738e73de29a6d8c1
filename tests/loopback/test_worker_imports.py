"""Workers import no more than they need, also once they serve, and share what they need."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest
from twisted.internet import reactor as global_reactor

from support.not_in_a_worker import NOT_IN_A_WORKER, are_not_among
from support.supervised import SupervisedCase
from tcpbalance.config.models import Config
from tcpbalance.workers.nursery_process import NurseryProcess
from tcpbalance.workers.shared_counts import can_count

reactor: Any = global_reactor

SAYS = """\
import sys
from pathlib import Path

from tcpbalance.workers import worker

def main(request):
    begun = {{*sys.modules}}
    place = request.content["place"]
    try:
        worker.main(request)
    finally:
        Path({folder!r}, f"all-{{place}}").write_text(" ".join(sys.modules))
        Path({folder!r}, f"own-{{place}}").write_text(" ".join({{*sys.modules}} - begun))
"""


@pytest.mark.skipif(not can_count(), reason="needs Linux on x86_64")
class WorkerImportsTests(SupervisedCase):
    """Workers that serve, and say in the end what they have imported."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "other_worker.py").write_text(SAYS.format(folder=folder.name))

    def make(self, reactor: Any, module: str, timeout: float) -> NurseryProcess:
        with mock.patch.dict(os.environ, PYTHONPATH=str(self.folder)):
            return NurseryProcess(reactor, "other_worker", timeout)

    async def serve(self, config: Config) -> None:
        """Serve a client of each worker, and end."""
        supervisor = await self.supervised(config, make_nursery=self.make)
        for source in self.sources():
            client = self.connected(supervisor, source)
            assert await self.answer(client) == "a"
            client.close()
        await supervisor.stopService()

    def said(self, what: str) -> list[list[str]]:
        return [(self.folder / f"{what}-{place}").read_text().split() for place in range(self.workers)]

    async def test_of_plain_tcp_they_import_nothing_else(self) -> None:
        await self.serve(self.config())
        for modules in self.said("all"):
            assert "tcpbalance.workers.worker" in modules
            are_not_among(modules, NOT_IN_A_WORKER)

    async def test_what_a_configuration_needs_they_have_from_what_forks_them(self) -> None:
        config = self.config()
        (name,) = config.frontends
        frontend = attrs.evolve(config.frontends[name], mode="http")
        await self.serve_http(attrs.evolve(config, frontends={name: frontend}))
        for everything, own in zip(self.said("all"), self.said("own"), strict=True):
            assert "tcpbalance.http.factory" in everything
            assert [module for module in own if module.startswith("tcpbalance.http")] == []

    async def serve_http(self, config: Config) -> None:
        supervisor = await self.supervised(config, make_nursery=self.make)
        await supervisor.stopService()

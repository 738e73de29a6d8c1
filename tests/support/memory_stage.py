"""One transport of the memory network with a recorder on it: see ``transport_scripts.Stage``."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory

from support.network import Network
from support.transport_scripts import Recorder


class OneProtocol(Factory):
    """Serves every connection with the same protocol."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Any:
        return self._protocol


class MemoryStage:
    """A recorder on a transport of the memory network."""

    def __init__(
        self, protocol: type[Recorder], *, tls: bool = False, network: Network | None = None
    ) -> None:
        self.network = network or Network()
        self.protocol = protocol([])
        self.peer = self.network.connect_client(OneProtocol(self.protocol), tls=tls)

    @property
    def transport(self) -> Any:
        return self.protocol.transport

    def turn(self) -> None:
        self.network.step()

    def await_reset(self) -> None:
        assert self.transport.kernel.was_reset

    def settle(self) -> None:
        self.network.run()

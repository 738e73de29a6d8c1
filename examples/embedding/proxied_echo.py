"""A server behind a proxy that sends PROXY headers: it sends each client the client's own address.

python proxied_echo.py 127.0.0.1:8080 127.0.0.0/8
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from zope.interface import implementer

from tcpbalance import ProxyProtocolEndpoint


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """Sends the client's address, then echoes every byte."""

    transport: Any

    def connectionMade(self) -> None:
        self.transport.write(f"you are {self.transport.getPeer().host}\n".encode())

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass


async def main(reactor: Any, listen: str, *proxies: str) -> None:
    """Serve until interrupted."""
    host, port = listen.rsplit(":", 1)
    tcp = TCP4ServerEndpoint(reactor, int(port), interface=host)
    endpoint = ProxyProtocolEndpoint(tcp, reactor=reactor, trusted=proxies)
    listening = await endpoint.listen(Factory.forProtocol(Echo))
    address = listening.getHost()
    assert isinstance(address, IPv4Address)
    print(f"listening on {address.port}", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor, *argv: Deferred.fromCoroutine(main(reactor, *argv)), sys.argv[1:])

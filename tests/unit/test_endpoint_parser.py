"""``serverFromString`` knows ``tcpbalance-proxy:``, around any description of an endpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport

from tcpbalance import Backend, Frontend, Pool, ProxyProtocolEndpoint, SettingError
from tcpbalance.services.listen import EndpointString

HEADER = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"


class Peers(Factory):
    """Keeps the addresses that it is asked for a protocol with."""

    noisy = False

    def __init__(self) -> None:
        self.hosts: list[str] = []

    def buildProtocol(self, addr: object) -> Any:
        assert isinstance(addr, IPv4Address)
        self.hosts.append(addr.host)
        return Protocol()


def listening(description: str) -> tuple[MemoryReactorClock, Any, Peers]:
    """Listen on an endpoint, in memory.

    :returns: the reactor, what it asks for protocols, and the program's factory behind that.
    """
    reactor, program = MemoryReactorClock(), Peers()
    endpoint = serverFromString(reactor, description)
    assert isinstance(endpoint, ProxyProtocolEndpoint)
    endpoint.listen(program)
    (server,) = reactor.tcpServers
    return reactor, server[1], program


def connect(factory: Any, host: str) -> tuple[Any, StringTransport]:
    """Connect a client.

    :returns: its protocol and its transport.
    """
    transport = StringTransport(peerAddress=IPv4Address("TCP", host, 1))
    protocol = factory.buildProtocol(transport.getPeer())
    protocol.makeConnection(transport)
    return protocol, transport


def quoted(text: str) -> str:
    """As Twisted quotes an argument, and with quotes that it does not need."""
    return str(quoteStringArgument(text)).replace("=", r"\=")


PORT_AND_INTERFACE = [
    ("tcp:8080", 8080, ""),
    ("tcp:8080:interface=127.0.0.1", 8080, "127.0.0.1"),
    ("tcp:interface=127.0.0.1:port=8080", 8080, "127.0.0.1"),
    (r"tcp6:8080:interface=\:\:1", 8080, "::1"),
]


@pytest.mark.parametrize(("inner", "port", "interface"), PORT_AND_INTERFACE)
@pytest.mark.parametrize("quote", [str, quoteStringArgument, quoted])
def test_it_wraps_what_follows_bare_or_quoted(
    quote: Callable[[str], str], inner: str, port: int, interface: str
) -> None:
    reactor, factory, program = listening(f"tcpbalance-proxy:{quote(inner)}")
    (server,) = reactor.tcpServers
    assert (server[0], server[3]) == (port, interface)
    protocol, _ = connect(factory, "10.0.0.1")
    protocol.dataReceived(HEADER)
    assert program.hosts == ["192.0.2.1"]


@pytest.mark.parametrize("inner", ["tcp:8080", r"tcp\:8080"])
def test_only_the_trusted_send_headers(inner: str) -> None:
    _, factory, program = listening(rf"tcpbalance-proxy:{inner}:trusted=10.0.0.0/8, 2001\:db8\:\:/32")
    protocol, _ = connect(factory, "10.0.0.1")
    connect(factory, "192.0.2.77")
    assert program.hosts == ["192.0.2.77"]
    protocol.dataReceived(HEADER)
    assert program.hosts == ["192.0.2.77", "192.0.2.1"]


@pytest.mark.parametrize(("options", "timeout"), [("", 5.0), (":timeout=0.5", 0.5)])
def test_a_header_may_take_so_long(options: str, timeout: float) -> None:
    reactor, factory, _ = listening(f"tcpbalance-proxy:tcp:8080{options}")
    _, transport = connect(factory, "10.0.0.1")
    reactor.advance(timeout - 0.1)
    assert not transport.disconnecting
    reactor.advance(0.1)
    assert transport.disconnecting


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ("tcpbalance-proxy", "an endpoint must follow, such as tcpbalance-proxy:tcp:8080"),
        ("tcpbalance-proxy:timeout=3", "an endpoint must follow, such as tcpbalance-proxy:tcp:8080"),
        ("tcpbalance-proxy:tcp:8080:timeout=0", "PROXY endpoint: timeout must be longer than 0s"),
        ("tcpbalance-proxy:tcp:8080:timeout=soon", "timeout must be a number of seconds, got soon"),
        (
            "tcpbalance-proxy:tcp:8080:trusted=10.0.0.1/8",
            'did you mean "10.0.0.0/8"?',
        ),
        ("tcpbalance-proxy:tcp:8080:trusted=", "PROXY endpoint: trusted must be a network such as "),
    ],
)
def test_what_makes_no_sense_is_refused(description: str, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        serverFromString(MemoryReactorClock(), description)
    assert said in str(caught.value)


@pytest.mark.parametrize("inner", ["tpc:8080", r"tpc\:8080"])
def test_what_follows_is_refused_as_without_it(inner: str) -> None:
    with pytest.raises(ValueError, match="Unknown endpoint type: 'tpc'"):
        serverFromString(MemoryReactorClock(), f"tcpbalance-proxy:{inner}")


def test_a_frontend_can_listen_on_it() -> None:
    frontend = Frontend("web", "tcpbalance-proxy:tcp:8080", Pool("web", [Backend("10.0.0.1:80")]))
    (listens_on,) = frontend.listen
    assert isinstance(listens_on, EndpointString)
    assert isinstance(listens_on.endpoint(MemoryReactorClock()), ProxyProtocolEndpoint)

"""Asks a backend for a page, as ``HttpProbe`` says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, RequestTransmissionFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IResponse
from zope.interface import implementer

from tcpbalance.config.addresses import Address
from tcpbalance.config.statuses import StatusSet
from tcpbalance.health.probes.base import ProbeFailed, Target
from tcpbalance.health.probes.causes import named_causes, verdict_on
from tcpbalance.health.probes.connection import ProbeConnection, connected
from tcpbalance.health.probes.endpoint import endpoint_for
from tcpbalance.health.probes.search import ANSWER_LIMIT, Search

HEAD_LIMIT = 64 * 1024
"""Bytes that an answer may spend on anything but its body; Twisted bounds a line, not how many there are."""


async def ask(target: Target, path: str, host: str | None, accepted: StatusSet, contains: str | None) -> None:
    """Ask for one page, with the keys of ``HttpProbe``.

    :raises ProbeFailed: see ``HttpProbe.check``.
    """
    carrier = _Carrier()
    endpoint = endpoint_for(target)
    headers = Headers(
        {b"host": [(host or _host_of(target.address)).encode()], b"user-agent": [b"tcpbalance"]}
    )
    with named_causes(), _named_http_causes(carrier):
        async with connected(endpoint, carrier, target):
            agent = Agent.usingEndpointFactory(target.reactor, _Connected(carrier))  # type: ignore[no-untyped-call]  # Twisted's is not annotated
            response = await agent.request(b"GET", b"http://backend" + path.encode(), headers)
            if response.code not in accepted:
                raise ProbeFailed(f"status {response.code}")
            if contains is not None:
                await _found_in_body(response, contains, target)


async def _found_in_body(response: IResponse, wanted: str, target: Target) -> None:
    search = Search(wanted.encode())
    target.deadline.cause = search.missing_within
    response.deliverBody(_Body(search))  # type: ignore[no-untyped-call]  # Twisted's is not annotated
    await search.verdict.wait()


def _host_of(address: Address) -> str:
    """The Host header for an address (RFC 9110 section 7.2); the zone of a link-local one stays here."""
    if address.host is None:
        return "localhost"
    return str(attrs.evolve(address, host=address.host.partition("%")[0]))


class _Carrier(ProbeConnection):
    """Carries Twisted's HTTP client on a connection of ours, and bounds what may come back."""

    def __init__(self) -> None:
        super().__init__()
        self._inner: IProtocol | None = None
        self.received = 0

    @property
    def overflown(self) -> bool:
        """Whether more came than an answer may have."""
        return self.received > HEAD_LIMIT + ANSWER_LIMIT

    def carry(self, factory: IProtocolFactory) -> IProtocol:
        """Let a protocol of *factory* speak over this connection."""
        inner = self._inner = factory.buildProtocol(self.transport.getPeer())
        assert inner is not None
        inner.makeConnection(self.transport)
        return inner

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        if self.overflown:
            self.transport.abortConnection()
        elif self._inner is not None:
            self._inner.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._inner is not None:
            self._inner.connectionLost(reason)
        super().connectionLost(reason)


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
class _Connected:
    """The endpoint that leads the agent to the connection there is already."""

    def __init__(self, carrier: _Carrier) -> None:
        self._carrier = carrier

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        return self

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return succeed(self._carrier.carry(protocolFactory))


class _Body(Protocol):
    """Takes the body to the search."""

    def __init__(self, search: Search) -> None:
        self._search = search

    def dataReceived(self, data: bytes) -> None:
        self._search.feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if isinstance(reason.value, ResponseDone | PotentialDataLoss):
            self._search.end()
        self._search.verdict.settle(reason)


@contextmanager
def _named_http_causes(carrier: _Carrier) -> Iterator[None]:
    """Turn the agent's errors, within the block, into `ProbeFailed`."""
    try:
        yield
    except (RequestTransmissionFailed, ResponseFailed) as error:
        raise ProbeFailed(_cause(error.reasons, carrier)) from error


def _cause(reasons: Iterable[Failure], carrier: _Carrier) -> str:
    if carrier.overflown:
        return f"answer longer than {(HEAD_LIMIT + ANSWER_LIMIT) // 1024} KiB"
    for reason in reasons:
        # What closes after it has said something has not kept to HTTP, or we have closed because it did not.
        if carrier.received and isinstance(reason.value, ConnectionDone):
            break
        verdict = reason.value and verdict_on(reason.value)
        if verdict:
            return str(verdict)
    return "no proper HTTP answer"

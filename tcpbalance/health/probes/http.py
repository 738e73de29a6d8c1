"""The probe that asks for a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
from attrs import field, frozen
from attrs.validators import optional
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
from tcpbalance.config.metadata import HIDDEN
from tcpbalance.config.strict import strict
from tcpbalance.health.probes.base import ProbeFailed, Target
from tcpbalance.health.probes.causes import named_causes, verdict_on
from tcpbalance.health.probes.connection import ProbeConnection, connected
from tcpbalance.health.probes.endpoint import endpoint_for
from tcpbalance.health.probes.keys import matching, some_text
from tcpbalance.health.probes.search import ANSWER_LIMIT, Search
from tcpbalance.health.probes.status import StatusSet

HEAD_LIMIT = 64 * 1024
"""Bytes that an answer may spend on anything but its body; Twisted bounds a line, not how many there are."""


# What RFC 3986 lets stand in a path and a query is printable ASCII; a fragment is never sent.
_path = matching(r'/[!"$-~]*', 'must begin with "/" and be printable ASCII without blanks and "#"')
_host = matching(r"[!-~]+", "must be printable ASCII without blanks")


def _status(value: StatusSet | int | str) -> StatusSet:
    return value if isinstance(value, StatusSet) else StatusSet.parse(value)


def _without_query(path: str) -> str:
    """Give what may be shown of a path: a query may have a password."""
    before, mark, _ = path.partition("?")
    return f"{before}?{HIDDEN}" if mark else path


@frozen(field_transformer=strict)
class HttpProbe:
    """Passes when the answer to a GET request has an accepted status, and `contains` in its body if set.

    Redirects are not followed, they are answers; the connection serves this one request.
    """

    path: str = field(
        default="/",
        validator=_path,
        metadata={"doc": "Path of the request; a query may follow.", "shown": _without_query},
    )
    host: str | None = field(
        default=None,
        validator=optional(_host),
        metadata={"doc": "Host header of the request. Absent: the address that is checked."},
    )
    status: StatusSet = field(
        default=StatusSet(((200, 399),)),
        converter=_status,
        metadata={"doc": 'Status codes that pass: `"200"`, `"200-399"` or `"200,204,300-302"`.'},
    )
    contains: str | None = field(
        default=None,
        validator=optional(some_text),
        metadata={
            "doc": "Text that the first 64 KiB of the body must contain. Absent: the body is not read."
        },
    )

    async def check(self, target: Target) -> None:
        """See `Probe`.

        :raises ProbeFailed: it does not accept, closes, answers something else, or does not speak HTTP.
        """
        carrier = _Carrier()
        endpoint = endpoint_for(target)
        with named_causes(), _named_http_causes(carrier):
            async with connected(endpoint, carrier, target):
                await self._ask(carrier, target)

    async def _ask(self, carrier: _Carrier, target: Target) -> None:
        agent = Agent.usingEndpointFactory(target.reactor, _Connected(carrier))  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        host = self.host or _host_of(target.address)
        headers = Headers({b"host": [host.encode()], b"user-agent": [b"tcpbalance"]})
        response = await agent.request(b"GET", b"http://backend" + self.path.encode(), headers)
        if response.code not in self.status:
            raise ProbeFailed(f"status {response.code}")
        if self.contains is not None:
            await _found_in_body(response, self.contains, target)


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

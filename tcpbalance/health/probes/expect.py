"""The probe that says something and waits for the right answer."""

from __future__ import annotations

from attrs import field, frozen
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from tcpbalance.config.metadata import hidden
from tcpbalance.config.strict import strict
from tcpbalance.health.probes.base import Target
from tcpbalance.health.probes.causes import named_causes
from tcpbalance.health.probes.connection import ProbeConnection, connected
from tcpbalance.health.probes.endpoint import endpoint_for
from tcpbalance.health.probes.keys import some_text
from tcpbalance.health.probes.search import Search


@frozen(field_transformer=strict)
class ExpectProbe:
    """Passes when the backend sends an expected text, unasked or in answer to `send`."""

    contains: str = field(
        validator=some_text,
        metadata={"doc": "Text that the first 64 KiB of the answer must contain."},
    )
    send: str | None = field(
        default=None,
        metadata={
            "doc": "Text that is sent first, as UTF-8. Absent: the backend speaks first.",
            "shown": hidden,
        },
    )

    async def check(self, target: Target) -> None:
        """See `Probe`.

        :raises ProbeFailed: it does not accept, closes, or says something else.
        """
        peer = _Answer(Search(self.contains.encode()))
        endpoint = endpoint_for(target)
        with named_causes():
            async with connected(endpoint, peer, target):
                target.deadline.cause = peer.search.missing_within
                peer.transport.write((self.send or "").encode())
                await peer.verdict.wait()


class _Answer(ProbeConnection):
    """Takes what the backend says to the search."""

    def __init__(self, search: Search) -> None:
        super().__init__()
        self.search = search
        self.verdict = search.verdict

    def dataReceived(self, data: bytes) -> None:
        self.search.feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.search.began and isinstance(reason.value, ConnectionDone):
            self.search.end()
        super().connectionLost(reason)

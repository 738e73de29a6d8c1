"""What is known of a session while it is open."""

from __future__ import annotations

from attrs import define

from tcpbalance.net.addresses import ClientAddress
from tcpbalance.net.tls.facts import TlsFacts
from tcpbalance.proxy.phases import DIALLING, ENDING, OVER, PREREAD, RELAYING, UNANSWERED

STATES = {
    PREREAD: "preread",
    DIALLING: "dialling",
    UNANSWERED: "unanswered",
    RELAYING: "relaying",
    ENDING: "ending",
    # It has ended while it was looked at.
    OVER: "ending",
}
"""What the phases are called."""

QUEUED = "queued"
"""What the phase of dialling is called while the session waits in the queue."""


# Not frozen, because a list makes one for each session and a frozen one takes twice as long to make.
@define
class SessionFacts:
    """One open session; all durations in seconds.

    :ivar started: when the client was accepted, seconds since the epoch.
    :ivar client: where the client is: behind a proxy, what that says.
    :ivar proxy: the proxy that the client comes through, None when it comes by itself.
    :ivar frontend: the frontend's name.
    :ivar pool: the name of the pool that serves the client, None while it is not known.
    :ivar backend: the name of the backend that the session is connected to, None while it is not.
    :ivar state: one of ``STATES``, or ``QUEUED``.
    :ivar age: since the client was accepted.
    :ivar idle: since the last byte came.
    :ivar client_bytes: bytes received from the client.
    :ivar backend_bytes: bytes received from the backend.
    :ivar server_name: the name in the ClientHello, None where none was read or found.
    :ivar tls: what its handshake with the client agreed on, None where there was none.
    """

    started: float
    client: ClientAddress
    proxy: ClientAddress | None
    frontend: str
    pool: str | None
    backend: str | None
    state: str
    age: float
    idle: float
    client_bytes: int
    backend_bytes: int
    server_name: str | None = None
    tls: TlsFacts | None = None

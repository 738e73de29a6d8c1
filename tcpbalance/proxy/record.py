"""What is known of a session once it has ended."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define

from tcpbalance.net.tls.facts import TlsFacts
from tcpbalance.proxy.reasons import EndReason


# Not frozen, because one is made for each session and a frozen one takes twice as long to make.
@define
class SessionRecord:
    """One ended session; all durations in seconds.

    :ivar started: when the client was accepted, seconds since the epoch.
    :ivar client: the client's address.
    :ivar frontend: the frontend's name.
    :ivar backend: the name of the backend that served, None when none did.
    :ivar attempts: backends that were dialled.
    :ivar wait: from accepting the client to dialling the backend that served (or to the end, when none did).
    :ivar connect: what that dial took, None when none succeeded.
    :ivar total: from accepting the client to the end.
    :ivar client_bytes: bytes received from the client.
    :ivar backend_bytes: bytes received from the backend.
    :ivar reason: why it ended.
    :ivar cause: why the last failed attempt failed, or what was wrong with the TLS of the side that was
        reset, or with what the client sent first; empty otherwise.
    :ivar proxy: the address of the proxy that the client came through, None when it came by itself.
    :ivar server_name: the name in the ClientHello, None where none was read or found.
    :ivar unique_id: what the connection was called to the backend in a PROXY header, None without one.
    :ivar tls: what its handshake with the client agreed on, None where there was none.
    :ivar failures: the attempts that failed, in order: the name of the backend, and why.
    """

    started: float
    client: str
    frontend: str
    backend: str | None
    attempts: int
    wait: float
    connect: float | None
    total: float
    client_bytes: int
    backend_bytes: int
    reason: EndReason
    cause: str
    proxy: str | None = None
    server_name: str | None = None
    unique_id: str | None = None
    tls: TlsFacts | None = None
    failures: Sequence[tuple[str, str]] = ()

    @property
    def succeeded(self) -> bool:
        """Whether the last attempt reached ``backend``, which then kept the connection or served it."""
        return self.attempts > len(self.failures)

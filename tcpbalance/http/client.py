"""The client's side of requests."""

from __future__ import annotations

from tcpbalance.http.client_side import HttpClient
from tcpbalance.http.session import HttpSession
from tcpbalance.net.addresses import ClientAddress
from tcpbalance.proxy.client import ClientConnection
from tcpbalance.proxy.context import SessionContext


class HttpClientConnection(HttpClient, ClientConnection):
    """A ``ClientConnection`` whose session takes one request after the other."""

    session_kind = HttpSession  # type: ignore[assignment]

    def __init__(
        self, context: SessionContext, address: ClientAddress, admitted: ClientAddress | None = None
    ) -> None:
        super().__init__(context, address, admitted)
        # Each request asks for these, and the class is slow to ask.
        self.limiter = None
        self.stopped = self.finished = self.gone = False

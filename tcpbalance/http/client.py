"""The client's side of requests."""

from __future__ import annotations

from tcpbalance.http.client_side import HttpClient
from tcpbalance.http.session import HttpSession
from tcpbalance.proxy.client import ClientConnection


class HttpClientConnection(HttpClient, ClientConnection):
    """A ``ClientConnection`` whose session takes one request after the other."""

    session_kind = HttpSession  # type: ignore[assignment]

"""What requests with CONNECT ask for, and what they are answered."""

from __future__ import annotations

from typing import Final

from tcpbalance.config.addresses import Address
from tcpbalance.errors import SettingError
from tcpbalance.http.connect.refusals import ConnectRefusal
from tcpbalance.http.pages import Page
from tcpbalance.http.refusals import RequestRefused
from tcpbalance.wire.http.authorization import basic_challenge
from tcpbalance.wire.http.target import RequestTarget

ESTABLISHED: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""After this, the bytes of the destination follow."""

_PROXY_CHALLENGE: Final = b"Proxy-Authenticate: %b\r\n" % basic_challenge("tcpbalance")


def destination_of(target: RequestTarget) -> Address:
    """Give the host and port that a client asks for.

    :raises RequestRefused: the host is neither an IP address nor a host name.
    """
    authority = target.authority
    assert authority is not None
    try:
        return Address.parse(f"{authority.host.decode('ascii')}:{authority.port}")
    except SettingError:
        raise RequestRefused(400, "bad_target") from None


def refused_answer(refusal: ConnectRefusal, destination: Address) -> tuple[Page, bytes]:
    """Say why a client gets no tunnel.

    :returns: the body, and further lines, each with CR LF.
    """
    text = f"{refusal.text.format(target=destination)}\n"
    extra = _PROXY_CHALLENGE if refusal.status == 407 else b""
    return Page(text.encode("ascii"), "text/plain; charset=utf-8"), extra

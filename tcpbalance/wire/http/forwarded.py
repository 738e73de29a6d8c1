"""The client as proxies in front report it: read through those that are trusted, and written for backends.

Sources: RFC 7239 (Forwarded); RFC 9110, section 7.6.3 (Via); X-Forwarded-For and its like have no source but
use.

Only one of the two families is read. A proxy sets one of them, and passes the other on as its client wrote
it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from typing import Final

from attrs import field, frozen

from tcpbalance.wire.http.grammar import MAX_MEMBERS, TOKEN_BYTE, last_members
from tcpbalance.wire.http.head import Special

MAX_HOPS: Final = 64
"""Proxies that are looked back through."""

Trusted = Callable[[bytes], bool]
"""Whether a packed address, 4 or 16 bytes, is that of a proxy whose reports count."""


@frozen
class ForwardedClient:
    """A client, and how its request came to the first proxy that is trusted.

    Where the peer of a connection is not trusted, one of these serves all requests on it.

    :ivar scheme: ``b"http"`` or ``b"https"``.
    :ivar port: where the client connected to.
    :ivar hops: addresses in text, from the client to the peer of the connection: one, if these are the same.
    :ivar host: what the client asked for, if a proxy has reported it; else it is in the request.
    :ivar trusted: whether the peer is a proxy whose reports count.
    :ivar by_x_forwarded: whether it reports by ``X-Forwarded-*``; if not, its client may have written those.
    """

    scheme: bytes
    port: int
    hops: tuple[str, ...]
    host: bytes = b""
    trusted: bool = False
    by_x_forwarded: bool = False
    x_forwarded: bytes = field(init=False, repr=False)
    """The lines of that family but the one for the host: the same for all requests on a connection."""

    @x_forwarded.default
    def _write_x_forwarded(self) -> bytes:
        return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Port: %d\r\n" % (
            ", ".join(self.hops).encode("ascii"),
            self.scheme,
            self.port,
        )

    @property
    def address(self) -> str:
        """The address of the client."""
        return self.hops[0]


def through_x_forwarded(special: Special, peer: ForwardedClient, trusted: Trusted) -> ForwardedClient:
    """Find the client behind proxies that set ``X-Forwarded-*``.

    A list of as many members as X-Forwarded-For has one for each hop; of any other list the last member
    counts.

    :param peer: what the connection shows. It is trusted.
    """
    chain = last_members(special.get(b"x-forwarded-for", []))
    hops = _look_back(chain, peer.address, trusted)
    steps = len(hops) - 1

    def reported(name: bytes) -> bytes:
        values = last_members(special.get(name, []))
        if steps and len(values) == len(chain):
            return values[-steps]
        return values[-1] if values else b""

    return _behind(
        peer,
        hops,
        reported(b"x-forwarded-proto"),
        reported(b"x-forwarded-host"),
        reported(b"x-forwarded-port"),
        by_x_forwarded=True,
    )


def through_forwarded(special: Special, peer: ForwardedClient, trusted: Trusted) -> ForwardedClient:
    """Find the client behind proxies that set ``Forwarded`` (RFC 7239). One that is malformed does not count.

    :param peer: what the connection shows. It is trusted.
    """
    elements = read_forwarded(b", ".join(special.get(b"forwarded", [])))
    hops = _look_back([element.get(b"for", b"") for element in elements], peer.address, trusted)
    steps = len(hops) - 1
    element = elements[-steps] if steps else {}
    proto, host = element.get(b"proto", b""), element.get(b"host", b"")
    return _behind(peer, hops, proto, host, b"", by_x_forwarded=False)


def _behind(
    peer: ForwardedClient, hops: list[str], scheme: bytes, host: bytes, port: bytes, *, by_x_forwarded: bool
) -> ForwardedClient:
    """Take what proxies report, as far as it is well-formed."""
    scheme = scheme.lower()
    return ForwardedClient(
        scheme if scheme in _SCHEMES else peer.scheme,
        int(port) if _is_port(port) and int(port) <= 65535 else peer.port,
        tuple(reversed(hops)),
        host if _is_host(host) else b"",
        trusted=True,
        by_x_forwarded=by_x_forwarded,
    )


def _look_back(chain: list[bytes], peer: str, trusted: Trusted) -> list[str]:
    """Give the hops that are known, the nearest first: the last is the first that is not trusted."""
    hops = [peer]
    for text in reversed(chain[-MAX_HOPS:]):
        address = _node(text)
        if address is None:
            break
        hops.append(address.compressed)
        if not trusted(address.packed):
            break
    return hops


_SCHEMES: Final = frozenset((b"http", b"https"))
_is_port = re.compile(rb"[1-9][0-9]{0,4}").fullmatch
_is_host = re.compile(rb"[0-9A-Za-z\-._~!$&'()*+;=:\[\]]{1,262}").fullmatch
_match_node = re.compile(
    rb"(?:\[([0-9A-Fa-f:.]{2,45})\]|([0-9.]{7,15}))(?::[0-9A-Za-z._\-]{1,40})?|([0-9A-Fa-f:.]{2,45})"
).fullmatch


def _node(text: bytes) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address with or without a port; None for a name, ``unknown`` and what else proxies write."""
    found = _match_node(text)
    if found is None:
        return None
    try:
        address = ipaddress.ip_address(found[found.lastindex or 0].decode("ascii"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


_match_pair = re.compile(
    rb"[ \t]*+(" + TOKEN_BYTE + rb"++)=(?:(" + TOKEN_BYTE + rb'++)|"((?:[^"\\]|\\.)*+)")[ \t]*+([;,]|\Z)'
).match
_match_comma = re.compile(rb"[ \t]*+(?:,|\Z)").match
_quoted_pair = re.compile(rb"\\(.)")


def read_forwarded(text: bytes) -> list[dict[bytes, bytes]]:
    """Read the elements of Forwarded: RFC 7239, section 4.

    :returns: parameters by their names in lower case; nothing at all when it is malformed or has too many.
    """
    elements: list[dict[bytes, bytes]] = [{}]
    at = count = 0
    while at < len(text):
        count += 1
        pair = _match_pair(text, at)
        found = pair or (None if elements[-1] else _match_comma(text, at))
        if found is None or count > 4 * MAX_MEMBERS:
            return []
        if pair is not None:
            name, token, quoted, end = pair.groups()
            elements[-1][name.lower()] = _quoted_pair.sub(rb"\1", quoted) if token is None else token
        if pair is None or end == b",":
            elements.append({})
        at = found.end()
    return [element for element in elements if element]


FORWARDED_FIELDS: Final = ("x-forwarded", "forwarded", "x-real-ip", "via")
"""What can be sent, by the names in the configuration."""

PSEUDONYM: Final = b"tcpbalance"
"""In Via: RFC 9110, section 7.6.3."""


X_FORWARDED: Final = frozenset(
    (b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto")
)
"""Those of that family that are written anew."""


class ForwardedWriter:
    """Writes fields that report a client to a backend.

    :param send: some of ``FORWARDED_FIELDS``.
    :ivar x_forwarded: whether ``X-Forwarded-*`` are among them.
    :ivar x_forwarded_alone: whether they are all of them.
    """

    __slots__ = ("_forwarded", "_real_ip", "_via", "x_forwarded", "x_forwarded_alone")

    def __init__(self, send: Collection[str] = ("x-forwarded",)) -> None:
        self.x_forwarded = "x-forwarded" in send
        self._forwarded = "forwarded" in send
        self._real_ip = "x-real-ip" in send
        self._via = "via" in send
        self.x_forwarded_alone = self.x_forwarded and len(send) == 1

    def lines(self, client: ForwardedClient, host: bytes, version: bytes) -> bytes:
        """Write the lines, each with CR LF.

        :param host: with its port, as the request has it; empty where it has none.
        :param version: of the request.
        """
        host = client.host or host
        lines = b""
        if self.x_forwarded:
            lines = client.x_forwarded + (b"X-Forwarded-Host: %b\r\n" % host if host else b"")
        if self._forwarded:
            lines += b"Forwarded: %b\r\n" % b", ".join(_elements(client, host))
        if self._real_ip:
            lines += b"X-Real-IP: %b\r\n" % client.address.encode("ascii")
        if self._via:
            lines += via(version)
        return lines


def via(version: bytes) -> bytes:
    """Write the line for a message that came in a version."""
    return b"Via: %b %b\r\n" % (version, PSEUDONYM)


def _elements(client: ForwardedClient, host: bytes) -> Iterator[bytes]:
    asked_for = b';host="%b"' % host if host else b""
    yield b"for=%b;proto=%b%b" % (_forwarded_node(client.hops[0]), client.scheme, asked_for)
    for hop in client.hops[1:]:
        yield b"for=" + _forwarded_node(hop)


def _forwarded_node(address: str) -> bytes:
    text = address.encode("ascii")
    return b'"[%b]"' % text if b":" in text else text

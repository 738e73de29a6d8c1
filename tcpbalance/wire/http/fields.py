"""Fields that are for one connection, and what they ask for.

Sources: RFC 9110, sections 7.6.1 (Connection), 7.8 (Upgrade), 10.1.1 (Expect) and 10.1.4 (TE); RFC 9112,
section 9.3 (persistence).
"""

from __future__ import annotations

from tcpbalance.wire.http.errors import BadRequest, Cause
from tcpbalance.wire.http.grammar import members
from tcpbalance.wire.http.head import Head, RequestHead


def keeps_alive(head: Head) -> bool:
    """Whether the sender of a head leaves its connection open after the message: RFC 9112, section 9.3."""
    if b"close" in head.options:
        return False
    return head.version == b"1.1" or b"keep-alive" in head.options


def upgrade(head: Head) -> list[bytes]:
    """Give the protocols of an upgrade, in lower case; none unless HTTP/1.1 and Connection allow it.

    RFC 9110, section 7.8.
    """
    values = head.special.get(b"upgrade")
    if values is None or head.version == b"1.0" or b"upgrade" not in head.options:
        return []
    return [protocol.lower() for protocol in members(values)]


def expects_continue(head: RequestHead) -> bool:
    """Whether a client waits for 100 before it sends its body: RFC 9110, section 10.1.1.

    :raises BadRequest: when it expects something else (417).
    """
    values = head.special.get(b"expect")
    if values is None or head.version == b"1.0":
        return False
    if {member.lower() for member in members(values)} != {b"100-continue"}:
        raise BadRequest(417, Cause.EXPECTATION, f"Expect is 100-continue, got {values[0][:40]!r}")
    return True


def takes_trailers(head: Head) -> bool:
    """Whether the sender reads trailers: RFC 9110, section 10.1.4."""
    values = head.special.get(b"te")
    return values is not None and b"trailers" in {member.lower() for member in members(values)}

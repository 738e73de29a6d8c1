"""Sessions that begin bare, for tests of what they become."""

from __future__ import annotations

from typing import Any

from tcpbalance.proxy.bare_session import BareSession


def whole(session: Any) -> Any:
    """Have a session make all that it has, and give it: sides, transports, dialler and deadlines."""
    if isinstance(session, BareSession) and session.is_bare:
        session._equip()
    return session

"""OpenSSL's side of one connection."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL


class _InMemory(SSL.Connection):
    """One for Twisted's TLS, which cannot deal with a goodbye in the middle of a handshake."""

    def do_handshake(self) -> None:
        """Go on with the handshake."""
        try:
            super().do_handshake()
        except SSL.ZeroReturnError:
            raise SSL.SysCallError(-1, "Unexpected EOF") from None


def new_connection(context: SSL.Context, sock: Any) -> SSL.Connection:
    """Make one.

    :param sock: its socket; None to take the bytes in and out by hand.
    """
    return _InMemory(context, None) if sock is None else SSL.Connection(context, sock)

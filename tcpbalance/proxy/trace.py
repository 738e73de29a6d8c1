"""The steps of one connection of a client in ``debug_clients``, each with the time since the accept.

Facts of the connection are logged, never its bytes.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.admission.refusal import Refusal
from tcpbalance.config.log import TRACE
from tcpbalance.config.messages import one_line
from tcpbalance.net.addresses import ClientAddress, address_text
from tcpbalance.net.tls.openssl import agreement
from tcpbalance.proxy.context import SessionContext
from tcpbalance.proxy.preread import Preread
from tcpbalance.proxy.preread_settings import PrereadSettings

# As the attribute of a class it would have the name of that.
_log = Logger(TRACE)


class Trace:
    """Logs the steps of one connection; those that come before its client is known wait for that.

    :param context: of the frontend.
    :param peer: where the connection comes from.
    """

    def __init__(self, context: SessionContext, peer: ClientAddress) -> None:
        self._context = context
        self._client = peer
        self._began = context.clock()
        # No more than a few steps come before.
        self._waiting: list[tuple[float, str]] | None = [] if not context.debug.has(peer) else None
        self._is_dropped = False

    def note(self, step: str) -> None:
        """Log a step."""
        after = self._context.clock() - self._began
        if self._is_dropped:
            return
        if self._waiting is None:
            self._write(after, step)
        else:
            self._waiting.append((after, step))

    def backdate(self, seconds: float) -> None:
        """Take into account that the connection was accepted some seconds ago."""
        self._began -= seconds

    def is_of(self, client: ClientAddress) -> None:
        """Take note of the client, which is another one than the peer behind a proxy."""
        self._client = client
        if self._waiting is None:
            return
        waiting, self._waiting = self._waiting, None
        self._is_dropped = not self._context.debug.has(client)
        for after, step in () if self._is_dropped else waiting:
            self._write(after, step)

    # Steps that connections of every kind have

    def accepted(self, transport: Any, peer: ClientAddress, is_admitted: bool) -> None:
        """Note the accept, and what the client has to send first.

        :param transport: the client's.
        :param peer: where the connection comes from.
        """
        preread = self._context.preread
        self.note(f"accepted at {address_text(transport.getHost())}")
        if is_admitted:
            self.note("admitted")
        if preread is not None and preread.asks(peer):
            self.note(f"waits for {_awaited(preread, peer)}")

    def client_known(self, preread: Preread, is_admitted: bool) -> None:
        """Note what the client has sent first, and which it is by that."""
        if preread.header is not None:
            self.note(f"the PROXY header of {preread.peer} names {preread.client}")
        self.is_of(preread.client)
        if preread.header is not None and is_admitted:
            self.note("admitted")
        if preread.server_name is not None:
            self.note(f"server name {one_line(preread.server_name)}")
        if preread.tls is not None:
            self.note(f"TLS handshake with the client is over: {preread.tls.version}, {preread.tls.cipher}")

    def taken_over(self, seconds: float) -> None:
        """Note that the connection was accepted some seconds ago by another worker."""
        self.backdate(seconds)
        self.note("taken over from the worker that has accepted it")

    def connected(self, transport: Any, speaks_tls: bool, seconds: float | None) -> None:
        """Note that a backend has accepted.

        :param transport: the backend's.
        :param seconds: that it has taken.
        """
        if speaks_tls:
            version, cipher, _ = agreement(transport.getHandle())
            self.note(f"TLS handshake with the backend is over: {version}, {cipher}")
        self.note(f"connected from {address_text(transport.getHost())} in {seconds:.6f} s")

    def lost(self, side: str, failure: Failure) -> None:
        """Note that a connection is gone, where that was not in order.

        :param side: whose it was.
        """
        if not isinstance(failure.value, ConnectionDone):
            self.note(f"the connection of the {side} has failed: {one_line(str(failure.value))}")

    def ends(self, what: str, cause: str) -> None:
        """Note an end that was decided."""
        self.note(f"ends: {what}{f', {one_line(cause)}' if cause else ''}")

    def over(self, client_bytes: int, backend_bytes: int) -> None:
        """Note the bytes that there were."""
        self.note(f"over: {client_bytes} bytes from the client, {backend_bytes} bytes from the backend")

    def _write(self, after: float, step: str) -> None:
        _log.info(
            "frontend {frontend}: client {client}, +{after:.6f} s: {step}",
            frontend=self._context.name,
            client=str(self._client),
            after=after,
            step=step,
        )


def log_refused(context: SessionContext, client: ClientAddress, refusal: Refusal) -> None:
    """Log the one step of a client that gets no session."""
    Trace(context, client).note(f"refused: {refusal.word}, {refusal.meaning}")


def _awaited(preread: PrereadSettings, peer: ClientAddress) -> str:
    """Name what a client has to send before a backend is chosen."""
    header = ["a PROXY header"] if preread.expects_header(peer) else []
    hello = ["a ClientHello"] if preread.routes is not None else []
    handshake = ["a TLS handshake"] if preread.tls is not None else []
    return " and ".join([*header, *hello, *handshake]) or "the worker that the client belongs to"

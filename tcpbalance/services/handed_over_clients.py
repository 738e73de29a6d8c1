"""The clients of a frontend that other processes hand over, in the place of a listening port."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from tcpbalance.net.data_path import DataPath
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.hand_over import HandedOver
from tcpbalance.rate_limited_log import RateLimitedLog


class HandedOverClients:
    """Serves them; while the frontend accepts no clients, they wait here.

    It is an acceptor of the frontend's ``AcceptPause``. Unlike those of a listening port, its clients do not
    wait in the kernel: another process has accepted them.

    :param reactor: for the next turn.
    :param name: the frontend's, for the log.
    :param factory: serves them.
    :param data_path: carries them.
    :param bound: gives how many may wait.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, name: str, factory: FrontendFactory, data_path: DataPath, bound: Callable[[], int]
    ) -> None:
        self._reactor = reactor
        self._name = name
        self._factory = factory
        self._data_path = data_path
        self._bound = bound
        self._waiting: deque[HandedOver] = deque()
        self._is_open = False
        self._paused = False
        self._closed = False
        self._expects_more: Callable[[], bool] = lambda: False
        self._turn: IDelayedCall | None = None
        self._shed_log = RateLimitedLog(self._write_shed, reactor.seconds, reactor)
        factory.registry.accept_pause.pause_on(self)

    def open(self) -> None:
        """Serve them from now on: the backends are known."""
        self._is_open = True
        self.resumeProducing()

    @property
    def _accepts(self) -> bool:
        return self._is_open and not self._paused

    def serve(self, connection: HandedOver) -> None:
        """Serve a client, now or once clients are accepted; one too many is reset."""
        if self._closed:
            self._serve_at_the_end(connection)
        elif self._accepts and not self._waiting and self._factory.registry.claim():
            self._serve(connection)
        elif len(self._waiting) < self._bound():
            self._waiting.append(connection)
        else:
            connection.sock.close()
            self._factory.stats.connections_shed += 1
            self._shed_log.note(None, None)

    def _serve_at_the_end(self, connection: HandedOver) -> None:
        """Serve a client that was accepted before the frontend was closed, and could not be handed over."""
        if self._factory.registry.sessions or self._expects_more():
            self._serve(connection)
            return
        # With the last session, all that is needed has ended.
        connection.sock.close()
        self._log.warn(
            "frontend {name}: a connection is reset: it could not be handed over, and all others have ended",
            name=self._name,
        )

    def _serve(self, connection: HandedOver) -> None:
        try:
            self._factory.serve_handed_over(connection, self._data_path)
        except Exception:
            self._log.failure("frontend {name}: a connection could not be served", name=self._name)
            connection.sock.close()
        finally:
            self._factory.registry.give_up_claim()

    def _write_shed(self, shed: Counter[None], last: None) -> None:
        self._log.warn(
            "frontend {name}: {shed} connections reset that another worker has handed over: {bound} waited "
            "already, raise backlog or limits.connections",
            name=self._name,
            shed=shed.total(),
            bound=self._bound(),
        )

    def pauseProducing(self) -> None:
        """See ``Acceptor``."""
        self._paused = True

    def resumeProducing(self) -> None:
        """See ``Acceptor``: from the next turn on."""
        self._paused = False
        if self._waiting and self._is_open and self._turn is None:
            self._turn = self._reactor.callLater(0, self._serve_waiting)

    def _serve_waiting(self) -> None:
        self._turn = None
        self.accept_now()

    def accept_now(self) -> None:
        """See ``Acceptor``: serve those that wait, as long as there is a place for them."""
        while self._waiting and self._accepts and self._factory.registry.claim():
            self._serve(self._waiting.popleft())

    def getHost(self) -> Any:
        """See ``Acceptor``: clients cannot connect here."""
        return None

    def accept_waiting(self) -> None:
        """Serve those that wait, before `close` resets them."""
        while self._waiting:
            self._serve(self._waiting.popleft())

    def take_back(self) -> list[HandedOver]:
        """Give those that wait to the caller."""
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def close(self, expects_more: Callable[[], bool]) -> None:
        """Let no more clients wait.

        :param expects_more: whether those that come are served although no session is open.
        """
        self._closed = True
        self._expects_more = expects_more
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        while self._waiting:
            self._waiting.popleft().sock.close()
        self._shed_log.flush()
        self._factory.registry.accept_pause.leave(self)

"""The bans of all workers, which outlive the worker that has decided them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from tcpbalance.workers.concern import ToWorker
from tcpbalance.workers.messages import Message
from tcpbalance.workers.paced_messages import PacedMessages
from tcpbalance.workers.sent_bans import Bans


class CommonBans:
    """A concern of the supervisor's: a client that one worker has banned is banned in all, and in those to
    come. Behind the PROXY protocol, another worker may meet it.

    :param reactor: IReactorTime.
    :param clock: seconds on a monotonic clock, that of the workers.
    """

    words: Collection[str] = ("bans", "bans_taken")

    def __init__(self, reactor: Any, clock: Callable[[], float]) -> None:
        self._reactor = reactor
        self._clock = clock
        self._bans = Bans()
        self._receivers: dict[ToWorker, tuple[Bans, PacedMessages]] = {}

    def greet(self, worker: ToWorker) -> None:
        """Send all bans."""
        bans = Bans()
        paced = PacedMessages(self._reactor, worker.send, bans.take)
        self._receivers[worker] = bans, paced
        self._bans.forget_outlived(self._clock())
        for ban in self._bans:
            bans.add(*ban)
        paced.send_all()

    def has_ended(self, worker: ToWorker) -> None:
        """See ``Concern``."""
        if worker in self._receivers:
            _, paced = self._receivers.pop(worker)
            paced.close()

    def note(self, worker: ToWorker, message: Message) -> None:
        """See ``Concern``."""
        match message.content:
            case {"bans_taken": _} if worker in self._receivers:
                self._receivers[worker][1].taken()
            case {"bans": str(frontend), "clients": list(clients)}:
                for client, until in clients:
                    self._add(worker, frontend, bytes.fromhex(client), until)
                worker.send({"bans_taken": True})

    def _add(self, origin: ToWorker, frontend: str, client: bytes, until: float) -> None:
        self._bans.forget_first(frontend, self._clock())
        self._bans.add(frontend, client, until)
        for worker, (bans, paced) in self._receivers.items():
            if worker is not origin:
                bans.add(frontend, client, until)
                paced.wake()

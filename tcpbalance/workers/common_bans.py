"""The bans of all workers, which outlive the worker that has decided them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any

from tcpbalance.admission.limits import limits_clients
from tcpbalance.admission.report import ban_facts
from tcpbalance.config.models import Config
from tcpbalance.event import OnEvent, no_report
from tcpbalance.workers.messages import Message
from tcpbalance.workers.paced_messages import Content, PacedMessages
from tcpbalance.workers.sent_bans import BANS_A_MESSAGE, Bans
from tcpbalance.workers.shared_state import ToWorker


class CommonBans:
    """State that the supervisor shares: a client that one worker has banned is banned in all, and in those to
    come. Behind the PROXY protocol, another worker may meet it.

    :param reactor: IReactorTime.
    :param clock: seconds on a monotonic clock, that of the workers.
    :ivar on_event: called with each ban that a worker reports.
    """

    words: Collection[str] = ("bans", "bans_taken")

    def __init__(self, reactor: Any, clock: Callable[[], float]) -> None:
        self.on_event: OnEvent = no_report
        self._reactor = reactor
        self._clock = clock
        self._bans = Bans()
        self._receivers: dict[ToWorker, _UnsentBans] = {}
        self._limited: Collection[str] | None = None

    def go_on_by(self, config: Config) -> None:
        """Forget the bans of frontends that have no limits on clients any more, or are gone: the workers know
        them no longer either, and have begun anew when the limits come back."""
        tables = {name: frontend.limits for name, frontend in config.frontends.items()}
        self._limited = {name for name, limits in tables.items() if limits and limits_clients(limits)}
        for bans in (self._bans, *(receiver.bans for receiver in self._receivers.values())):
            bans.keep_only(self._limited)

    def greet(self, worker: ToWorker) -> None:
        """Send the bans: the first ones now, the others each time that some have been taken."""
        receiver = self._receivers[worker] = _UnsentBans(self._reactor, worker, self._bans, self._clock)
        receiver.paced.send_now()

    def has_ended(self, worker: ToWorker) -> None:
        """See ``SharedState``."""
        if worker in self._receivers:
            self._receivers.pop(worker).paced.close()

    def note(self, worker: ToWorker, message: Message) -> None:
        """See ``SharedState``."""
        match message.content:
            case {"bans_taken": _} if worker in self._receivers:
                self._receivers[worker].paced.taken()
            case {"bans": str(frontend), "clients": list(clients)}:
                for client, until in clients if self._has(frontend) else ():
                    self._add(worker, frontend, bytes.fromhex(client), until)
                    self.on_event("ban", ban_facts(frontend, bytes.fromhex(client), until - self._clock()))
                worker.send({"bans_taken": True})

    def banned_networks(self, frontend: str, beside: bytes) -> int:
        """Count the networks that are banned at a frontend beside one."""
        return self._bans.networks(frontend, beside, self._clock())

    def ban_for(self, frontend: str, client: bytes, seconds: float) -> float:
        """Ban a client or a network in all workers, from now on; of two bans, the later end counts.

        :returns: the seconds until the end that counts.
        """
        now = self._clock()
        return self._add(None, frontend, client, now + seconds) - now

    def lift_ban(self, frontend: str, client: bytes) -> bool:
        """Ban a client no longer, in all workers.

        :returns: whether it was banned.
        """
        until = self._bans.remove(frontend, client)
        for worker, receiver in self._receivers.items():
            receiver.bans.remove(frontend, client)
            worker.send({"lift_ban": client.hex(), "frontend": frontend})
        return until is not None and until > self._clock()

    def bans(self) -> Iterator[tuple[str, bytes, float]]:
        """Give all that last: the frontend, the client, and the seconds that are left; meanwhile, others may
        come and go."""
        for frontend, clients in self._bans.clients().items():
            for client in clients:
                left = self._bans.left(frontend, client, self._clock())
                if left > 0:
                    yield frontend, client, left

    def _has(self, frontend: str) -> bool:
        return self._limited is None or frontend in self._limited

    def _add(self, origin: ToWorker | None, frontend: str, client: bytes, until: float) -> float:
        self._bans.forget_first(frontend, self._clock())
        counts = self._bans.add(frontend, client, until)
        for worker, receiver in self._receivers.items():
            if worker is not origin:
                receiver.bans.add(frontend, client, until)
                receiver.paced.wake()
        return counts


class _UnsentBans:
    """The bans that one worker has not been sent yet.

    :param common: all that there are.
    :param clock: seconds on a monotonic clock.
    :ivar bans: that have come since the worker was greeted.
    :ivar paced: sends them.
    """

    def __init__(self, reactor: Any, worker: ToWorker, common: Bans, clock: Callable[[], float]) -> None:
        self.bans = Bans()
        self.paced = PacedMessages(reactor, worker.send, self._take)
        self._common = common
        self._clock = clock
        self._unsent = common.clients()

    def _take(self) -> Content | None:
        """Give the next ones as a message: those that are new first."""
        content = self.bans.take()
        while content is None and self._unsent:
            frontend = next(iter(self._unsent))
            clients = list(islice(self._unsent[frontend], BANS_A_MESSAGE))
            if not clients:
                del self._unsent[frontend]
            content = self._common.of(frontend, clients, self._clock())
        return content

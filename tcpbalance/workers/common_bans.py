"""The bans of all workers, which outlive the worker that has decided them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any

from tcpbalance.admission.banned_networks import client_of
from tcpbalance.admission.clients import NEVER
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
    :param config: has the frontends.
    :ivar on_event: called with each ban that a worker reports.
    """

    words: Collection[str] = ("bans", "bans_taken")

    def __init__(self, reactor: Any, clock: Callable[[], float], config: Config) -> None:
        self.on_event: OnEvent = no_report
        self._reactor = reactor
        self._clock = clock
        self._bans = Bans()
        self._receivers: dict[ToWorker, _UnsentBans] = {}
        self._limited: Collection[str] = ()
        self._tried: Collection[str] = ()
        self.go_on_by(config)

    def go_on_by(self, config: Config) -> None:
        """Forget all bans of frontends that are gone, and those that limits on clients have decided where
        there are none any more: the workers know these no longer either, and have begun anew when limits come
        back."""
        tables = {name: frontend.limits for name, frontend in config.frontends.items()}
        limited = {name: limits for name, limits in tables.items() if limits and limits_clients(limits)}
        self._limited = limited.keys()
        self._tried = {name for name, limits in limited.items() if limits.dry_run}
        for bans in (self._bans, *(receiver.bans for receiver in self._receivers.values())):
            bans.keep_only(tables, self._limited)

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
                for client, until in clients if frontend in self._limited else ():
                    self._add(worker, frontend, bytes.fromhex(client), until)
                    self.on_event("ban", ban_facts(frontend, bytes.fromhex(client), until - self._clock()))
                worker.send({"bans_taken": True})

    def banned_networks(self, frontend: str, beside: bytes) -> int:
        """Count the clients and networks that operators have banned at a frontend beside one."""
        return self._bans.networks(frontend, beside, self._clock())

    def ban_for(
        self, frontend: str, key: bytes, seconds: float, *, replace: bool = False
    ) -> tuple[bytes, float]:
        """Ban a client or a network in all workers; see ``AdmissionControl``."""
        now = self._clock()
        if replace:
            for bans in (self._bans, *(receiver.bans for receiver in self._receivers.values())):
                bans.remove(frontend, key)
        until = self._add(None, frontend, key, now + seconds)
        client = client_of(key)
        by_limits = (
            NEVER if client is None or frontend in self._tried else self._bans.end_of(frontend, client)
        )
        return (key, until - now) if client is None or by_limits <= until else (client, by_limits - now)

    def lift_ban(self, frontend: str, client: bytes) -> bool:
        """Ban a client or a network no longer, in all workers; see ``AdmissionControl``.

        :returns: whether it was banned.
        """
        until = self._bans.remove(frontend, client)
        for worker, receiver in self._receivers.items():
            receiver.bans.remove(frontend, client)
            worker.send({"lift_ban": client.hex(), "frontend": frontend})
        return until is not None and until > self._clock()

    def bans(self) -> Iterator[tuple[str, bytes, float]]:
        """Give all that last: the frontend, the client or network, and the seconds that are left; meanwhile,
        others may come and go. Those that limits would ban, were it not for their dry run, are left out."""
        for (frontend, are_networks), keys in self._bans.keys().items():
            for key in keys if are_networks or frontend not in self._tried else ():
                left = self._bans.end_of(frontend, key) - self._clock()
                if left > 0:
                    yield frontend, key, left

    def _add(self, origin: ToWorker | None, frontend: str, client: bytes, until: float) -> float:
        self._bans.forget_first(frontend, client, self._clock())
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
        self._unsent = common.keys()

    def _take(self) -> Content | None:
        """Give the next ones as a message: those that are new first."""
        content = self.bans.take()
        while content is None and self._unsent:
            group = next(iter(self._unsent))
            keys = list(islice(self._unsent[group], BANS_A_MESSAGE))
            if not keys:
                del self._unsent[group]
            content = self._common.of(group, keys, self._clock())
        return content

"""The bans of a worker, which the supervisor keeps for all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any

from tcpbalance.admission.banned_networks import is_network
from tcpbalance.admission.clients import MAX_CLIENTS
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.workers.messages import Message
from tcpbalance.workers.paced_messages import Content, PacedMessages

BANS_A_MESSAGE = 500
"""At most 50 bytes each, and taken within a millisecond."""


class SentBans:
    """Reports each ban that this worker decides, and takes over those of others.

    :param reactor: IReactorTime.
    :param say: sends the supervisor a message.
    """

    words: Collection[str] = ("bans", "bans_taken", "lift_ban")

    def __init__(self, reactor: Any, say: Callable[[Content], object]) -> None:
        self._say = say
        self._controls: dict[str, AdmissionControl] = {}
        self._bans = Bans()
        self._paced = PacedMessages(reactor, say, self._bans.take)

    def share(self, frontend: str, control: AdmissionControl) -> None:
        """See ``Following``."""
        self._controls[frontend] = control
        control.on_ban = partial(self._report, frontend)

    def forget(self, frontend: str, control: AdmissionControl) -> None:
        """See ``Following``."""
        control.on_ban = None
        if self._controls.get(frontend) is control:
            del self._controls[frontend]

    def _report(self, frontend: str, client: bytes, until: float) -> None:
        self._bans.add(frontend, client, until)
        self._paced.wake()

    def note(self, message: Message) -> None:
        """See ``WorkerSharedState``."""
        match message.content:
            case {"bans": str(frontend), "clients": list(clients)}:
                control = self._controls.get(frontend)
                if control is not None:
                    for client, until in clients:
                        control.ban(bytes.fromhex(client), until)
                self._say({"bans_taken": True})
            case {"lift_ban": str(client), "frontend": str(frontend)}:
                self._bans.remove(frontend, bytes.fromhex(client))
                control = self._controls.get(frontend)
                if control is not None:
                    control.lift_ban(bytes.fromhex(client))
            case {"bans_taken": _}:
                self._paced.taken()


class Bans:
    """Bans of some frontends, of clients and of networks, in the order in which they came; of too many, the
    first are forgotten.

    :param max_bans: of one frontend.
    """

    def __init__(self, max_bans: int = MAX_CLIENTS) -> None:
        self._max_bans = max_bans
        self._of: dict[str, OrderedDict[bytes, float]] = {}

    def __len__(self) -> int:
        """How many there are."""
        return sum(map(len, self._of.values()))

    def add(self, frontend: str, client: bytes, until: float) -> float:
        """Take one up; the later end of two counts, and is given."""
        bans = self._of.setdefault(frontend, OrderedDict())
        counts = bans[client] = max(until, bans.get(client, until))
        bans.move_to_end(client)
        if len(bans) > self._max_bans:
            bans.popitem(last=False)
        return counts

    def remove(self, frontend: str, client: bytes) -> float | None:
        """Forget one.

        :returns: its end; None where there is none.
        """
        bans = self._of.get(frontend) or OrderedDict[bytes, float]()
        until = bans.pop(client, None)
        if not bans:
            self._of.pop(frontend, None)
        return until

    def left(self, frontend: str, client: bytes, now: float) -> float:
        """Give the seconds that are left of one; 0.0 where there is none."""
        bans = self._of.get(frontend)
        return 0.0 if bans is None else max(0.0, bans.get(client, now) - now)

    def networks(self, frontend: str, beside: bytes, now: float) -> int:
        """Count the networks that are banned beside one."""
        bans = self._of.get(frontend) or OrderedDict[bytes, float]()
        return sum(is_network(key) and until > now and key != beside for key, until in bans.items())

    def take(self) -> Content | None:
        """Give some of them as a message, and keep them no longer; None where there are none."""
        for frontend, bans in self._of.items():
            taken = [bans.popitem(last=False) for _ in range(min(len(bans), BANS_A_MESSAGE))]
            if not bans:
                del self._of[frontend]
            return _message(frontend, taken)
        return None

    def clients(self) -> dict[str, Iterator[bytes]]:
        """Give the clients that are banned now, by frontend; those that were banned last come first."""
        return {frontend: reversed(list(bans)) for frontend, bans in self._of.items()}

    def of(self, frontend: str, clients: Iterable[bytes], now: float) -> Content | None:
        """Give the bans of some clients as a message, and forget those that are over; None where there are
        none."""
        bans = self._of.get(frontend) or OrderedDict[bytes, float]()
        found = [(client, bans[client]) for client in clients if client in bans]
        for client, until in found:
            if until <= now:
                del bans[client]
        if not bans:
            self._of.pop(frontend, None)
        lasting = [(client, until) for client, until in found if until > now]
        return _message(frontend, lasting) if lasting else None

    def keep_only(self, frontends: Collection[str]) -> None:
        """Forget the bans of all other frontends."""
        for frontend in [it for it in self._of if it not in frontends]:
            del self._of[frontend]

    def forget_first(self, frontend: str, now: float) -> None:
        """Forget up to two of a frontend that are over; there comes never more than one at a time."""
        bans = self._of.get(frontend) or OrderedDict[bytes, float]()
        for client in list(islice(bans, 2)):
            if bans[client] <= now:
                del bans[client]

    def __iter__(self) -> Iterator[tuple[str, bytes, float]]:
        """Give each: its frontend, the client, and its end."""
        for frontend, bans in self._of.items():
            for client, until in bans.items():
                yield frontend, client, until


def _message(frontend: str, bans: Iterable[tuple[bytes, float]]) -> Content:
    return {"bans": frontend, "clients": [[client.hex(), until] for client, until in bans]}

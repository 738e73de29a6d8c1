"""The bans of a worker, which the supervisor keeps for all."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

from tcpbalance.admission.banned_networks import is_network
from tcpbalance.admission.clients import MAX_CLIENTS, NEVER
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.workers.messages import Message
from tcpbalance.workers.paced_messages import Content, PacedMessages

BANS_A_MESSAGE = 500
"""At most 50 bytes each, and taken within a millisecond."""


_Group: TypeAlias = tuple[str, bool]
"""A frontend, and whether these are networks that operators have banned, or clients that its limits have."""


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
    """Bans of some frontends, by operators and by limits, in the order in which they came; of too many of one
    kind, the first are forgotten: a flood makes none of an operator forgotten.

    :param max_bans: of one frontend and kind.
    """

    def __init__(self, max_bans: int = MAX_CLIENTS) -> None:
        self._max_bans = max_bans
        self._of: dict[_Group, OrderedDict[bytes, float]] = {}

    def __len__(self) -> int:
        """How many there are."""
        return sum(map(len, self._of.values()))

    def add(self, frontend: str, client: bytes, until: float) -> float:
        """Take one up; the later end of two counts, and is given."""
        bans = self._of.setdefault((frontend, is_network(client)), OrderedDict())
        counts = bans[client] = max(until, bans.get(client, until))
        bans.move_to_end(client)
        if len(bans) > self._max_bans:
            bans.popitem(last=False)
        return counts

    def remove(self, frontend: str, client: bytes) -> float | None:
        """Forget one.

        :returns: its end; None where there is none.
        """
        group = frontend, is_network(client)
        bans = self._of.get(group, OrderedDict[bytes, float]())
        until = bans.pop(client, None)
        if not bans:
            self._of.pop(group, None)
        return until

    def end_of(self, frontend: str, client: bytes) -> float:
        """Give the end of one; ``NEVER`` where there is none."""
        bans = self._of.get((frontend, is_network(client)), OrderedDict[bytes, float]())
        return bans.get(client, NEVER)

    def networks(self, frontend: str, beside: bytes, now: float) -> int:
        """Count the networks that are banned beside one, and forget those whose time is over."""
        bans = self._of.get((frontend, True), OrderedDict[bytes, float]())
        for key in [key for key, until in bans.items() if until <= now]:
            del bans[key]
        return len(bans) - (beside in bans)

    def take(self) -> Content | None:
        """Give some of them as a message, and keep them no longer; None where there are none."""
        for group in self._groups():
            bans = self._of[group]
            taken = [bans.popitem(last=False) for _ in range(min(len(bans), BANS_A_MESSAGE))]
            if not bans:
                del self._of[group]
            return _message(group, taken)
        return None

    def keys(self) -> dict[_Group, Iterator[bytes]]:
        """Give what is banned now, by frontend and kind; what was banned last comes first."""
        return {group: reversed(list(self._of[group])) for group in self._groups()}

    def _groups(self) -> list[_Group]:
        """Give the frontends and kinds that there are; bans by operators do not wait for a flood."""
        return sorted(self._of, key=lambda group: not group[1])

    def of(self, group: _Group, keys: Iterable[bytes], now: float) -> Content | None:
        """Give some bans of a frontend and kind as a message, and forget those that are over; None where
        there are none."""
        bans = self._of.get(group, OrderedDict[bytes, float]())
        found = [(key, bans[key]) for key in keys if key in bans]
        for key, until in found:
            if until <= now:
                del bans[key]
        if not bans:
            self._of.pop(group, None)
        lasting = [(key, until) for key, until in found if until > now]
        return _message(group, lasting) if lasting else None

    def keep_only(self, frontends: Collection[str], limited: Collection[str]) -> None:
        """Forget the bans of other frontends, and those by limits of frontends that are not limited."""
        for frontend, are_networks in list(self._of):
            if frontend not in (frontends if are_networks else limited):
                del self._of[frontend, are_networks]

    def forget_first(self, frontend: str, client: bytes, now: float) -> None:
        """Forget up to two of the kind of one that are over; there comes never more than one at a time."""
        bans = self._of.get((frontend, is_network(client)), OrderedDict[bytes, float]())
        for key in list(islice(bans, 2)):
            if bans[key] <= now:
                del bans[key]

    def __iter__(self) -> Iterator[tuple[str, bytes, float]]:
        """Give each: its frontend, the client or network, and its end."""
        for (frontend, _), bans in self._of.items():
            for key, until in bans.items():
                yield frontend, key, until


def _message(group: _Group, bans: Iterable[tuple[bytes, float]]) -> Content:
    return {"bans": group[0], "clients": [[client.hex(), until] for client, until in bans]}

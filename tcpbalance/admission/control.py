"""Admission control of a frontend: admits or refuses clients, by access lists, limits and bans."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy

import attrs

from tcpbalance.admission.access import Access
from tcpbalance.admission.answer import AdmissionAnswer, Allowance
from tcpbalance.admission.banned_networks import BannedNetworks, client_of, is_network
from tcpbalance.admission.clients import (
    MAX_CLIENTS,
    NEVER,
    AskedClient,
    Client,
    Clients,
    WatchedClients,
    group,
)
from tcpbalance.admission.limits import connect_rate, limits_clients
from tcpbalance.admission.refusal import Refusal
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.errors import SettingError


class AdmissionControl:
    """Decides for each client whether it is admitted; each frontend has its own.

    1. A client that an operator has banned, or one of a network that an operator has banned, is refused.
    2. Of the others, one that the limits have banned is refused, which does not extend its ban.
    3. The lists are checked next, then the limits: the number of connections, then the rate. A refused
       connection does not use up the rate.
    4. Each refusal by these counts towards a ban. The last of them keeps its own name.

    Lists and limits, with the bans that they lead to, each have a dry run: what they would refuse is
    admitted. A client then has connections that it would not have had, until they end; all else is as if they
    had been refused. Refusals of a dry run of the lists do not lead to a real ban.

    :param access: the lists; another one may be put in its place at any time.
    :param limits: what holds for each client, and whether it is only tried.
    :param clock: gives the time in seconds; it must not go back.
    :param max_clients: that are remembered without having a connection, at least 1.
    :ivar clients: what is known of them.
    :ivar on_ban: called with what a client is known by and the end of its ban, when limits begin one; None
        for nothing.
    :ivar on_networks: called when the first network is banned by an operator, and when none is any more; None
        for nothing.
    :ivar on_banned: called when a client may be banned, by limits or an operator, that has connections open;
        None for nothing.
    :ivar last_would_refuse: why the client last given to ``admit`` was admitted only because of a dry run;
        None if it was not.
    :raises SettingError: for fewer clients to remember than one.
    """

    __slots__ = (
        "_ban_after",
        "_ban_for",
        "_ban_window",
        "_clock",
        "_knows_clients",
        "_limited",
        "_limits_dry_run",
        "_max_open",
        "_networks",
        "_rate",
        "access",
        "clients",
        "last_would_refuse",
        "on_ban",
        "on_banned",
        "on_networks",
    )

    def __init__(
        self,
        access: Access,
        limits: LimitsConfig,
        clock: Callable[[], float],
        *,
        max_clients: int = MAX_CLIENTS,
    ) -> None:
        if max_clients < 1:
            raise SettingError(f"admission: max_clients must be at least 1, got {max_clients}")
        self.access = access
        self.clients = Clients(max_clients)
        self.last_would_refuse: Refusal | None = None
        self.on_ban: Callable[[bytes, float], object] | None = None
        self.on_networks: Callable[[], object] | None = None
        self.on_banned: Callable[[], object] | None = None
        self._clock = clock
        self._networks: BannedNetworks | None = None
        self._limit_by(limits)

    def go_on_by(self, access: Access, limits: LimitsConfig) -> bool:
        """Judge by other lists and limits from now on; what is known of clients stays.

        :returns: False where there are limits on clients now and none before, or the reverse: connections are
            counted only under limits, so that those which are open would not be counted as they end. Nothing
            has changed then.
        """
        if limits_clients(limits) is not self._limited:
            return False
        self.access = access
        self._limit_by(limits)
        return True

    def _limit_by(self, limits: LimitsConfig) -> None:
        self._limits_dry_run = limits.dry_run
        self._limited = limits_clients(limits)
        self._knows_clients = self._limited or self._networks is not None
        self._max_open = limits.connections_per_client
        self._rate = connect_rate(limits)
        self._ban_after = limits.ban_after
        self._ban_window = limits.ban_window
        self._ban_for = limits.ban_for

    def admit(self, client: bytes | None) -> Refusal | None:
        """Let one connection of a client in, or refuse it.

        :param client: its packed address, whole, as ``net.addresses.packed`` gives it; one that has none, as
            at a unix socket, always comes in.
        :returns: why it was refused, and then it holds nothing; None when it came in: it holds one of its
            connections until `release`.
        """
        self.last_would_refuse = None
        if client is None:
            return None
        listed = self.access.refusal(client)
        if not self._knows_clients:
            return None if listed is None else self._weigh(listed, listed)
        now = self._clock()
        if self._networks is not None and self._is_in_banned_network(client, now):
            return Refusal.BANNED
        if not self._limited:
            return None if listed is None else self._weigh(listed, listed)
        key = group(client)
        known = self.clients.take(key)
        # What a dry run of the lists would refuse must not count against a client for limits in force.
        lists_apart = self.access.dry_run and not self._limits_dry_run
        found = self._judge(known, None if lists_apart else listed, now)
        if found is None and listed is None:
            refusal = None
        else:
            refusal = self._weigh(found, listed)
            if known.banned_until > now and found is not Refusal.BANNED and self.on_ban is not None:
                self.on_ban(key, known.banned_until)
        if refusal is None:
            self.clients.hold(key, known)
        else:
            self.clients.rest(key, known, now)
        return refusal

    def ask(self, client: bytes | None) -> AdmissionAnswer:
        """Say what `admit` would do now; nothing changes by that.

        :param client: see `admit`.
        """
        now, known = self._clock(), Client() if client is None else self.clients.look(group(client))
        # The decision is that of `admit`, made by a control of its own about a copy of what is known.
        asked = copy(self)
        asked.clients, asked.on_ban, asked.on_networks = AskedClient(copy(known)), None, None
        asked.on_banned = None
        refusal = asked.admit(client)
        answer = AdmissionAnswer(
            refusal=refusal,
            would_refuse=asked.last_would_refuse,
            decisive_list=self.access.decisive_list(client),
        )
        if client is None:
            return answer
        ends = known.banned_until
        if self._networks is not None:
            ends = max(ends, self._networks.end_for(client))
        return self._with_what_is_left(attrs.evolve(answer, banned_for=max(0.0, ends - now)), known, now)

    def _with_what_is_left(self, answer: AdmissionAnswer, known: Client, now: float) -> AdmissionAnswer:
        refusals = known.refusals if now < known.window_ends else 0
        rate = self._rate
        return attrs.evolve(
            answer,
            connections=None if self._max_open is None else Allowance(known.open, self._max_open),
            rate=None if rate is None else rate.left(known, now),
            next_in=0.0 if rate is None else rate.next_in(known, now),
            refusals=None if self._ban_after is None else Allowance(refusals, self._ban_after),
        )

    def _is_in_banned_network(self, client: bytes, now: float) -> bool:
        assert self._networks is not None
        if self._networks.last_end <= now:
            self._know_networks(None)
            return False
        return self._networks.end_for(client) > now

    def _know_networks(self, networks: BannedNetworks | None) -> None:
        """Ban these from now on; None for none."""
        is_news = (networks is None) is not (self._networks is None)
        self._networks = networks
        self._knows_clients = self._limited or networks is not None
        if is_news and self.on_networks is not None:
            self.on_networks()

    @property
    def has_banned_networks(self) -> bool:
        """Whether an operator has banned any client or network; those whose time is over may count until the
        next client comes."""
        return self._networks is not None

    def take_over_networks(self, before: AdmissionControl) -> None:
        """Go on with the networks that an operator has banned before at the same frontend."""
        self._know_networks(before._networks)

    def ban(self, key: bytes, until: float) -> None:
        """Take over a ban that another process has decided: of a client by its limits, where the later end of
        two counts; or of a network by an operator, where the latest order does.

        :param key: what the client is known by, see ``clients.group``; or the network, see
            ``banned_networks.network_key``.
        :param until: the end of the ban, by the clock.
        """
        now = self._clock()
        if until <= now:
            # An order that comes this late ends the one before it all the same.
            if is_network(key):
                self.lift_ban(key)
        elif is_network(key):
            networks = self._networks or BannedNetworks()
            networks.put(key, until, now)
            self._know_networks(networks)
            if self.on_banned is not None:
                self.on_banned()
        elif self._limited:
            client = self.clients.take(key)
            client.banned_until = max(client.banned_until, until)
            self._report_banned(client)
            self.clients.rest(key, client, now)

    def _report_banned(self, client: Client) -> None:
        """Limits have banned a client."""
        if client.open and not self._limits_dry_run and self.on_banned is not None:
            self.on_banned()

    def is_banned(self, client: bytes | None) -> bool:
        """Whether a client is banned now, by limits or an operator; nothing changes by that.

        :param client: see `admit`.
        """
        if client is None:
            return False
        now = self._clock()
        if self._networks is not None and self._networks.end_for(client) > now:
            return True
        if not self._limited or self._limits_dry_run:
            return False
        return self.clients.look(group(client)).banned_until > now

    def ban_for(self, key: bytes, seconds: float, *, replace: bool = False) -> tuple[bytes, float]:
        """Ban a client or a network from now on, by order of an operator.

        :param key: see ``banned_networks.network_key``.
        :param replace: whether the end of an earlier order does not count any more; else the later one does.
        :returns: the ban that ends last, this one or one by limits: see `bans`.
        """
        now = self._clock()
        until = now + seconds
        if self._networks is not None and not replace:
            until = max(until, self._networks.end_of(key))
        self.ban(key, until)
        client = client_of(key)
        by_limits = (
            NEVER if client is None or self._limits_dry_run else self.clients.look(client).banned_until
        )
        return (key, until - now) if client is None or by_limits <= until else (client, by_limits - now)

    def lift_ban(self, key: bytes) -> bool:
        """Ban a client no longer, and count its refusals anew; or a network, where an operator has banned it.

        :param key: see `ban`.
        :returns: whether it was banned.
        """
        now = self._clock()
        if is_network(key):
            return self._networks is not None and self._lift_network(self._networks, key, now)
        client = self.clients.take(key)
        was_banned = client.banned_until > now
        client.banned_until = client.window_ends = NEVER
        client.refusals = 0
        self.clients.rest(key, client, now)
        return was_banned

    def _lift_network(self, networks: BannedNetworks, key: bytes, now: float) -> bool:
        was_banned = networks.remove(key, now)
        if not len(networks):
            self._know_networks(None)
        return was_banned

    def bans(self) -> Iterator[tuple[bytes, float]]:
        """Give what each banned network and client is known by, and the seconds that are left of its ban;
        those that limits would ban, were it not for their dry run, are left out."""
        now = self._clock()
        for key, until in () if self._networks is None else self._networks.ends():
            if until > now:
                yield key, until - now
        for key, until in () if self._limits_dry_run else self.clients.banned(now):
            yield key, until - self._clock()

    def banned_networks(self, beside: bytes) -> int:
        """Count the networks that are banned beside one."""
        now = self._clock()
        ends = () if self._networks is None else self._networks.ends()
        return sum(until > now and key != beside for key, until in ends)

    def release(self, client: bytes | None) -> None:
        """Take note that a connection that came in has ended.

        :param client: what was given to `admit`.
        :raises KeyError: it has no connection.
        """
        if client is not None and self._limited:
            self.clients.release(group(client), self._clock())

    def count_elsewhere(self, key: bytes, change: int) -> None:
        """Count connections of a client that another process has admitted, or that have ended there.

        :param key: what the client is known by; see ``clients.group``.
        :param change: so many more, or fewer where it is negative, of those that were counted by this.
        """
        if change > 0:
            self.clients.add(key, change)
        elif change < 0:
            self.clients.remove(key, -change, self._clock())

    def watch(self, on_change: Callable[[bytes, int], None]) -> None:
        """Report each connection that is admitted or released from now on.

        :param on_change: called with what its client is known by, and 1 or -1.
        """
        self.clients = WatchedClients(self.clients, on_change)

    def _judge(self, client: Client, listed: Refusal | None, now: float) -> Refusal | None:
        """Find the first rule that a client breaks, as if all were in force, and remember that it did.

        :param listed: what the lists have against it.
        """
        if now < client.banned_until:
            return Refusal.BANNED
        if listed is not None:
            broken = listed
        elif self._max_open is not None and client.open >= self._max_open:
            broken = Refusal.TOO_MANY_CONNECTIONS
        elif self._rate is None or self._rate.passes(client, now):
            return None
        else:
            broken = Refusal.TOO_FAST
        if self._ban_after is not None:
            self._count_towards_ban(client, self._ban_after, now)
        return broken

    def count_refusal(self, client: bytes | None) -> None:
        """Count something else that a client was refused, such as for its password, towards a ban.

        :param client: see `admit`.
        """
        if client is None or self._ban_after is None:
            return
        key, now = group(client), self._clock()
        known = self.clients.take(key)
        # A refusal during a ban does not extend it.
        if now >= known.banned_until:
            self._count_towards_ban(known, self._ban_after, now)
            if known.banned_until > now and self.on_ban is not None:
                self.on_ban(key, known.banned_until)
        self.clients.rest(key, known, now)

    def _count_towards_ban(self, client: Client, ban_after: int, now: float) -> None:
        if now >= client.window_ends:
            client.refusals = 0
            client.window_ends = now + self._ban_window
        client.refusals += 1
        if client.refusals >= ban_after:
            client.refusals = 0
            client.window_ends = NEVER
            client.banned_until = now + self._ban_for
            self._report_banned(client)

    def _weigh(self, found: Refusal | None, listed: Refusal | None) -> Refusal | None:
        """Give the refusal if it is in force, else remember it.

        :param found: by lists and limits together, or by the limits where only the lists have a dry run.
        :param listed: by the lists.
        """
        refusal = found
        if self._limits_dry_run or not self._limited:
            refusal = None if self.access.dry_run else listed
        if refusal is None:
            self.last_would_refuse = found or listed
        return refusal

"""How many requests there may be: of all clients under way, and of each client in a time."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from tcpbalance.admission.answer import Allowance
from tcpbalance.admission.clients import Client, Clients, group
from tcpbalance.admission.rate import ClientRate
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.shared_limit import SharedLimit


def limits_requests(limits: LimitsConfig) -> bool:
    """Whether there is any limit for requests."""
    return limits.max_requests is not None or limits.requests_per_client is not None


@frozen
class RequestAnswer:
    """What would become of a request that came now, and what is left before it has come.

    :ivar refusal: why it would be refused; None where it would be served.
    :ivar would_refuse: why it would be refused, were it not for a dry run; None where it would not.
    :ivar under_way: those of all clients; None without a limit.
    :ivar rate: those that the client may send now, one after the other; None without a limit.
    :ivar next_in: seconds until it may send one by the rate; 0 for now.
    """

    refusal: EndReason | None
    would_refuse: EndReason | None
    under_way: Allowance | None
    rate: Allowance | None
    next_in: float


class RequestLimits:
    """Decides for each request of a frontend whether it is served.

    1. All that are under way count, in all processes together.
    2. Each client may send so many in a time, to this process. A request that is refused, by either, does not
       use that up.

    In a dry run all are served, and count all the same.

    :param limits: what holds.
    :param clock: seconds on a monotonic clock.
    :param shared: what all processes have under way, where there are several.
    :ivar last_would_refuse: why the request last given to ``begin`` would have been refused, were it not for
        the dry run; None where it would not.
    :ivar next_in: of a request that was refused by the rate, seconds until the client's next one is served.
    """

    def __init__(
        self, limits: LimitsConfig, clock: Callable[[], float], shared: SharedLimit | None = None
    ) -> None:
        self._clients = Clients()
        self._clock = clock
        self._shared = shared
        self._under_way = 0
        self.last_would_refuse: EndReason | None = None
        self.next_in = 0.0
        self.limit_by(limits)
        if shared is not None:
            shared.follow(self.count)

    def limit_by(self, limits: LimitsConfig) -> None:
        """Judge by other limits from now on; what is known of clients stays, and what is under way."""
        rate = limits.requests_per_client
        self._rate = None if rate is None else ClientRate.of(rate, limits.request_burst_per_client)
        self._max = limits.max_requests
        self._dry_run = limits.dry_run

    def count(self) -> int:
        """Give how many are under way in this process."""
        return self._under_way

    def begin(self, client: bytes | None) -> EndReason | None:
        """Have one more request under way, or refuse it.

        :param client: its packed address, whole; one that has none, as at a unix socket, has no rate.
        :returns: why it is refused, and then nothing is held for it; None where it is under way until
            ``end``.
        """
        found = None
        if not self._take_place():
            found = EndReason.MAX_REQUESTS
        elif self._rate is not None and client is not None and not self._passes(self._rate, client):
            found = EndReason.RATE_LIMITED
        if found is None or self._dry_run:
            self.last_would_refuse = found
            return None
        if found is EndReason.RATE_LIMITED:
            self.end()
        return found

    def _take_place(self) -> bool:
        """Count one more where there may be one, and in a dry run anyhow.

        :returns: whether there may be one.
        """
        shared, limit = self._shared, self._max
        if shared is None:
            has_place = limit is None or self._under_way < limit
        elif self._dry_run:
            shared.add_beyond()
            has_place = limit is None or shared.total <= limit
        else:
            has_place = shared.add()
        if has_place or self._dry_run:
            self._under_way += 1
        return has_place

    def _passes(self, rate: ClientRate, client: bytes) -> bool:
        clients, key, now = self._clients, group(client), self._clock()
        known = clients.take(key)
        passes = rate.passes(known, now)
        self.next_in = 0.0 if passes else rate.next_in(known, now)
        clients.rest(key, known, now)
        return passes

    def end(self) -> None:
        """Take note that a request is over that was under way."""
        self._under_way -= 1
        if self._shared is not None:
            self._shared.remove()

    def ask(self, client: bytes | None) -> RequestAnswer:
        """Say what ``begin`` would do now; nothing changes by that.

        :param client: see ``begin``.
        """
        rate, limit, now = None if client is None else self._rate, self._max, self._clock()
        known = Client() if client is None else self._clients.look(group(client))
        total = self._under_way if self._shared is None else self._shared.total
        found = None
        if limit is not None and total >= limit:
            found = EndReason.MAX_REQUESTS
        elif rate is not None and not rate.left(known, now).left:
            found = EndReason.RATE_LIMITED
        return RequestAnswer(
            refusal=None if self._dry_run else found,
            would_refuse=found if self._dry_run else None,
            under_way=None if limit is None else Allowance(total, limit),
            rate=None if rate is None else rate.left(known, now),
            next_in=0.0 if rate is None else rate.next_in(known, now),
        )

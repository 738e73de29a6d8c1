"""Copies of the requests of one frontend for other pools: how many there are, and what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from tcpbalance.http.mirrored_request import MAX_COPIED_BODY, CopyContext, MirroredRequest, WriteHead
from tcpbalance.http.upload import Upload
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.reasons import ANSWERED, EndReason
from tcpbalance.rate_limited_log import RateLimitedLog
from tcpbalance.stats import FrontendStats
from tcpbalance.wire.http.framing import Framing

MAX_COPIES = 100
"""Copies at once, of one frontend: beyond them, requests are not copied. Their bodies have up to 6 MiB."""


class Mirrors:
    """Has requests copied.

    :param name: the frontend's.
    :param stats: counts the copies.
    :param clock: seconds on a monotonic clock.
    :param timer: for what is logged a little later.
    """

    _log = Logger()

    def __init__(
        self, name: str, stats: FrontendStats, clock: Callable[[], float], timer: IReactorTime
    ) -> None:
        self._name = name
        self._stats = stats
        self._failed = RateLimitedLog(self._write_failed, clock, timer)
        self._under_way: set[MirroredRequest] = set()

    def copy(
        self,
        context: CopyContext,
        pool: Pool,
        client: bytes | None,
        *,
        method: bytes,
        framing: Framing,
        upload: Upload | None,
        write_head: WriteHead,
        request_id: bytes | None,
    ) -> None:
        """Send a copy of a request to a pool, once its body is whole.

        :param upload: the body; None where it has none.

        For the others see ``MirroredRequest``.
        """
        if len(self._under_way) >= MAX_COPIES or (framing.length or 0) > MAX_COPIED_BODY:
            self._stats.mirrored_left_out += 1
            return
        copy = MirroredRequest(
            self, context, pool, client, method=method, write_head=write_head, request_id=request_id
        )
        self._under_way.add(copy)
        if upload is None:
            copy.begin()
        else:
            upload.copy_to(copy)

    def copy_over(self, copy: MirroredRequest, reason: EndReason | None) -> None:
        """See ``mirrored_request.CopyOwner``."""
        self._under_way.discard(copy)
        if reason is None:
            self._stats.mirrored_left_out += 1
        else:
            self._stats.mirrored[reason] += 1
            if reason is not ANSWERED:
                self._failed.note(reason, copy.pool_name)

    def __len__(self) -> int:
        """How many are under way."""
        return len(self._under_way)

    def close(self) -> None:
        """End all that are under way."""
        for copy in tuple(self._under_way):
            copy.end(EndReason.SHUTDOWN)
        self._failed.flush()

    def _write_failed(self, counts: Counter[EndReason], pool: str) -> None:
        self._log.debug(
            "frontend {name}: copies without a whole response: {total} ({reasons}), the last for pool {pool}",
            name=self._name,
            total=counts.total(),
            reasons=", ".join(f"{reason.word}: {number}" for reason, number in counts.items()),
            pool=pool,
        )

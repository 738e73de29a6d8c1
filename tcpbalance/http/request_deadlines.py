"""When a request has lasted too long, and which side it waits for."""

from __future__ import annotations

import math
import typing

from tcpbalance.http.client_side import HttpClient
from tcpbalance.http.context import HttpContext
from tcpbalance.http.phases import (
    AWAITING,
    REACHING,
    REQUEST_LATE,
    RESPONSE_LATE,
    STOPPED,
    UNREACHED,
    RequestEvent,
    RequestPhase,
)
from tcpbalance.http.upload import Upload
from tcpbalance.net.wheel import RESOLUTION
from tcpbalance.proxy.dialler import Dialler
from tcpbalance.proxy.peer import Peer
from tcpbalance.proxy.reasons import EndReason


class RequestDeadline(typing.NamedTuple):
    """When something has lasted too long.

    :ivar due: by the frontend's clock.
    :ivar event: what it is then.
    :ivar reason: the end that it may lead to.
    """

    due: float
    event: RequestEvent
    reason: EndReason


class TimedRequest(typing.Protocol):
    """A request, as far as its deadlines go.

    :ivar dial_until: when the dial has taken too long.
    :ivar sent_at: when it was sent to a backend.
    :ivar response_active: when the last bytes of the response came, by the wheel's clock.
    :ivar is_failing: whether the connection to the backend has failed, and what came before is passed on.
    :ivar looked_at: when it was last looked at what is under way to a side that takes nothing.
    :ivar looked_like: how much that was.
    """

    context: HttpContext
    phase: RequestPhase
    dial_until: float
    sent_at: float
    response_active: float
    is_failing: bool
    looked_at: float
    looked_like: int

    @property
    def upload(self) -> Upload | None: ...
    @property
    def dialler(self) -> Dialler | None: ...
    @property
    def backend(self) -> Peer | None: ...
    @property
    def side(self) -> HttpClient: ...
    @property
    def response_timeout(self) -> float: ...
    @property
    def stall_timeout(self) -> float: ...
    @property
    def holds_client(self) -> bool: ...
    @property
    def is_held(self) -> bool: ...
    def count_carried(self) -> None: ...


def next_deadline(request: TimedRequest) -> RequestDeadline:
    """Give the first deadline that may come, by how things stand now.

    The wheel's times may be one turn old.
    """
    request.count_carried()
    upload, timeouts = request.upload, request.context.timeouts
    if request.phase is REACHING:
        queued = request.dialler is None or request.dialler.queued
        return RequestDeadline(math.inf if queued else request.dial_until, UNREACHED, EndReason.DIAL_TIMEOUT)
    if upload is not None and not (upload.whole or upload.awaits_continue or request.holds_client):
        pause = upload.active + RESOLUTION + request.context.http.body_timeout
        return RequestDeadline(min(pause, upload.rate_due), REQUEST_LATE, EndReason.BODY_TIMEOUT)
    if request.phase is AWAITING:
        since = request.sent_at if upload is None else max(request.sent_at, upload.active + RESOLUTION)
        return RequestDeadline(since + request.response_timeout, RESPONSE_LATE, EndReason.RESPONSE_TIMEOUT)
    active = request.response_active + RESOLUTION
    if request.is_held and request.is_failing:
        # What came before a reset has less time to be passed on.
        return RequestDeadline(active + timeouts.half_close_timeout, STOPPED, EndReason.BACKEND_RESET)
    if request.is_held:
        return RequestDeadline(active + timeouts.idle_timeout, STOPPED, EndReason.IDLE_TIMEOUT)
    return RequestDeadline(active + request.stall_timeout, RESPONSE_LATE, EndReason.STALL_TIMEOUT)


def excuses(request: TimedRequest, deadline: RequestDeadline, now: float) -> bool:
    """Decide of a deadline that has come whether something goes on all the same; take note of that.

    :param now: by the frontend's clock.
    """
    upload = request.upload
    if deadline.event is STOPPED:
        if not _takes_some(request, request.side, request.response_active):
            return False
        request.response_active = request.looked_at = now
        return True
    if upload is not None and deadline.event is REQUEST_LATE:
        return not _is_late(request, upload, now)
    if upload is None or request.backend is None or request.phase is not AWAITING:
        return False
    # A backend that still fetches the body need not answer yet.
    is_fetching = _takes_some(request, request.backend, upload.active)
    if is_fetching:
        upload.active = request.looked_at = now
    return is_fetching


def _takes_some(request: TimedRequest, side: Peer, since: float) -> bool:
    """Whether a side has fetched something since the last look, though no byte could be passed on.

    The first look since a byte was passed on only notes what there is to compare with.

    :param since: when that was.
    """
    before, request.looked_like = request.looked_like, side.in_flight()
    return request.looked_like > 0 and (request.looked_at < since or request.looked_like != before)


def _is_late(request: TimedRequest, upload: Upload, now: float) -> bool:
    http = request.context.http
    paused = now >= upload.active + RESOLUTION + http.body_timeout
    return upload.is_too_slow(http.body_min_rate, now, request.side.stops) or paused

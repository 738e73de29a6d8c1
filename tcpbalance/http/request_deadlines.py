"""When a request has lasted too long, and which side it waits for."""

from __future__ import annotations

import math
import typing
from typing import Final

from tcpbalance.http.client_look import ClientLook
from tcpbalance.http.client_side import ClientSession
from tcpbalance.http.context import HttpContext
from tcpbalance.http.dialling import HttpDialler
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
from tcpbalance.http.response import Response
from tcpbalance.http.routes import Route
from tcpbalance.http.upload import Upload
from tcpbalance.http.upstream import BackendHttpConnection
from tcpbalance.net.wheel import RESOLUTION
from tcpbalance.pool.pool import Pool
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


class Look(typing.NamedTuple):
    """What is known of a side that takes nothing.

    :ivar at: when it was last seen to take something after all, by the frontend's clock.
    :ivar size: how much was under way to it.
    """

    at: float
    size: int


NO_LOOK: Final = Look(-math.inf, -1)


class TimedRequest(typing.Protocol):
    """A request, as far as its deadlines go.

    :ivar sent_at: when it was sent to a backend.
    :ivar last_look: at what is under way to a side that takes nothing.
    """

    context: HttpContext
    phase: RequestPhase
    sent_at: float
    last_look: Look

    @property
    def session(self) -> ClientSession: ...
    @property
    def route(self) -> Route | None: ...
    @property
    def pool(self) -> Pool: ...
    @property
    def upload(self) -> Upload | None: ...
    @property
    def dialler(self) -> HttpDialler | None: ...
    @property
    def backend(self) -> BackendHttpConnection | None: ...
    @property
    def response(self) -> Response | None: ...
    def count_carried(self) -> None: ...


def response_timeout(request: TimedRequest) -> float:
    """Give the seconds that the backend may take to answer."""
    timeout = None if request.route is None else request.route.response_timeout
    return request.pool.http.response_timeout if timeout is None else timeout


def _stall_timeout(request: TimedRequest) -> float:
    """Give the seconds that a response may pause."""
    timeout = None if request.route is None else request.route.stall_timeout
    if timeout is not None:
        return timeout
    if request.response is not None and request.response.is_event_stream:
        return request.context.timeouts.idle_timeout
    return request.pool.http.stall_timeout


def _body_timeout(request: TimedRequest) -> float:
    """Give the seconds that the body of a request may pause."""
    timeout = None if request.route is None else request.route.body_timeout
    return request.context.http.body_timeout if timeout is None else timeout


def _body_min_rate(request: TimedRequest) -> int:
    """Give the bytes a second that the body of a request has to come by."""
    rate = None if request.route is None else request.route.body_min_rate
    return request.context.http.body_min_rate if rate is None else rate


def next_deadline(request: TimedRequest) -> RequestDeadline:
    """Give the first deadline that may come, by how things stand now.

    The wheel's times may be one turn old.
    """
    request.count_carried()
    upload, session, route = request.upload, request.session, request.route
    if request.phase is REACHING:
        dialler = request.dialler
        until = math.inf if dialler is None or dialler.queued else dialler.until
        return RequestDeadline(until, UNREACHED, EndReason.DIAL_TIMEOUT)
    if upload is not None and not (upload.whole or upload.awaits_continue or _holds_client(request, upload)):
        pause: float = request.context.http.body_timeout
        if route is not None and route.has_time_limits:
            pause = _body_timeout(request)
        pause += upload.active + RESOLUTION
        return RequestDeadline(min(pause, upload.rate_due), REQUEST_LATE, EndReason.BODY_TIMEOUT)
    response = request.response
    if request.phase is AWAITING or response is None:
        since = request.sent_at if upload is None else max(request.sent_at, upload.active + RESOLUTION)
        due = since + response_timeout(request)
        return RequestDeadline(due, RESPONSE_LATE, EndReason.RESPONSE_TIMEOUT)
    active = response.active + RESOLUTION
    if session.is_full or response.waits:
        return _deadline_of_held(request, response, active)
    pause = request.pool.http.stall_timeout
    if response.is_event_stream or (route is not None and route.has_time_limits):
        pause = _stall_timeout(request)
    return RequestDeadline(active + pause, RESPONSE_LATE, EndReason.STALL_TIMEOUT)


def next_look(request: TimedRequest) -> float:
    """Give when to look at the deadlines: when the first may come by how things stand now, or before that.

    A body whose recipient takes no more has another deadline, and no event says when that begins to count.
    So a look comes no later than the shortest time for which a body may pause.
    """
    due = next_deadline(request).due
    if request.phase is REACHING or (request.upload is None and request.response is None):
        return due
    context, route = request.context, request.route
    http = context.http
    pause: float = min(http.send_timeout, http.body_timeout, request.pool.http.stall_timeout)
    if route is not None and route.has_time_limits:
        pause = min(http.send_timeout, _body_timeout(request), _stall_timeout(request))
    return min(due, context.wheel.now + RESOLUTION + pause)


def _holds_client(request: TimedRequest, upload: Upload) -> bool:
    """Whether the client cannot send, because the backend takes no more."""
    return request.session.client.stopped or upload.waits


def _deadline_of_held(request: TimedRequest, response: Response, active: float) -> RequestDeadline:
    """Give the deadline of a response that cannot go on, because the client takes no more.

    :param active: when its last bytes have come.
    """
    context, look = request.context, response.last_look
    if request.backend is not None and request.backend.is_failing:
        # What came before a reset has less time to be passed on.
        due = active + context.timeouts.half_close_timeout
        return RequestDeadline(due, STOPPED, EndReason.BACKEND_RESET)
    due = (active if look is None else look.at) + context.http.send_timeout
    return RequestDeadline(due, STOPPED, EndReason.SEND_TIMEOUT)


def excuses(request: TimedRequest, deadline: RequestDeadline, now: float) -> bool:
    """Decide of a deadline that has come whether something goes on all the same; take note of that.

    :param now: by the frontend's clock.
    """
    upload, response = request.upload, request.response
    if deadline.event is STOPPED:
        assert response is not None
        client = request.session.client
        if deadline.reason is EndReason.SEND_TIMEOUT:
            look = ClientLook(now, client.in_flight(), response.passed)
            goes_on = response.last_look is None or not look.shows_too_slow(
                response.last_look, request.context.http.send_min_rate
            )
            response.last_look = look
        else:
            goes_on = _takes_some(request, client, response.active, now)
        if goes_on:
            response.active = now
        return goes_on
    if upload is not None and deadline.event is REQUEST_LATE:
        return not _is_late(request, upload, now)
    if upload is None or request.backend is None or request.phase is not AWAITING:
        return False
    # A backend that still fetches the body need not answer yet.
    is_fetching = _takes_some(request, request.backend, upload.active, now)
    if is_fetching:
        upload.active = now
    return is_fetching


def _takes_some(request: TimedRequest, side: Peer, since: float, now: float) -> bool:
    """Whether a side has fetched something since the last look, though no byte could be passed on.

    The first look since a byte was passed on only notes what there is to compare with.

    :param since: when that was.
    """
    before, size = request.last_look, side.in_flight()
    takes = size > 0 and (before.at < since or size != before.size)
    request.last_look = Look(now if takes else before.at, size)
    return takes


def _is_late(request: TimedRequest, upload: Upload, now: float) -> bool:
    paused = now >= upload.active + RESOLUTION + _body_timeout(request)
    return upload.is_too_slow(_body_min_rate(request), now, request.session.client.stops) or paused

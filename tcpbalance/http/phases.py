"""The phases of a request, and what follows in each from what happens.

1. A request begins in ``REACHING`` once its head is known, and its route leads to a pool. It becomes
   ``AWAITING`` when a backend has accepted, or one of its connections was open, and ``ANSWERING`` with the
   head of the final response. 1xx responses pass before that.
2. ``AWAITING`` becomes ``REACHING`` again while nothing of a response has come and the request may be sent
   once more (``TRY_AGAIN``). There is no other way back.
3. Before ``ANSWERING`` the balancer can answer itself (``ANSWER``). From then on it can only pass on what
   comes: where that breaks, the client's connection is reset (``CUT``), so that no part looks like the whole.
4. A request whose client is gone is cut at the backend at once (``GIVE_UP``). A client that finishes sending
   before it has its response is taken for gone: one that closes does the same.
5. Any phase becomes ``OVER`` when the request has its reason: all that was taken for it is given back then,
   and it is recorded. Its client's connection goes on, is closed, or is reset; see ``session``.
"""

from __future__ import annotations

import enum


class _Identified(enum.Enum):
    # Each is one of a kind; Enum's own hash is that of its name, worked out in Python each time.
    __hash__ = object.__hash__


class RequestPhase(_Identified):
    """What a request is about."""

    REACHING = enum.auto()
    """A backend is chosen, waited for, and dialled; what the client sends meanwhile is kept for it."""

    AWAITING = enum.auto()
    """A backend has the request, or as much as has come; nothing of its final response has come."""

    ANSWERING = enum.auto()
    """The head of the response has been passed on."""

    OVER = enum.auto()
    """It is recorded."""


REACHING, AWAITING, ANSWERING, OVER = RequestPhase


class RequestEvent(_Identified):
    """What happens to a request."""

    CLIENT_FINISHED = enum.auto()
    """The client has finished sending: it has left, as far as can be known."""

    CLIENT_LOST = enum.auto()
    """The connection to the client is gone."""

    BAD_REQUEST = enum.auto()
    """What the client sends as a body is none, or is too large."""

    REQUEST_LATE = enum.auto()
    """The client takes too long to send the body."""

    UNREACHED = enum.auto()
    """No backend is left to be tried."""

    BACKEND_FINISHED = enum.auto()
    """The backend has finished sending."""

    BACKEND_LOST = enum.auto()
    """The connection to the backend is gone, not in order."""

    BAD_RESPONSE = enum.auto()
    """What the backend sends is no response."""

    RESPONSE_LATE = enum.auto()
    """The backend takes too long to answer."""

    STOPPED = enum.auto()
    """The operator, an overload or a failure of our own ends it."""


(
    CLIENT_FINISHED,
    CLIENT_LOST,
    BAD_REQUEST,
    REQUEST_LATE,
    UNREACHED,
    BACKEND_FINISHED,
    BACKEND_LOST,
    BAD_RESPONSE,
    RESPONSE_LATE,
    STOPPED,
) = RequestEvent


class RequestAction(_Identified):
    """What follows."""

    GIVE_UP = enum.auto()
    """The request is cut at the backend; the client is closed, for it cannot be answered."""

    ANSWER = enum.auto()
    """The request is cut at the backend; the client gets an answer of our own, by the reason."""

    TRY_AGAIN = enum.auto()
    """The request is sent once more where it may be, else ``ANSWER``."""

    COMPLETE = enum.auto()
    """The response is whole where its end is that of the connection, else ``CUT``."""

    CUT = enum.auto()
    """The client is reset, once it has what came before; the backend at once."""


GIVE_UP, ANSWER, TRY_AGAIN, COMPLETE, CUT = RequestAction

REQUEST_TABLE: dict[tuple[RequestPhase, RequestEvent], RequestAction] = {
    (REACHING, CLIENT_FINISHED): GIVE_UP,
    (REACHING, CLIENT_LOST): GIVE_UP,
    (REACHING, BAD_REQUEST): ANSWER,
    (REACHING, REQUEST_LATE): ANSWER,
    (REACHING, UNREACHED): ANSWER,
    (REACHING, STOPPED): CUT,
    (AWAITING, CLIENT_FINISHED): GIVE_UP,
    (AWAITING, CLIENT_LOST): GIVE_UP,
    (AWAITING, BAD_REQUEST): ANSWER,
    (AWAITING, REQUEST_LATE): ANSWER,
    (AWAITING, BACKEND_FINISHED): TRY_AGAIN,
    (AWAITING, BACKEND_LOST): TRY_AGAIN,
    (AWAITING, BAD_RESPONSE): ANSWER,
    (AWAITING, RESPONSE_LATE): ANSWER,
    (AWAITING, STOPPED): CUT,
    (ANSWERING, CLIENT_FINISHED): CUT,
    (ANSWERING, CLIENT_LOST): GIVE_UP,
    (ANSWERING, BAD_REQUEST): CUT,
    (ANSWERING, REQUEST_LATE): CUT,
    (ANSWERING, BACKEND_FINISHED): COMPLETE,
    (ANSWERING, BACKEND_LOST): CUT,
    (ANSWERING, BAD_RESPONSE): CUT,
    (ANSWERING, RESPONSE_LATE): CUT,
    (ANSWERING, STOPPED): CUT,
}
"""What is not here cannot come about."""

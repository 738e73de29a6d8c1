"""The phases of a session, what follows in each from what happens, and how its connections are closed.

1. A session begins in ``PREREAD`` if its client has to send something first, else in ``DIALLING``.
2. ``DIALLING`` becomes ``UNANSWERED`` when a backend has accepted, and that ``RELAYING`` as soon as no other
   backend will be tried: at once, unless the pool retries on a reset before the answer.
3. ``UNANSWERED`` becomes ``DIALLING`` again when the backend is reset (``TRY_ANOTHER``). There is no other
   way back.
4. Any phase becomes ``ENDING`` when the end is decided, and that ``OVER`` when both connections are gone. So
   the loss of a connection is an event only before that.
5. The balancer passes an end of stream (FIN) on and does not invent one, but to move an idle session to
   another backend; see ``closing``.
"""

from __future__ import annotations

import enum
from typing import Protocol

from tcpbalance.proxy.reasons import EndReason


class _Plain(enum.Enum):
    # Each is one of a kind; Enum's own hash is that of its name, worked out in Python each time.
    __hash__ = object.__hash__


class Phase(_Plain):
    """What a session is about."""

    PREREAD = enum.auto()
    """The client has to send something before a backend is chosen for it."""

    DIALLING = enum.auto()
    """A backend is chosen, waited for, and dialled; what the client sends meanwhile is kept for it."""

    UNANSWERED = enum.auto()
    """A backend has accepted and has not answered; what the client sends is kept for another one, too."""

    RELAYING = enum.auto()
    """Bytes pass both ways, and no other backend will be tried."""

    ENDING = enum.auto()
    """The end is decided; a connection is still open, or has bytes to deliver."""

    OVER = enum.auto()
    """Both connections are gone, all that was taken is given back, and the session is recorded."""


PREREAD, DIALLING, UNANSWERED, RELAYING, ENDING, OVER = Phase


class Event(_Plain):
    """What happens to a session."""

    CLIENT_FINISHED = enum.auto()
    BACKEND_FINISHED = enum.auto()
    """The peer has finished sending; its connection stands."""

    CLIENT_ERROR = enum.auto()
    BACKEND_ERROR = enum.auto()
    """The connection has failed, and not all that the peer sent before is read yet."""

    CLIENT_CLOSED = enum.auto()
    BACKEND_CLOSED = enum.auto()
    """The connection is gone in order, both ways at once, as is the rule without half-close."""

    CLIENT_RESET = enum.auto()
    BACKEND_RESET = enum.auto()
    """The connection is gone: the peer, or the network, has reset it."""

    FAILED = enum.auto()
    """A connection is gone because of us: this machine lacks something, or an exception was raised."""

    ENDED = enum.auto()
    """A deadline, the dial or the operator ends the session."""

    ENDED_AT_ONCE = enum.auto()
    """The same, for a reason that does not wait for the last bytes."""


(
    CLIENT_FINISHED,
    BACKEND_FINISHED,
    CLIENT_ERROR,
    BACKEND_ERROR,
    CLIENT_CLOSED,
    BACKEND_CLOSED,
    CLIENT_RESET,
    BACKEND_RESET,
    FAILED,
    ENDED,
    ENDED_AT_ONCE,
) = Event


class Action(_Plain):
    """What follows."""

    IGNORE = enum.auto()
    """Nothing."""

    END = enum.auto()
    """The end is decided, and both sides are closed as ``closing`` says."""

    AWAIT_BACKEND = enum.auto()
    """The dial goes on for a client that has sent something, and not for long, if at all, for another."""

    PASS_ON = enum.auto()
    """The other side gets what came before, and then the end of it."""

    PASS_ON_BEFORE_RESET = enum.auto()
    """``PASS_ON``, if that is the side whose break the session ends with; else nothing."""

    DELIVER = enum.auto()
    """The end is decided; the other side gets what came before the break, and is closed after that."""

    TRY_ANOTHER = enum.auto()
    """Another backend is dialled, to be given all that the client has sent; the session ends instead if this
    backend has sent something that could not be read."""

    ABORT = enum.auto()
    """Both sides are closed at once."""


IGNORE, END, AWAIT_BACKEND, PASS_ON, PASS_ON_BEFORE_RESET, DELIVER, TRY_ANOTHER, ABORT = Action

TABLE: dict[tuple[Phase, Event], Action] = {
    (PREREAD, CLIENT_FINISHED): END,
    # What it has sent before is read to its end.
    (PREREAD, CLIENT_ERROR): IGNORE,
    (PREREAD, CLIENT_CLOSED): END,
    (PREREAD, CLIENT_RESET): END,
    (PREREAD, FAILED): END,
    (PREREAD, ENDED): END,
    (PREREAD, ENDED_AT_ONCE): END,
    (DIALLING, CLIENT_FINISHED): AWAIT_BACKEND,
    (DIALLING, CLIENT_ERROR): END,
    (DIALLING, CLIENT_CLOSED): AWAIT_BACKEND,
    (DIALLING, CLIENT_RESET): END,
    (DIALLING, FAILED): END,
    (DIALLING, ENDED): END,
    (DIALLING, ENDED_AT_ONCE): END,
    (UNANSWERED, CLIENT_FINISHED): PASS_ON,
    (UNANSWERED, BACKEND_FINISHED): PASS_ON,
    (UNANSWERED, CLIENT_ERROR): DELIVER,
    (UNANSWERED, BACKEND_ERROR): DELIVER,  # There is something to read: it has answered.
    (UNANSWERED, CLIENT_CLOSED): END,
    (UNANSWERED, BACKEND_CLOSED): END,
    (UNANSWERED, CLIENT_RESET): END,
    (UNANSWERED, BACKEND_RESET): TRY_ANOTHER,
    (UNANSWERED, FAILED): END,
    (UNANSWERED, ENDED): END,
    (UNANSWERED, ENDED_AT_ONCE): END,
    (RELAYING, CLIENT_FINISHED): PASS_ON,
    (RELAYING, BACKEND_FINISHED): PASS_ON,
    (RELAYING, CLIENT_ERROR): DELIVER,
    (RELAYING, BACKEND_ERROR): DELIVER,
    (RELAYING, CLIENT_CLOSED): END,
    (RELAYING, BACKEND_CLOSED): END,
    (RELAYING, CLIENT_RESET): END,
    (RELAYING, BACKEND_RESET): END,
    (RELAYING, FAILED): END,
    (RELAYING, ENDED): END,
    (RELAYING, ENDED_AT_ONCE): END,
    (ENDING, CLIENT_FINISHED): PASS_ON_BEFORE_RESET,
    (ENDING, BACKEND_FINISHED): PASS_ON_BEFORE_RESET,
    (ENDING, CLIENT_ERROR): IGNORE,
    (ENDING, BACKEND_ERROR): IGNORE,
    (ENDING, ENDED): IGNORE,  # The first reason stands.
    (ENDING, ENDED_AT_ONCE): ABORT,
    (OVER, ENDED): IGNORE,
    (OVER, ENDED_AT_ONCE): IGNORE,
}
"""What is not here cannot come about: no backend is connected, or no transport is left to report it."""


class Closing(_Plain):
    """How one side is closed."""

    FIN = enum.auto()
    """In order, after the last byte."""

    RESET = enum.auto()
    """With a reset (RST), at once."""

    DELIVER_AND_RESET = enum.auto()
    """With a reset, once the peer has all that was sent to it."""


FIN, RESET, DELIVER_AND_RESET = Closing


class Closable(Protocol):
    """One side of a session as ``closing`` sees it; see ``Peer``."""

    @property
    def finished(self) -> bool: ...
    @property
    def write_closed(self) -> bool: ...
    def in_flight(self) -> int: ...


AT_ONCE = (
    EndReason.MAX_CONNECTION_AGE,
    EndReason.SEND_TIMEOUT,
    EndReason.OVERLOAD,
    EndReason.ENDED_BY_OPERATOR,
    EndReason.SHUTDOWN,
    EndReason.INTERNAL_ERROR,
)
"""Reasons that do not wait for the last bytes of a session whose end is decided: ``ENDED_AT_ONCE``."""

_BREAKS = (EndReason.CLIENT_RESET, EndReason.BACKEND_RESET)


def closing(
    reason: EndReason, side: Closable, other: Closable | None, orderly: bool, at_once: bool
) -> Closing:
    """Decide how one side of a session is closed.

    :param reason: why the session ends.
    :param side: the one to be closed.
    :param other: the one across; None for a client that has no backend.
    :param orderly: whether the session ends in order.
    :param at_once: whether it is aborted: the last bytes are not waited for.
    """
    # An end is passed on where it has come. A client without a backend has not been given a single byte that
    # it could take for the whole; and nothing is under way in a session that is moved.
    if orderly and (other is None or other.finished or reason is EndReason.REBALANCED):
        return FIN
    # The peer was sent the end before, and the kernel has the rest for it.
    if side.write_closed and reason.closer == "balancer":
        return FIN
    # A reset discards what the kernel still holds: what came before a reset is to arrive first.
    if reason in _BREAKS and not at_once and side.in_flight():
        return DELIVER_AND_RESET
    # No peer is to take a broken transfer for a complete one.
    return RESET

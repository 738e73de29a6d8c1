"""What can be wrong with HTTP from outside: a client's request, or a backend's response."""

from __future__ import annotations

import enum

from tcpbalance.errors import Fault, TcpbalanceError


class Cause(enum.StrEnum):
    """Why a message is refused; the word is for the access log."""

    TLS_ON_PLAIN = "tls_on_plain"
    BAD_HEAD = "bad_head"
    HEAD_TOO_LARGE = "head_too_large"
    TARGET_TOO_LONG = "target_too_long"
    VERSION = "version"
    BAD_FRAMING = "bad_framing"
    BAD_TARGET = "bad_target"
    BAD_CHUNK = "bad_chunk"
    EXPECTATION = "expectation"
    BAD_RESPONSE = "bad_response"


class BadMessage(TcpbalanceError):
    """A message is refused. The bytes behind it cannot be trusted, so its connection is to be closed.

    :ivar status: of the response that a client gets.
    :ivar cause: for the log.
    """

    def __init__(self, status: int, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.cause = cause


class BadRequest(BadMessage):
    """A client's request is refused."""

    fault = Fault.CLIENT


class BadResponse(BadMessage):
    """A backend's response is refused; its client gets 502 (RFC 9110, section 15.6.3)."""

    fault = Fault.BACKEND

    def __init__(self, message: str) -> None:
        super().__init__(502, Cause.BAD_RESPONSE, message)

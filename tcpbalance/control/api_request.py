"""One request to the admin side, its answer, and why one is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from attrs import field, frozen

from tcpbalance.control.openapi_schemas import JSON
from tcpbalance.errors import Fault, TcpbalanceError


def changes(method: str) -> bool:
    """Whether a method asks for a change."""
    return method not in ("GET", "HEAD")


@frozen(kw_only=True)
class ApiRequest:
    """What is asked.

    :param method: in capitals.
    :param path: without the query, not decoded.
    :param query: what follows ``?``, each name once.
    :param headers: by their names in lower case; the values of one that comes several times joined by commas.
    :param body: the whole.
    :param peer: the address that it comes from, for the log.
    :param names: the parts of the path that stand for something, by the route's names for them.
    :param reads_only: whether its token may change nothing.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(factory=dict)
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes = b""
    peer: str = ""
    names: Mapping[str, str] = field(factory=dict)
    reads_only: bool = False

    @property
    def changes(self) -> bool:
        """Whether it asks for a change."""
        return changes(self.method)


class StreamSink(Protocol):
    """Takes a stream to a client."""

    def write(self, data: bytes) -> None:
        """Write a part of it; nothing once the client is gone."""
        ...


BeginStream = Callable[[StreamSink], Callable[[], None]]
"""Begins a stream; what it returns is called when the client is gone, or the stream is to end."""


@frozen(kw_only=True)
class ApiAnswer:
    """What is answered.

    :param status: of HTTP.
    :param content_type: of the body.
    :param body: in pieces, between which others are served.
    :param headers: further ones.
    :param stream: in the place of a body, goes on until the client is gone; None where there is an end.
    """

    status: int = 200
    content_type: str = JSON
    body: Iterable[bytes] = ()
    headers: Mapping[str, str] = field(factory=dict)
    stream: BeginStream | None = None

    @classmethod
    def of(cls, content: object, status: int = 200, headers: Mapping[str, str] = {}) -> ApiAnswer:
        """Answer with JSON in one piece."""
        body = json.dumps(content, separators=(",", ":")).encode() + b"\n"
        return cls(status=status, body=[body], headers={"content-length": str(len(body)), **headers})


class ApiError(TcpbalanceError):
    """A request is refused.

    :param status: of HTTP.
    :param code: a word by which a program knows the reason.
    :param message: for a person: what is wrong, and what to do.
    :param headers: that the answer must have.
    :param more: about the reason, for programs.
    :ivar may_be_done: whether what was asked for may be done all the same.
    :ivar is_logged: whether the log has it already.
    """

    fault = Fault.CLIENT
    may_be_done = False
    is_logged = False

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] = {},
        more: Mapping[str, Any] = {},
    ) -> None:
        super().__init__(message)
        self._more = more
        self.status = status
        self.code = code
        self.headers: Mapping[str, str] = headers

    @property
    def content(self) -> dict[str, Any]:
        """The body of the answer, for JSON."""
        return {"error": {"code": self.code, "message": str(self), **self._more}}

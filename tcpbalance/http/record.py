"""What is known of an HTTP request once it has ended."""

from __future__ import annotations

from typing import Final

from attrs import define

from tcpbalance.proxy.record import SessionRecord

MAX_RECORDED_TEXT: Final = 2048
"""Characters of a text of the client's that a record keeps: thousands of records may wait to be written."""


def bounded(text: str) -> str:
    """Cut a text of the client's for a record; one that was cut ends in three points."""
    return text if len(text) <= MAX_RECORDED_TEXT else f"{text[:MAX_RECORDED_TEXT]}..."


# All fields may be given by position: with keywords, making one takes twice as long.
@define
class RequestRecord(SessionRecord):
    """One ended request; all durations in seconds.

    It is a record of its session that begins with the request, not with the connection: ``started`` is when
    its first byte came, ``wait``, ``total`` and the bytes count from then, and ``attempts`` counts a
    connection to a backend that was open already like one that was made. Texts of the client's are latin-1,
    and cut by ``bounded``.

    :ivar method: empty where the request line could not be read, and so are ``target`` and ``version``.
    :ivar host: the host that was asked for, None where that is not known.
    :ivar target: as it came, with its query.
    :ivar version: of HTTP, such as ``1.1``.
    :ivar status: of the response that the client was sent, 0 where it was sent none.
    :ivar route: the name of the route that was taken, None where none was.
    :ivar pool: the name of the pool that had to serve it, None where none had.
    :ivar request_id: the value of ``X-Request-Id``, None where it has none.
    :ivar head: from its first byte to the end of its head, None where that did not come.
    :ivar first_byte: from sending the request to the first byte of the response, None where none came.
    :ivar request_body: bytes of the request's body, without framing.
    :ivar response_body: bytes of the response's body that were sent to the client, without framing.
    :ivar reused: whether the connection to the backend had served a request before.
    :ivar referer: the value of ``Referer``, None where it has none.
    :ivar user_agent: the value of ``User-Agent``, None where it has none.
    :ivar user: the name that a request for a tunnel gives, if it is that of a user; else None.
    """

    method: str = ""
    host: str | None = None
    target: str = ""
    version: str = ""
    status: int = 0
    route: str | None = None
    pool: str | None = None
    request_id: str | None = None
    head: float | None = None
    first_byte: float | None = None
    request_body: int = 0
    response_body: int = 0
    reused: bool = False
    referer: str | None = None
    user_agent: str | None = None
    user: str | None = None

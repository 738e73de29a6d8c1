"""A response that is read as far as its end, and thrown away."""

from __future__ import annotations

from tcpbalance.http.bodies import PassedBody, response_body
from tcpbalance.http.upstream import MAX_INTERIM
from tcpbalance.wire.http.errors import BadResponse
from tcpbalance.wire.http.fields import keeps_alive
from tcpbalance.wire.http.framing import TUNNEL, UNTIL_CLOSE, Framing, response_framing
from tcpbalance.wire.http.head import ResponseHead
from tcpbalance.wire.http.head_reader import ResponseReader


class DiscardedResponse:
    """Finds out where a response ends.

    :param reader: of its heads.
    :param method: of the request.
    :ivar status: of the final response; 0 before its head has come.
    :ivar whole: whether all of it has come.
    :ivar given_up: whether more of its chunks came at once than one turn allows; no more of it is to be read.
    :ivar reuses_backend: whether the connection may have another request after it.
    """

    __slots__ = (
        "_body",
        "_interim",
        "_method",
        "_reader",
        "_unread",
        "given_up",
        "reuses_backend",
        "status",
        "whole",
    )

    def __init__(self, reader: ResponseReader, method: bytes) -> None:
        self._reader = reader
        self._method = method
        self._unread = b""
        self._interim = 0
        self._body: PassedBody | None = None
        self.status = 0
        self.whole = self.given_up = self.reuses_backend = False

    def feed(self, data: bytes) -> None:
        """Take bytes that the backend has sent.

        :raises BadResponse: they are no such response.
        """
        if self.status:
            self._skip(data)
            return
        data = self._unread + data
        while (head := self._reader.read(data)) is not None:
            data = data[head.size :]
            framing = response_framing(head, self._method)
            if framing is TUNNEL:
                raise BadResponse("the backend changes to a protocol that was not asked for")
            if head.status >= 200:
                self._begin(head, framing)
                self._skip(data)
                return
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise BadResponse(f"more than {MAX_INTERIM} responses of 1xx come before the final one")
        self._unread = data

    def _begin(self, head: ResponseHead, framing: Framing) -> None:
        self.status = head.status
        self.reuses_backend = framing is not UNTIL_CLOSE and keeps_alive(head)
        self._body = response_body(framing, b"1.1")
        self._unread = b""

    def _skip(self, data: bytes) -> None:
        body = self._body
        surplus = data
        if body is not None:
            _, surplus = body.feed(data)
        self.whole = body is None or body.whole
        self.given_up = not self.whole and len(surplus) > 0
        # Bytes that no request has asked for end the connection.
        self.reuses_backend = self.reuses_backend and not surplus

    def ends_with_connection(self) -> bool:
        """Whether the response is whole now that the connection has ended."""
        return self._body is not None and self._body.ends_with_connection

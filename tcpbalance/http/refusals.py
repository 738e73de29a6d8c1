"""What is refused of requests that are valid HTTP."""

from __future__ import annotations

from tcpbalance.proxy.reasons import EndReason


class RequestRefused(Exception):
    """A request is answered here with a status of its own; its framing is not in doubt.

    :ivar status: of the answer.
    :ivar cause: for the log.
    :ivar extra: more lines of the answer, each with CR LF.
    :ivar reason: the end that it comes to.
    """

    def __init__(
        self, status: int, cause: str, extra: bytes = b"", reason: EndReason = EndReason.BAD_REQUEST
    ) -> None:
        super().__init__(cause)
        self.reason = reason
        self.status = status
        self.cause = cause
        self.extra = extra


def too_large() -> RequestRefused:
    """Give what a body gets that is larger than it may be."""
    return RequestRefused(413, "body_too_large")

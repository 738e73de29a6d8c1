"""Says why a configuration that a client of the admin side asks for is refused."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.python.failure import Failure

from tcpbalance.config.draft import Mistakes
from tcpbalance.config.errors import BrokenRules, Mistake, key_text
from tcpbalance.control.api_request import ApiError
from tcpbalance.errors import TcpbalanceError


def change_refused(failure: Failure) -> None:
    """Say why a configuration is refused; an errback.

    :raises ApiError: always.
    """
    failure.trap(TcpbalanceError)  # type: ignore[no-untyped-call]  # Twisted's
    error = failure.value
    assert isinstance(error, TcpbalanceError)
    if isinstance(error, ApiError):
        raise error
    text = mistakes_text(error.mistakes) if isinstance(error, Mistakes | BrokenRules) else str(error)
    raise ApiError(409, "refused", text) from error


def mistakes_text(mistakes: Iterable[Mistake]) -> str:
    """Word mistakes, one a line, as those of the file."""
    return "\n".join(f"{key_text(m.path)} {m.message}".strip() for m in mistakes)

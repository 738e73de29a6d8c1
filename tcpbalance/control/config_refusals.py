"""Has the configuration changed as a client of the admin side asks for, and says why that is refused."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from tcpbalance.config.draft import Mistakes
from tcpbalance.config.errors import BrokenRules, Mistake, key_text
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.config_orders import ChangeConfig, Order
from tcpbalance.control.controls import Controls
from tcpbalance.errors import TcpbalanceError


def change_config(controls: Controls, change: ChangeConfig, order: Order = nullcontext) -> Deferred[Any]:
    """Have the configuration changed.

    :param change: see ``Controls.change_config``.
    :param order: likewise.
    :returns: fails with `ApiError` where it is refused.
    """
    return controls.change_config(change, order).addErrback(_refuse)


def _refuse(failure: Failure) -> None:
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

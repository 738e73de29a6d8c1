"""Views of the state that are of one configuration, though they are made in several turns of the reactor."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks

from tcpbalance.config.models import Config
from tcpbalance.control.api_request import ApiError
from tcpbalance.control.view import View

MAX_VIEWS = 10
"""Times that it is looked at the state for one view, until the configuration stays the same meanwhile."""


@inlineCallbacks
def of_one_config(
    config: Callable[[], Config], look: Callable[[], Deferred[View]]
) -> Generator[Deferred[Any], Any, View]:
    """Look at the state, and once more where the configuration has changed meanwhile: what was found before
    may be of the one, and the rest of the other.

    :param config: gives the one in use.
    :param look: looks at the state.
    :returns: fails with ApiError where it changes each time, and see *look*.
    """
    for _ in range(MAX_VIEWS):
        before = config()
        view: View = yield look()
        if config() is before:
            return view
    raise ApiError(503, "config_changes", "the configuration changes all the time: ask again")

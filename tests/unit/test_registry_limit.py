"""The bound on open sessions may change meanwhile: clients are accepted exactly while there are fewer."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.registry import SessionRegistry
from tcpbalance.stats import FrontendStats

BOUNDS = st.none() | st.integers(1, 4)


class Open:
    """As much of a session as a registry asks for."""

    cause = ""


class Port:
    """A listening port that notes whether it is paused."""

    paused = False

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def getHost(self) -> Any:
        raise NotImplementedError


@given(BOUNDS, st.lists(st.sampled_from(["open", "end"]) | st.tuples(BOUNDS), max_size=30))
def test_it_is_full_exactly_while_as_many_are_open_as_may_be(bound: Any, deeds: list[Any]) -> None:
    clock, port = Clock(), Port()
    registry = SessionRegistry(
        "frontend", clock, clock.seconds, FrontendStats(), max_sessions=bound, on_idle=lambda: None
    )
    registry.accept_pause.pause_on(port)
    for deed in deeds:
        if deed == "open" and not port.paused:
            registry.add(cast(Any, Open()))
        elif deed == "end" and registry.sessions:
            registry.remove(next(iter(registry.sessions)), EndReason.CLIENT_CLOSED, None, 0, 0, 0.0)
        elif isinstance(deed, tuple):
            (bound,) = deed
            registry.limit(bound, None)
        assert port.paused == (bound is not None and len(registry.sessions) >= bound)

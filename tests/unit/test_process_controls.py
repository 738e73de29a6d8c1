"""The controls of one process look at things in several turns, between which a reload may come."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.task import Clock

from tcpbalance.control import process_controls
from tcpbalance.control.bans import BansQuery
from tcpbalance.control.process_controls import ProcessControls


def test_bans_are_listed_while_a_reload_removes_a_frontend(monkeypatch: pytest.MonkeyPatch) -> None:
    factories: dict[str, Any] = {}

    def frontend(name: str, after: Any) -> None:
        def bans() -> Iterator[tuple[bytes, float]]:
            yield name.encode() * 4, 60.0
            after()

        control = SimpleNamespace(bans=bans)
        factories[name] = SimpleNamespace(context=SimpleNamespace(admission=SimpleNamespace(control=control)))

    frontend("a", lambda: factories.pop("b"))
    frontend("b", lambda: None)
    monkeypatch.setattr(process_controls, "frontends_with_bans", lambda config, name: ["a", "b"])
    balancer: Any = SimpleNamespace(
        config={}, pools=[], factories=factories, report_events_to=lambda report: None
    )
    file: Any = SimpleNamespace()
    controls = ProcessControls(clock := Clock(), balancer, file)
    found: list[Any] = []
    controls.bans(BansQuery()).addBoth(found.append)
    clock.pump([0] * 10)
    assert [ban["frontend"] for ban in found[0]["bans"]] == ["a", "b"]

"""The controls of one process look at things in several turns, between which a reload may come."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from twisted.internet.task import Clock

from tcpbalance.control.bans import BansQuery
from tcpbalance.control.process_controls import ProcessControls


class Reloaded:
    """A balancer whose frontends come and go; each look gives those that there are."""

    config: Any = None
    pools: tuple[Any, ...] = ()

    def __init__(self, admissions: dict[str, Any]) -> None:
        self._admissions = admissions

    @property
    def admissions(self) -> dict[str, Any]:
        return dict(self._admissions)

    def report_events_to(self, report: Any) -> None:
        """Report nothing."""


def test_bans_are_listed_while_a_reload_removes_a_frontend() -> None:
    admissions: dict[str, Any] = {}

    def frontend(name: str, after: Any) -> None:
        def bans() -> Iterator[tuple[bytes, float]]:
            yield name.encode() * 4, 60.0
            after()

        admissions[name] = SimpleNamespace(bans=bans)

    frontend("a", lambda: admissions.pop("b"))
    frontend("b", lambda: None)
    balancer = Reloaded(admissions)
    file: Any = SimpleNamespace()
    made: Any = balancer
    controls = ProcessControls(clock := Clock(), made, file)
    found: list[Any] = []
    controls.bans(BansQuery()).addBoth(found.append)
    clock.pump([0] * 10)
    assert [ban["frontend"] for ban in found[0]["bans"]] == ["a", "b"]

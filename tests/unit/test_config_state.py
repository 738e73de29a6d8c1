"""What is known of the configuration file: when it was read, and why it could not be used since."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from support.configs import SMALLEST, load_text
from tcpbalance.config.difference import Difference, difference
from tcpbalance.config.models import Config
from tcpbalance.control.events import Events
from tcpbalance.control.reloading import MAX_KEPT_CAUSE, ConfigState, ReloadOutcome


class MemoryFile:
    """See ``ConfigFile``."""

    path = Path("/etc/tcpbalance.toml")
    on_outcome: Callable[[ReloadOutcome], object]

    def reload(self) -> Deferred[ReloadOutcome | None]:
        raise NotImplementedError

    def compare(self, running: Config) -> Deferred[Difference]:
        raise NotImplementedError


class Scene:
    """The state of a file on a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events = Events(self.clock, self.clock.seconds)
        self.file = MemoryFile()
        self.state = ConfigState(self.file, self.events, wall_clock=self.clock.seconds)

    def take_event(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self.events.after(0)[1][-1].encoded)
        return event


@pytest.fixture
def scene() -> Scene:
    return Scene()


def second(number: int) -> str:
    return f"1970-01-01T00:00:{number:02}.000Z"


def test_a_reload_has_a_time_and_a_revision_where_it_changes_something(scene: Scene, tmp_path: Path) -> None:
    before = load_text(tmp_path, SMALLEST)
    after = load_text(tmp_path, f"shutdown_grace = 7\n{SMALLEST}")
    assert scene.state.shown() == {
        "revision": 1,
        "path": "/etc/tcpbalance.toml",
        "loaded": second(0),
        "error": None,
    }
    scene.clock.advance(5)
    scene.file.on_outcome(ReloadOutcome(difference(before, before)))
    assert (scene.state.shown()["revision"], scene.state.shown()["loaded"]) == (1, second(5))
    assert scene.take_event()["summary"] == "no change"
    scene.file.on_outcome(ReloadOutcome(difference(before, after)))
    assert scene.state.shown()["revision"] == 2
    assert (scene.take_event()["kind"], scene.take_event()["summary"]) == ("reloaded", "changes: 1 key")
    scene.state.note_change()
    assert scene.state.shown()["revision"] == 3


def test_a_refusal_is_known_until_the_next_reload(scene: Scene, tmp_path: Path) -> None:
    scene.clock.advance(5)
    scene.file.on_outcome(ReloadOutcome(error="x" * (MAX_KEPT_CAUSE + 1)))
    shown, cause = scene.state.shown(), "x" * MAX_KEPT_CAUSE
    assert (shown["revision"], shown["loaded"]) == (1, second(0))
    assert shown["error"] == {"time": second(5), "message": cause}
    assert (scene.take_event()["kind"], scene.take_event()["cause"]) == ("reload_refused", cause)
    config = load_text(tmp_path, SMALLEST)
    scene.file.on_outcome(ReloadOutcome(difference(config, config)))
    assert scene.state.shown()["error"] is None

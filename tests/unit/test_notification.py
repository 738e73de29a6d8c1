"""What is sent to the service manager is what sd_notify(3) asks for, whatever the status says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.systemd import notification
from tcpbalance.systemd.notification import Summary


@given(st.text())
def test_a_status_is_one_line(text: str) -> None:
    for message, first in (
        (notification.ready(text), "READY=1"),
        (notification.stopping(text), "STOPPING=1"),
    ):
        state, status = message.splitlines()
        assert state == first
        assert status == notification.status_line(text)
        assert status.startswith("STATUS=")
        assert status.isprintable()


@given(st.floats(0, 2**40))
def test_the_time_of_a_reload_is_in_microseconds(seconds: float) -> None:
    state, time = notification.reloading(seconds).splitlines()
    assert state == "RELOADING=1"
    assert abs(int(time.removeprefix("MONOTONIC_USEC=")) - seconds * 1_000_000) < 1 + seconds * 1e-9


@pytest.mark.parametrize(
    ("summary", "text"),
    [
        (Summary(1, 1, 1, 1), "1 frontend, 1 of 1 backends up, 1 open session"),
        (Summary(2, 0, 3, 0), "2 frontends, 0 of 3 backends up, 0 open sessions"),
    ],
)
def test_a_summary_is_for_people(summary: Summary, text: str) -> None:
    assert str(summary) == text

"""The admin side's service: its address, also while another program has that, and its streams."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent

from tcpbalance.config.admin import AdminConfig
from tcpbalance.config.paths import FilePath
from tcpbalance.control import admin_service
from tcpbalance.control.admin_service import AGAIN_EVERY, WARN_AFTER, AdminService
from tcpbalance.control.routes import ApiRoutes
from tcpbalance.net.binding import ListenError


@pytest.fixture
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


def texts(logged: Sequence[LogEvent], level: LogLevel) -> list[str]:
    return [formatEvent(event) for event in logged if event["log_level"] is level]


class HeldAddress:
    """An address that another program has."""

    def __init__(self) -> None:
        self.attempts = 0

    def bind(self, *args: Any) -> Any:
        self.attempts += 1
        raise ListenError("127.0.0.1:9000: is in use")


class MemoryStream:
    """A connection that has a stream."""

    ended = False

    def end_stream(self) -> None:
        self.ended = True


def at_once(work: Callable[[], Any]) -> Any:
    return maybeDeferred(work)


def test_an_address_that_stays_with_another_program_is_reported_once(
    monkeypatch: pytest.MonkeyPatch, logged: Sequence[LogEvent]
) -> None:
    clock, held = Clock(), HeldAddress()
    monkeypatch.setattr(admin_service, "bind", held.bind)
    config = AdminConfig(listen="127.0.0.1:9000")
    service = AdminService(clock, config, ApiRoutes([]), at_once, has_predecessor=True)
    service.startService()
    clock.pump([AGAIN_EVERY] * int(WARN_AFTER / AGAIN_EVERY - 2))
    assert (held.attempts > 10, len(logged)) == (True, 0)
    clock.pump([1.0] * 600)
    (warning,) = texts(logged, LogLevel.warn)
    assert warning == "admin: 127.0.0.1:9000: is in use; it does not listen yet, and goes on trying"
    assert (len(logged), held.attempts < 200) == (1, True)
    service.stopService()
    assert not clock.getDelayedCalls()


def test_streams_end_when_the_tokens_change(tmp_path: Path) -> None:
    token = tmp_path / "full"
    token.write_text("0123456789abcdef")
    token.chmod(0o600)
    config = AdminConfig(listen="127.0.0.1:9000", token_file=FilePath(token))
    service = AdminService(Clock(), config, ApiRoutes([]), at_once, has_predecessor=True)
    stream: Any = MemoryStream()
    service._factory.streaming.add(stream)
    service._tokens.prepare()()
    assert not stream.ended
    token.write_text("fedcba9876543210")
    service._tokens.prepare()()
    assert stream.ended


def test_an_address_that_cannot_be_had_is_said_to_be_the_admin_sides() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = AdminConfig(listen=f"127.0.0.1:{port}")
        service = AdminService(Clock(), config, ApiRoutes([]), at_once)
        with pytest.raises(
            ListenError, match=rf"^admin: cannot listen on 127\.0\.0\.1:{port}: address already"
        ):
            service.prepare()

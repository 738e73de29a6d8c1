"""The daemon's own log: levels, forms, one line an event, and a target that fails or stalls."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, get_args

import pytest
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure

from tcpbalance.cli.log_level import LEVELS
from tcpbalance.config.log import TRACE, LevelName, LogConfig
from tcpbalance.control.openapi_schemas import LOG, LOG_LEVEL
from tcpbalance.logs import log_stream
from tcpbalance.logs.daemon_log import DaemonLog
from tcpbalance.logs.daemon_log_format import json_line, logger_name, text_line, untimed_line
from tcpbalance.logs.dropped_lines import REPORTED_EVERY, DropReporter
from tcpbalance.logs.log_stream import LogStream

NOON = 1_780_000_000.25


class Target:
    """Keeps lines, as long as it works."""

    def __init__(self, *, is_journal: bool = False) -> None:
        self.is_journal = is_journal
        self.works = True
        self.text = ""

    def is_ready(self) -> bool:
        return self.works

    def write(self, lines: bytes) -> bool:
        assert self.works, "it was not ready"
        self.text += lines.decode()
        return True

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def event(text: str = "{what}", level: LogLevel = LogLevel.info, **values: Any) -> LogEvent:
    return {
        "log_format": text,
        "log_level": level,
        "log_namespace": "tcpbalance.pool.ejection.Ejections",
        "log_time": NOON,
        **values,
    }


def failure() -> Failure:
    try:
        raise ZeroDivisionError("of a peer\n2026-05-04T09:12:33+0000 [tcpbalance.pool#info] forged")
    except ZeroDivisionError:
        return Failure()


def logged(settings: LogConfig, *events: LogEvent, is_journal: bool = False) -> list[str]:
    target, log = Target(is_journal=is_journal), DaemonLog()
    log.follow(settings)
    log.write_to(target)
    for it in events:
        log(it)
    return target.lines


def test_text_is_as_twisted_has_it_with_the_name_of_the_package() -> None:
    (line,) = logged(LogConfig(), event("backend {name} is up", name="a"))
    assert re.fullmatch(
        r"2026-05-2\dT\d\d:\d\d:\d\d[+-]\d{4} \[tcpbalance\.pool#info\] backend a is up", line
    )


def test_a_json_line_has_the_values_of_the_text() -> None:
    values: dict[str, Any] = {
        "name": "a",
        "count": 3,
        "share": 0.5,
        "up": True,
        "hidden": "secret",
        "pool": object(),
    }
    (line,) = logged(LogConfig(format="json"), event("{name} {count} {share:g} {up} {pool}", **values))
    content = json.loads(line)
    message = content.pop("message")
    assert message.startswith("a 3 0.5 True <object")
    assert content == {
        "time": "2026-05-28T20:26:40.250Z",
        "level": "info",
        "logger": "tcpbalance.pool",
        "name": "a",
        "count": 3,
        "share": 0.5,
        "up": True,
    }


def test_a_value_does_not_take_the_place_of_what_each_line_has() -> None:
    line = json_line({**event("{level} {time} {message}"), "level": "x", "time": 1, "message": "y"})
    assert line is not None
    content = json.loads(line)
    assert (content["level"], content["message"]) == ("info", "x 1 y")
    assert content["time"].endswith("Z")


def test_what_json_has_no_form_for_is_left_out() -> None:
    line = json_line(event("{rate:g} {data!r} {it.place}", rate=float("inf"), data=b"\xff", it=Path()))
    assert line is not None
    assert json.loads(line).keys() == {"time", "level", "logger", "message"}


@pytest.mark.parametrize("form", ["text", "json", "journal"])
@pytest.mark.parametrize(
    "text",
    ["\n2026-05-04T09:12:33+0000 [tcpbalance.pool#info] forged", "\r", "\x1b[2J", "\x85", "\u2028", "\0"],
)
def test_what_a_peer_has_sent_stays_in_its_line(form: Any, text: str) -> None:
    (line,) = logged(LogConfig(format=form), event("cause {what}, {count} times", what=f"a{text}b", count=2))
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028]", line)
    if form == "json":
        assert json.loads(line)["what"] == f"a{text}b"
    else:
        assert line.endswith(f"cause a{text.encode('unicode_escape').decode()}b, 2 times")


def test_an_error_that_quotes_a_peer_is_one_line() -> None:
    (line,) = logged(LogConfig(), event("{error}", error=ValueError("a\nb")))
    assert line.endswith("] a\\nb")


def test_a_traceback_goes_on_in_lines_that_no_event_begins_with() -> None:
    it = event("a bug", LogLevel.critical, log_failure=failure())
    first, *more = logged(LogConfig(), it)
    assert first.endswith("[tcpbalance.pool#critical] a bug")
    assert more[0] == "\tTraceback (most recent call last):"
    assert all(line.startswith("\t") for line in more)
    (line,) = logged(LogConfig(format="json"), it)
    content = json.loads(line)
    assert content["message"] == "a bug"
    assert content["traceback"].startswith("Traceback (most recent call last):\n")


def test_what_cannot_be_formatted_is_logged_all_the_same() -> None:
    for form in ("text", "json", "journal"):
        (line,) = logged(LogConfig(format=form), event("{what", what="x"))
        assert "Unable to format" in line


def test_an_event_that_says_nothing_has_no_line() -> None:
    assert logged(LogConfig(), {}, event("")) == []
    assert logged(LogConfig(format="json"), {}, event("")) == []


def test_what_twisted_logs_in_its_old_way_is_logged_too() -> None:
    lines = logged(LogConfig(), {"log_format": "{log_text}", "log_text": "a\nb", "log_system": "-\n"})
    assert lines == ["- [-\\n] a", "\tb"]
    assert untimed_line({"log_format": "{log_io}", "log_io": "printed"}) == "[-#info] printed"
    assert text_line({"log_format": "x"}) == "- [-#info] x"


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warn", "error", "critical"]),
        ("info", ["info", "warn", "error", "critical"]),
        ("warn", ["warn", "error", "critical"]),
        ("error", ["error", "critical"]),
        ("critical", ["critical"]),
    ],
)
def test_levels(level: LevelName, shown: list[str]) -> None:
    events = [event("{what}", LogLevel.lookupByName(name), what=name) for name in LEVELS]
    lines = logged(LogConfig(level=level), *events)
    assert [line.rpartition(" ")[2] for line in lines] == shown


@pytest.mark.parametrize("level", LEVELS)
def test_traces_are_logged_whatever_the_level(level: LevelName) -> None:
    (line,) = logged(LogConfig(level=level), event("accepted", log_namespace=TRACE))
    assert line.endswith("[tcpbalance.trace#info] accepted")


def test_the_names_of_the_levels_are_the_same_everywhere() -> None:
    assert get_args(LevelName) == LEVELS == tuple(LOG_LEVEL["enum"])
    assert LOG["format"]["enum"] == ["text", "json", "journal"]
    assert {level.name for level in LogLevel.iterconstants()} == set(LEVELS)


class Unshown:
    """Must not be formatted."""

    def __str__(self) -> str:
        raise AssertionError("formatted")


def test_what_is_not_logged_is_not_formatted() -> None:
    assert logged(LogConfig(level="warn"), event("{what}", what=Unshown())) == []


def test_a_level_and_a_form_apply_from_the_next_line_on() -> None:
    target, log = Target(), DaemonLog()
    log(event("before there is a target"))
    log.write_to(target)
    log.follow(LogConfig(level="warn"))
    log(event("less"))
    log.follow(LogConfig(level="debug", format="json"))
    log(event("more", LogLevel.debug))
    (line,) = target.lines
    assert json.loads(line)["level"] == "debug"


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warn", 4), ("error", 3), ("critical", 2)]
)
def test_each_line_in_the_journal_has_its_priority(level: str, priority: int) -> None:
    it = event("a bug", LogLevel.lookupByName(level), log_failure=failure())
    lines = logged(LogConfig(level="debug"), it, is_journal=True)
    assert lines[0] == f"<{priority}>[tcpbalance.pool#{level}] a bug"
    assert all(line.startswith(f"<{priority}>\t") for line in lines[1:])
    assert logged(LogConfig(level="debug", format="journal"), it) == lines
    (line,) = logged(LogConfig(level="debug", format="json"), it, is_journal=True)
    assert json.loads(line.removeprefix(f"<{priority}>"))["message"] == "a bug"


def test_names_of_loggers_are_those_of_packages() -> None:
    assert logger_name("tcpbalance.net.resolver.resolver.Resolver") == "tcpbalance.net"
    assert logger_name("tcpbalance.balancer.Balancer") == "tcpbalance.balancer"
    assert logger_name("tcpbalance") == "tcpbalance"


def test_what_is_dropped_is_counted() -> None:
    target, log = Target(), DaemonLog()
    log.write_to(target)
    target.works = False
    log(event("lost"))
    log(event("lost"))
    target.works = True
    log(event("after them"))
    log(event("and after that"))
    texts = [line.partition("] ")[2] for line in target.lines]
    assert texts == ["lines of the log that were dropped: 2", "after them", "and after that"]


def test_what_is_dropped_is_not_formatted() -> None:
    target, log = Target(), DaemonLog()
    log.write_to(target)
    target.works = False
    for _ in range(2):
        log(event("{what}", what=Unshown()))
    target.works = True
    log(event("after them"))
    assert target.lines[0].endswith("lines of the log that were dropped: 2")


def test_what_is_dropped_is_reported_also_where_no_further_line_comes() -> None:
    target, log, clock = Target(), DaemonLog(), Clock()
    log.write_to(target)
    reporter = DropReporter(clock, log.report_dropped)
    reporter.startService()
    clock.advance(REPORTED_EVERY)
    target.works = False
    log(event("lost"))
    clock.advance(REPORTED_EVERY)
    target.works = True
    assert target.lines == []
    clock.advance(REPORTED_EVERY)
    clock.advance(REPORTED_EVERY)
    (line,) = target.lines
    assert line.endswith("[tcpbalance.logs#warn] lines of the log that were dropped: 1")
    reporter.stopService()
    assert not clock.getDelayedCalls()


# Streams


def write(target: LogStream, lines: bytes) -> bool:
    """Write as the log does."""
    return target.is_ready() and target.write(lines)


@pytest.fixture
def pipe() -> Iterator[tuple[int, IO[str]]]:
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        yield reader, stream
    with suppress(OSError):
        os.close(reader)


def test_a_reader_that_is_gone_is_no_error(pipe: tuple[int, IO[str]]) -> None:
    reader, stream = pipe
    os.close(reader)
    assert not write(LogStream(stream), b"lost\n")


def test_a_reader_that_stalls_is_waited_for_once(
    pipe: tuple[int, IO[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_stream, "MAX_LOG_WAIT", 0.05)
    reader, stream = pipe
    target = LogStream(stream)
    line = b"x" * 1000 + b"\n"
    begun = time.monotonic()
    sent = 0
    while write(target, line):
        sent += 1
    assert time.monotonic() - begun >= 0.05
    monkeypatch.setattr(log_stream, "MAX_LOG_WAIT", 3600)
    monkeypatch.setattr(log_stream, "WAITS_ANEW_AFTER", 0)
    assert sum(write(target, line) for _ in range(100)) == 0
    assert os.read(reader, 1 << 20) == line * sent
    assert write(target, line)


class SlowReader:
    """Reads a little at fixed times of a clock that only waiting and the test move.

    :ivar waits: when each wait began, and how long it took.
    """

    def __init__(self, descriptor: int, every: float) -> None:
        self._descriptor = descriptor
        self._every = every
        self._next = every
        self.now = 0.0
        self.read = b""
        self.waits: list[tuple[float, float]] = []

    def advance(self, seconds: float) -> None:
        self.now += seconds
        while self.now >= self._next:
            self._next += self._every
            self.read += os.read(self._descriptor, 4096)

    def wait(self, descriptor: int, milliseconds: int) -> bool:
        begun = self.now
        end = begun + milliseconds / 1000
        while not (found := log_stream.is_writable(descriptor, 0)) and self.now < end:
            self.advance(min(self._next, end) - self.now)
        if milliseconds:
            self.waits.append((begun, self.now - begun))
        return found


@pytest.mark.parametrize("every", [0.04, 0.09, 0.25, 11.0])
def test_a_slow_reader_costs_little_time_and_all_that_is_dropped_is_counted(
    pipe: tuple[int, IO[str]], every: float
) -> None:
    reader, stream = pipe
    slow, log = SlowReader(reader, every), DaemonLog()
    log.write_to(LogStream(stream, {}, lambda: slow.now, slow.wait))
    count = 6000
    for number in range(count):
        log(event("line {number} {more}", number=number, more="x" * 500))
        slow.advance(0.005)
    assert slow.waits
    for begun, _ in slow.waits:
        waited = sum(its for at, its in slow.waits if begun <= at < begun + log_stream.WAITS_ANEW_AFTER)
        assert waited <= log_stream.MAX_LOG_WAIT + 1e-6
    slow.read += os.read(reader, 1 << 20)
    log(event("the last"))
    slow.read += os.read(reader, 1 << 20)
    texts = [line.partition("] ")[2] for line in slow.read.decode().splitlines()]
    assert texts[-1] == "the last"
    said = "lines of the log that were dropped: "
    reports = [int(text.removeprefix(said)) for text in texts if text.startswith(said)]
    assert len([text for text in texts if text.startswith("line ")]) == count - sum(reports)
    assert sum(reports) > 0


def test_a_long_line_that_is_cut_short_is_ended_before_the_next(
    pipe: tuple[int, IO[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_stream, "MAX_LOG_WAIT", 0)
    reader, stream = pipe
    target = LogStream(stream)
    assert not write(target, b"x" * (1 << 20) + b"\n")
    assert set(os.read(reader, 1 << 20)) == set(b"x")
    assert write(target, b"next\n")
    assert os.read(reader, 1 << 20) == b"\nnext\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_no_error() -> None:
    with open("/dev/full", "w") as stream:
        assert not write(LogStream(stream), b"lost\n")


def test_a_process_without_standard_error_logs_nothing() -> None:
    assert not write(LogStream(None), b"lost\n")
    with open(os.devnull, "w") as stream:
        target = LogStream(stream)
    assert not write(target, b"lost\n")


def test_the_journal_is_known_by_its_inode(pipe: tuple[int, IO[str]]) -> None:
    _, stream = pipe
    status = os.fstat(stream.fileno())
    journal = f"{status.st_dev}:{status.st_ino}"
    assert LogStream(stream, {"JOURNAL_STREAM": journal}).is_journal
    assert not LogStream(stream, {"JOURNAL_STREAM": f"{journal}0"}).is_journal
    assert not LogStream(stream, {}).is_journal


def test_a_log_that_fails_takes_nothing_down(pipe: tuple[int, IO[str]]) -> None:
    reader, stream = pipe
    os.close(reader)
    log = DaemonLog()
    log.write_to(LogStream(stream))
    publisher = LogPublisher(log)
    for _ in range(3):
        Logger("tcpbalance.x", observer=publisher).error("lost")
    assert log._lines.count == 3

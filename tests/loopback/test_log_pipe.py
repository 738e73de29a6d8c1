"""What a worker logs comes to the supervisor by a pipe, whole or not at all, and the worker never waits."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

from support.watcher import Watcher
from tcpbalance.event import failure_of
from tcpbalance.logs.daemon_log import DaemonLog
from tcpbalance.logs.daemon_log_format import FIELDS, TRACEBACK
from tcpbalance.logs.log_stream import LogStream
from tcpbalance.workers import log_pipe
from tcpbalance.workers.log_pipe import MAX_LOG_LINE, LogReader, LogSender

WORKER = 3
PREFIX = "worker 3: "
STANDARD_ERROR = open(2, "w", closefd=False)  # noqa: SIM115 - for its number alone
NOT_UTF_8 = os.fsdecode(b"caf\xe9")


class Log:
    """A worker's end of the pipe and the supervisor's, with what that has logged.

    :ivar events: what was logged, in order.
    """

    def __init__(self) -> None:
        self.reactor = Watcher()
        self.reader, self.writer = LogReader.of(self.reactor, WORKER)
        self.alone = DaemonLog()
        self.alone.write_to(LogStream(STANDARD_ERROR))
        self.send = LogSender(self.writer, self.alone)
        self.events: list[LogEvent] = []

    def say(self, text: str, **keys: Any) -> None:
        self.send({"log_format": "{text}", "text": text, **keys})

    def received(self) -> list[str]:
        """Read all that has come, and give its text."""
        first, before = len(self.events), -1
        while before < len(self.events):
            before = len(self.events)
            self.reactor.turn()
        texts = [formatEvent(event) for event in self.events[first:]]
        assert all(text.startswith(PREFIX) for text in texts)
        return [text.removeprefix(PREFIX) for text in texts]

    def raw_line(self) -> bytes:
        """Read what has come, in the place of the supervisor."""
        return os.read(self.reader.fileno(), 1 << 20)


@pytest.fixture
def log() -> Iterator[Log]:
    made = Log()

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        made.events.append(event)

    globalLogPublisher.addObserver(observe)
    yield made
    globalLogPublisher.removeObserver(observe)
    made.reader.close()
    os.close(made.writer)
    assert made.reactor.is_idle


@contextmanager
def full_pipe() -> Iterator[int]:
    """The end for writing of a pipe that has no space."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        with suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(MAX_LOG_LINE))
        yield writer
    finally:
        os.close(reader)
        os.close(writer)


def test_lines_come_in_order_with_their_levels_and_names(log: Log) -> None:
    log.say("first", log_level=LogLevel.warn, log_namespace="tcpbalance.here")
    log.say("second")
    assert log.received() == ["first", "second"]
    described = [(event["log_level"], event["log_namespace"]) for event in log.events]
    assert described == [(LogLevel.warn, "tcpbalance.here"), (LogLevel.info, log_pipe.__name__)]


def test_a_failure_comes_with_its_traceback(log: Log) -> None:
    try:
        raise ZeroDivisionError("in a worker")
    except ZeroDivisionError as error:
        log.say("what failed", log_level=LogLevel.critical, log_failure=failure_of(error))
    assert log.received() == ["what failed"]
    traceback = log.events[-1][TRACEBACK]
    assert traceback.startswith("Traceback (most recent call last):")
    assert traceback.endswith("ZeroDivisionError: in a worker")


def test_values_come_with_the_text(log: Log) -> None:
    log.send({"log_format": "{name} {count} {it}", "name": "a\nb", "count": 2, "it": object(), "more": "x"})
    log.received()
    assert log.events[-1][FIELDS] == {"name": "a\nb", "count": 2, "worker": WORKER}


def test_the_end_of_a_long_traceback_is_kept(log: Log) -> None:
    log.say("what failed", **{TRACEBACK: "x" * 10 * MAX_LOG_LINE + "the cause"})
    assert len(log.raw_line()) <= MAX_LOG_LINE
    log.say("what failed", **{TRACEBACK: "x" * 10 * MAX_LOG_LINE + "the cause"})
    assert log.received() == ["what failed"]
    assert log.events[-1][TRACEBACK].startswith("...xxx")
    assert log.events[-1][TRACEBACK].endswith("xthe cause")


def test_what_finds_the_pipe_full_is_dropped_and_counted(log: Log) -> None:
    text, sent = "x" * 1000, 0
    while not log.send._lines.count:
        log.say(text)
        sent += 1
    log.say(text)
    log.say(text)
    assert log.received() == [text] * (sent - 1)
    log.say("after them")
    log.say("and after that")
    assert log.received() == ["lines of the log that were dropped: 3", "after them", "and after that"]


class Unshown:
    """Must not be formatted."""

    def __str__(self) -> str:
        raise AssertionError("formatted")


def test_what_is_dropped_is_not_formatted_and_reported_without_a_further_line(log: Log) -> None:
    while not log.send._lines.count:
        log.say("x" * 1000)
    log.send({"log_format": "{it}", "it": Unshown()})
    log.send.report_dropped()
    assert set("".join(log.received())) == {"x"}
    log.send.report_dropped()
    log.send.report_dropped()
    assert log.received() == ["lines of the log that were dropped: 2"]


@pytest.mark.parametrize("step", [1, 97, 1009, 2999])
def test_no_line_is_torn_where_the_pipe_is_nearly_full(log: Log, step: int) -> None:
    length = 0
    while not log.send._lines.count:
        length = length % (2 * MAX_LOG_LINE) + step
        log.say("x" * length)
    for text in log.received():
        assert set(text.removesuffix("...")) == {"x"}


@pytest.mark.parametrize("character", ["x", "\u00e9", "\U0001f600", '"', "\0", NOT_UTF_8[-1]])
@pytest.mark.parametrize("length", [MAX_LOG_LINE // 12, MAX_LOG_LINE - 20, MAX_LOG_LINE, 10 * MAX_LOG_LINE])
def test_a_long_line_is_cut_so_that_a_pipe_takes_it_whole(log: Log, character: str, length: int) -> None:
    log.say(character * length, log_namespace="\U0001f600" * 1000)
    line = log.raw_line()
    assert MAX_LOG_LINE // 3 < len(line) <= MAX_LOG_LINE
    assert line.endswith(b"\n")
    text = json.loads(line)[2]
    assert text in (character * length, character * (len(text) - 3) + "...")
    assert (len(text) < length) is (character * length != text)


def test_text_that_is_not_utf_8_comes_as_it_is(log: Log) -> None:
    log.say(NOT_UTF_8)
    log.send({"log_format": "{value}", "value": b"\xff"})
    assert log.received() == [NOT_UTF_8, str(b"\xff")]


def test_a_line_that_cannot_be_read_is_reported_and_the_next_one_is_read(log: Log) -> None:
    os.write(log.writer, b"\xff\xfe\n[1, 2]\n")
    log.say("the next one")
    assert log.received() == ["a line of the log cannot be read"] * 2 + ["the next one"]


def test_half_a_line_waits_for_the_other_half_but_not_where_it_is_too_long(log: Log) -> None:
    line = b'["info", "", "in two halves", {}, ""]\n'
    os.write(log.writer, line[:9])
    assert log.received() == []
    os.write(log.writer, line[9:] + b"x" * (MAX_LOG_LINE + 1))
    assert log.received() == ["in two halves"]
    os.write(log.writer, line)
    assert log.received() == ["in two halves"]


def test_lines_go_to_standard_error_when_the_supervisor_is_gone(
    log: Log, capfd: pytest.CaptureFixture[str]
) -> None:
    log.reader.close()
    log.say("first", log_level=LogLevel.error)
    log.say(NOT_UTF_8)
    log.say("x" * 2 * MAX_LOG_LINE)
    log.say("last")
    first, second, third, fourth = capfd.readouterr().err.splitlines()
    assert first.endswith(f" [tcpbalance.workers#error] worker (process {os.getpid()}): first")
    assert second.endswith(": caf\\udce9")
    assert MAX_LOG_LINE // 2 < len(third) < 2 * MAX_LOG_LINE
    assert fourth.endswith(": last")


def test_standard_error_is_not_waited_for_either(log: Log) -> None:
    log.reader.close()
    reader, writer = os.pipe()
    with full_pipe() as full, open(full, "w", closefd=False) as stream:
        log.alone.write_to(LogStream(stream))
        log.say("dropped")
        log.say("dropped as well")
    with os.fdopen(writer, "w") as stream:
        log.alone.write_to(LogStream(stream))
        log.say("after them")
    with os.fdopen(reader) as lines:
        texts = [line.partition("] ")[2] for line in lines]
    assert texts == [
        "lines of the log that were dropped: 2\n",
        f"worker (process {os.getpid()}): after them\n",
    ]


def test_the_end_of_a_worker_is_the_end_of_its_log() -> None:
    log = Log()
    log.say("its last line")
    os.close(log.writer)
    log.reactor.turn()
    log.reactor.turn()
    assert log.reactor.is_idle
    assert log.reader.fileno() < 0
    log.reader.close()


def test_what_has_come_is_logged_before_the_reader_closes(log: Log) -> None:
    log.say("its last line")
    log.reader.close()
    assert [formatEvent(event) for event in log.events] == [f"{PREFIX}its last line"]

"""Files are read again once they have changed and settled, when it is time, and when it is asked for."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, capturedLogs, formatEvent

from support.certificates import Authority
from support.tls_lines import frontend_tls
from tcpbalance.admission.access import Access
from tcpbalance.admission.lists import DenyFile
from tcpbalance.admission.refusal import Refusal
from tcpbalance.config.admission import AccessConfig
from tcpbalance.config.paths import FilePath
from tcpbalance.errors import TcpbalanceError
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.reload import (
    HANGS_AFTER,
    LOOK_AT_FILES_EVERY,
    RENEW_AFTER,
    TRY_AGAIN_AFTER,
    Part,
    Reloader,
)
from tcpbalance.threads import in_thread


class Files:
    """A part that keeps what its files say, and refuses what is broken.

    :ivar trouble: why nothing can be read for now, though the files are as they should be.
    :ivar warnings: what is wrong with the files in use.
    :ivar outdated: whether the time asks for them to be read again.
    """

    warnings: tuple[str, ...] = ()
    outdated = False

    def is_outdated(self) -> bool:
        return self.outdated

    def __init__(self, *paths: Path) -> None:
        self.files = tuple(map(str, paths))
        self.read: list[str] = []
        self.trouble = ""
        self.prepare()()

    def prepare(self) -> Callable[[], None]:
        text = " ".join(Path(file).read_text() for file in self.files)
        if self.trouble:
            raise TcpbalanceError(self.trouble)
        if "broken" in text:
            raise TcpbalanceError("this is broken")
        if "bug" in text:
            raise RuntimeError("this is a bug")
        return lambda: self.read.append(text)


@pytest.fixture
def cert(tmp_path: Path) -> Path:
    file = tmp_path / "web.pem"
    file.write_text("one")
    return file


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "web.key"
    file.write_text("key")
    return file


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def part(cert: Path, key: Path) -> Files:
    return Files(cert, key)


@pytest.fixture
def reloader(clock: Clock, part: Files) -> Iterator[Reloader]:
    made = Reloader(clock, [("frontend web", part)], execute)
    made.startService()
    yield made
    made.stopService()
    assert clock.getDelayedCalls() == []


@pytest.fixture(autouse=True)
def logged() -> Iterator[Sequence[LogEvent]]:
    with capturedLogs() as events:
        yield events


def look(clock: Clock, times: int = 1) -> None:
    """Let some looks go by."""
    clock.pump([LOOK_AT_FILES_EVERY] * times)


def written(logged: Sequence[LogEvent]) -> list[str]:
    """What the log says, each line with its level."""
    return [f"{event['log_level'].name}: {formatEvent(event)}" for event in logged]


# When files change


def test_a_change_is_taken_up_when_it_has_settled(
    reloader: Reloader, clock: Clock, cert: Path, part: Files
) -> None:
    look(clock, 3)
    assert part.read == ["one key"]
    cert.write_text("two, longer")
    look(clock)
    assert part.read == ["one key"], "it may still be written to"
    look(clock)
    assert part.read == ["one key", "two, longer key"]
    look(clock, 10)
    assert len(part.read) == 2


def test_a_certificate_and_its_key_are_replaced_one_after_the_other(
    reloader: Reloader, clock: Clock, cert: Path, key: Path, part: Files
) -> None:
    cert.write_text("two, longer")
    look(clock)
    key.write_text("another key")
    look(clock)
    assert len(part.read) == 1
    look(clock)
    assert part.read[1:] == ["two, longer another key"]


def test_a_file_that_takes_the_place_of_one_as_long_and_as_old(
    reloader: Reloader, clock: Clock, cert: Path, tmp_path: Path, part: Files
) -> None:
    new = tmp_path / "new.pem"
    new.write_text("two")
    new.replace(cert)
    look(clock, 2)
    assert part.read[1:] == ["two key"]


def test_a_link_to_a_folder_that_is_turned_to_another(clock: Clock, tmp_path: Path) -> None:
    """So secrets are replaced in Kubernetes: the link to the file itself stays as it is."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "web.pem").write_text(name)
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "web.pem").symlink_to("data/web.pem")
    part = Files(tmp_path / "web.pem")
    reloader = Reloader(clock, [("frontend web", part)], execute)
    reloader.startService()
    (tmp_path / "new").symlink_to("two")
    (tmp_path / "new").replace(tmp_path / "data")
    look(clock, 2)
    reloader.stopService()
    assert part.read == ["one", "two"]


def test_what_cannot_be_used_is_told_once_and_what_was_read_stays(
    reloader: Reloader, clock: Clock, cert: Path, part: Files, logged: Sequence[LogEvent]
) -> None:
    cert.write_text("broken")
    look(clock, 10)
    assert part.read == ["one key"]
    (line,) = written(logged)
    assert line == (
        "error: frontend web: files could not be read again, what was read before stays in use: "
        "this is broken"
    )


def test_it_is_read_again_when_it_was_mended(
    reloader: Reloader, clock: Clock, cert: Path, part: Files
) -> None:
    cert.write_text("broken")
    look(clock, 3)
    cert.write_text("mended now")
    look(clock, 2)
    assert part.read[1:] == ["mended now key"]


def test_it_is_tried_again_when_it_may_work_though_nothing_has_changed(
    reloader: Reloader, clock: Clock, cert: Path, part: Files
) -> None:
    part.trouble = "not valid before noon"
    cert.write_text("another")
    look(clock, 2)
    part.trouble = ""
    clock.advance(TRY_AGAIN_AFTER - LOOK_AT_FILES_EVERY)
    assert part.read == ["one key"]
    look(clock)
    assert part.read[1:] == ["another key"]
    look(clock, 200)
    assert len(part.read) == 2


def test_what_is_still_wrong_is_not_told_again_and_what_else_is_wrong_is(
    reloader: Reloader, clock: Clock, cert: Path, part: Files, logged: Sequence[LogEvent]
) -> None:
    for trouble, count in (("too early", 1), ("too many files", 2), ("", 3), ("too many files", 4)):
        part.trouble = trouble
        cert.write_text(f"another {count}")
        look(clock, 2)
        clock.pump([TRY_AGAIN_AFTER] * 5)
        assert len(logged) == count, written(logged)
    assert [line.rpartition(": ")[2] for line in written(logged) if line.startswith("error")] == [
        "too early",
        "too many files",
        "too many files",
    ]


def test_a_file_that_is_missing_for_a_while(
    reloader: Reloader, clock: Clock, cert: Path, part: Files
) -> None:
    cert.unlink()
    look(clock)
    cert.write_text("another")
    look(clock, 2)
    assert part.read[1:] == ["another key"]


def test_one_part_in_trouble_leaves_the_others_alone(
    clock: Clock, cert: Path, key: Path, logged: Sequence[LogEvent]
) -> None:
    first, second = Files(cert), Files(key)
    parts: list[tuple[str, Part]] = [("one", first), ("two", second)]
    reloader = Reloader(clock, parts, execute)
    reloader.startService()
    cert.write_text("a bug")
    key.write_text("another")
    look(clock, 2)
    reloader.stopService()
    assert (first.read, second.read) == (["one"], ["key", "another"])
    assert [event["log_level"] for event in logged] == [LogLevel.critical, LogLevel.info]


def test_what_was_read_again_is_told(
    reloader: Reloader, clock: Clock, cert: Path, part: Files, logged: Sequence[LogEvent]
) -> None:
    cert.write_text("another")
    look(clock, 2)
    assert written(logged) == [f"info: frontend web: read {', '.join(part.files)} again"]


# When it is time, and when it is asked for


def test_all_is_made_anew_after_half_a_day(reloader: Reloader, clock: Clock, part: Files) -> None:
    clock.advance(RENEW_AFTER - LOOK_AT_FILES_EVERY)
    look(clock)
    assert part.read == ["one key"] * 2
    look(clock, 10)
    assert len(part.read) == 2
    clock.advance(RENEW_AFTER)
    assert len(part.read) == 3


def test_a_change_puts_that_off(reloader: Reloader, clock: Clock, cert: Path, part: Files) -> None:
    clock.advance(RENEW_AFTER / 2)
    cert.write_text("another")
    look(clock, 2)
    clock.advance(RENEW_AFTER / 2)
    assert part.read == ["one key", "another key"]


def test_whoever_asks_is_not_kept_waiting(reloader: Reloader, cert: Path, part: Files) -> None:
    cert.write_text("another")
    reloader.reload()
    assert part.read == ["one key", "another key"]


def test_what_was_asked_for_is_not_done_again(
    reloader: Reloader, clock: Clock, cert: Path, part: Files
) -> None:
    cert.write_text("another")
    reloader.reload()
    look(clock, 5)
    assert len(part.read) == 2


def test_what_cannot_be_used_is_told_to_whoever_asks(
    reloader: Reloader, cert: Path, part: Files, logged: Sequence[LogEvent]
) -> None:
    cert.write_text("broken")
    reloader.reload()
    assert part.read == ["one key"]
    assert [event["log_level"] for event in logged] == [LogLevel.error]


# Time, and what it does to files


def test_what_is_out_of_date_is_told_at_the_start_and_once(
    clock: Clock, cert: Path, part: Files, logged: Sequence[LogEvent]
) -> None:
    part.warnings = ("web.pem expired", "old.pem expired")
    reloader = Reloader(clock, [("frontend web", part)], execute)
    reloader.startService()
    assert written(logged) == ["warn: frontend web: web.pem expired", "warn: frontend web: old.pem expired"]
    part.warnings = ("old.pem expired", "new.pem expired")
    cert.write_text("another")
    look(clock, 2)
    reloader.stopService()
    assert written(logged)[3:] == ["warn: frontend web: new.pem expired"]


def test_files_are_read_again_when_the_time_asks_for_it(
    reloader: Reloader, clock: Clock, part: Files, logged: Sequence[LogEvent]
) -> None:
    part.outdated = True
    look(clock)
    assert len(part.read) == 2
    part.outdated = False
    look(clock, 10)
    assert len(part.read) == 2


def test_what_the_time_asks_for_in_vain_is_not_tried_each_second(
    reloader: Reloader, clock: Clock, part: Files, logged: Sequence[LogEvent]
) -> None:
    part.outdated, part.trouble = True, "not valid before noon"
    look(clock, 10)
    assert len(written(logged)) == 1
    part.trouble = ""
    look(clock, 10)
    assert len(part.read) == 1
    clock.advance(TRY_AGAIN_AFTER)
    assert len(part.read) == 2


def test_what_the_time_asks_for_and_a_mistake_of_ours_prevents_is_not_tried_each_second(
    reloader: Reloader, clock: Clock, part: Files, cert: Path, logged: Sequence[LogEvent]
) -> None:
    cert.write_text("bug")
    part.outdated = True
    look(clock, 10)
    assert len(written(logged)) == 1
    clock.advance(TRY_AGAIN_AFTER)
    assert len(written(logged)) == 2
    # Once it has been read, the time is asked again.
    cert.write_text("another")
    look(clock, 3)
    assert len(part.read) > 2


# What it looks at


def test_with_nothing_to_look_at_it_does_not_look(clock: Clock) -> None:
    reloader = Reloader(clock, [], execute)
    reloader.startService()
    assert clock.getDelayedCalls() == []
    reloader.stopService()


def test_a_real_certificate_with_the_wrong_key_is_told_with_its_cause(
    clock: Clock, tmp_path: Path, logged: Sequence[LogEvent]
) -> None:
    authority = Authority.root()
    issued, other = (authority.issue(tmp_path, name, name) for name in ("web", "other"))
    reloader = Reloader(clock, [("frontend web", ServerTls(frontend_tls(issued)))], execute)
    reloader.startService()
    issued.key.write_bytes(other.key.read_bytes())
    look(clock, 2)
    reloader.stopService()
    assert f"the key in {issued.key} does not belong to the certificate in" in written(logged)[0]


# In a thread


class Thread:
    """Keeps what is to be read until the test lets it be read."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def __call__(self, work: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((work, done))
        return done

    def go_on(self) -> None:
        work, done = self.waiting.pop(0)
        execute(work).chainDeferred(done)


@pytest.fixture
def thread() -> Thread:
    return Thread()


@pytest.fixture
def threaded(clock: Clock, part: Files, thread: Thread) -> Iterator[Reloader]:
    made = Reloader(clock, [("frontend web", part)], thread)
    made.startService()
    yield made
    if made.running:
        made.stopService()
    assert clock.getDelayedCalls() == []


def test_what_is_read_in_a_thread_is_used_when_it_has_been_read(
    threaded: Reloader, thread: Thread, clock: Clock, cert: Path, part: Files
) -> None:
    cert.write_text("two, longer")
    look(clock, 5)
    assert len(thread.waiting) == 1, "once, however long it takes"
    assert part.read == ["one key"]
    thread.go_on()
    assert part.read == ["one key", "two, longer key"]
    look(clock, 5)
    assert thread.waiting == []


def test_a_reload_while_one_is_under_way_comes_once_after_it(
    threaded: Reloader, thread: Thread, part: Files
) -> None:
    for _ in range(4):
        threaded.reload()
    assert len(thread.waiting) == 1
    thread.go_on()
    assert len(thread.waiting) == 1
    thread.go_on()
    assert thread.waiting == []
    assert len(part.read) == 3


def test_a_reload_after_one_that_has_failed_comes_too(
    threaded: Reloader, thread: Thread, cert: Path, part: Files
) -> None:
    cert.write_text("broken")
    threaded.reload()
    threaded.reload()
    thread.go_on()
    cert.write_text("three")
    thread.go_on()
    assert part.read == ["one key", "three key"]


def test_a_change_while_it_is_read_is_taken_up_after_it(
    threaded: Reloader, thread: Thread, clock: Clock, cert: Path, part: Files
) -> None:
    threaded.reload()
    thread.go_on()
    threaded.reload()
    cert.write_text("two, longer")
    look(clock, 3)
    assert len(thread.waiting) == 1
    thread.waiting[0] = (lambda: lambda: part.read.append("what it read before"), thread.waiting[0][1])
    thread.go_on()
    look(clock, 2)
    thread.go_on()
    assert part.read[-2:] == ["what it read before", "two, longer key"]


def test_what_is_still_read_when_it_stops_is_not_used(
    threaded: Reloader, thread: Thread, part: Files, logged: Sequence[LogEvent]
) -> None:
    threaded.reload()
    threaded.reload()
    threaded.stopService()
    before = len(logged)
    thread.go_on()
    assert (part.read, thread.waiting, len(logged)) == (["one key"], [], before)


def test_after_a_stop_it_can_be_started_again(
    threaded: Reloader, thread: Thread, cert: Path, part: Files
) -> None:
    threaded.reload()
    threaded.stopService()
    threaded.startService()
    threaded.reload()
    cert.write_text("two")
    thread.go_on()
    assert part.read == ["one key"], "of the time before the stop"
    thread.go_on()
    assert part.read == ["one key", "two key"]


# Other parts


def test_a_part_that_stays_goes_on_and_so_does_its_read(
    threaded: Reloader, thread: Thread, clock: Clock, cert: Path, part: Files
) -> None:
    cert.write_text("two, longer")
    threaded.reload()
    threaded.watch([("frontend web", part)])
    thread.go_on()
    assert part.read == ["one key", "two, longer key"]
    look(clock, 5)
    assert thread.waiting == []


def test_a_change_that_has_not_settled_is_taken_up_after_other_parts_came(
    reloader: Reloader, clock: Clock, cert: Path, key: Path, part: Files
) -> None:
    cert.write_text("two, longer")
    look(clock)
    reloader.watch([("frontend other", Files(key)), ("frontend web", part)])
    look(clock)
    assert part.read == ["one key", "two, longer key"]


def test_a_file_that_changed_between_the_making_of_a_new_part_and_its_watch(
    reloader: Reloader, clock: Clock, key: Path
) -> None:
    new = Files(key)
    key.write_text("another")
    reloader.watch([("frontend web", new)])
    look(clock)
    assert new.read == ["key", "another"]
    look(clock, 10)
    assert len(new.read) == 2


def test_a_part_that_is_gone_is_read_no_more_and_its_read_is_not_used(
    threaded: Reloader, thread: Thread, clock: Clock, cert: Path, part: Files
) -> None:
    threaded.reload()
    threaded.watch([])
    cert.write_text("two, longer")
    thread.go_on()
    threaded.reload()
    look(clock, 10)
    assert (part.read, thread.waiting) == (["one key"], [])


def test_a_part_that_comes_before_the_start_is_watched_from_then_on(
    clock: Clock, cert: Path, key: Path
) -> None:
    part = Files(cert)
    reloader = Reloader(clock, [], execute)
    reloader.watch([("frontend web", part)])
    assert clock.getDelayedCalls() == []
    reloader.startService()
    cert.write_text("another")
    look(clock, 2)
    reloader.stopService()
    assert part.read == ["one", "another"]


def test_a_read_that_does_not_end_is_reported_once_and_ends_as_any_other(
    threaded: Reloader, thread: Thread, clock: Clock, cert: Path, part: Files, logged: Sequence[LogEvent]
) -> None:
    threaded.reload()
    look(clock, int(HANGS_AFTER) - 1)
    assert written(logged) == []
    look(clock, 100)
    files = ", ".join(part.files)
    (line,) = written(logged)
    assert line.startswith(f"warn: frontend web: reading {files} again has not ended for 10 s")
    thread.go_on()
    look(clock, 100)
    assert written(logged)[1:] == [f"info: frontend web: read {files} again"]
    threaded.reload()
    look(clock, int(HANGS_AFTER))
    assert "has not ended" in written(logged)[-1], "each read that hangs is reported"


def test_a_read_that_still_hangs_when_it_stops_is_not_reported_after_the_next_start(
    threaded: Reloader, clock: Clock, logged: Sequence[LogEvent]
) -> None:
    threaded.reload()
    threaded.stopService()
    threaded.startService()
    look(clock, 2 * int(HANGS_AFTER))
    assert written(logged) == []


def test_an_exception_in_a_look_does_not_end_the_looking(
    clock: Clock, part: Files, reloader: Reloader, cert: Path, logged: Sequence[LogEvent]
) -> None:
    def broken() -> bool:
        raise RuntimeError("this is a bug")

    part.is_outdated = broken  # type: ignore[method-assign]
    look(clock, 30)
    assert [event["count"] for event in logged if "log_failure" in event] == [1]
    del part.is_outdated
    cert.write_text("two, longer")
    look(clock, 2)
    assert part.read[1:] == ["two, longer key"]


def test_an_exception_in_a_look_at_one_part_leaves_the_others_alone(
    clock: Clock, tmp_path: Path, cert: Path, logged: Sequence[LogEvent]
) -> None:
    other = tmp_path / "other"
    other.write_text("one")
    bad, good = Files(other), Files(cert)

    def broken() -> bool:
        raise RuntimeError("this is a bug")

    bad.is_outdated = broken  # type: ignore[method-assign]
    reloader = Reloader(clock, [("frontend bad", bad), ("frontend good", good)], execute)
    reloader.startService()
    cert.write_text("two, longer")
    look(clock, 3)
    assert good.read == ["one", "two, longer"]
    assert [event["what"] for event in logged if "log_failure" in event] == [
        "the check of the files of frontend bad"
    ]
    reloader.stopService()


def test_where_no_thread_can_be_started_it_is_logged_and_tried_again_and_others_are_read(
    clock: Clock, cert: Path, part: Files, logged: Sequence[LogEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the limit of tasks of a systemd unit."""

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def start(thread: threading.Thread) -> None:
        started.append(thread)

    started: list[threading.Thread] = []
    reloader = Reloader(clock, [("frontend web", part), ("pool web", part)], in_thread(Reactor()))
    reloader.startService()
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    reloader.reload()
    assert [event["name"] for event in logged if "log_failure" in event] == ["frontend web", "pool web"]
    monkeypatch.setattr(threading.Thread, "start", start)
    look(clock, int(TRY_AGAIN_AFTER))
    assert len(started) == 2
    reloader.stopService()


class Reactor:
    """Takes what comes from threads."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[Any, ...]] = SimpleQueue()

    def callFromThread(self, *call: Any) -> None:
        self.calls.put(call)

    def run_one(self) -> None:
        function, *arguments = self.calls.get(timeout=10)
        function(*arguments)


def test_a_deny_file_that_is_a_pipe_which_nothing_writes_to_is_reported(
    clock: Clock, tmp_path: Path, logged: Sequence[LogEvent]
) -> None:
    deny = tmp_path / "deny"
    deny.write_text("192.0.2.0/24\n")
    config = AccessConfig(deny_file=FilePath(deny))
    admission: Any = SimpleNamespace(access=Access())
    reactor = Reactor()
    reloader = Reloader(clock, [("frontend web", DenyFile(admission, config))], in_thread(reactor))
    reloader.startService()
    deny.unlink()
    os.mkfifo(deny)
    reloader.reload()
    look(clock, int(HANGS_AFTER))
    (line,) = written(logged)
    assert f"reading {deny} again has not ended for 10 s" in line
    with open(deny, "w") as pipe:
        pipe.write("198.51.100.0/24\n")
    reactor.run_one()
    assert admission.access.refusal(bytes([198, 51, 100, 1])) is Refusal.DENIED
    reloader.stopService()


@pytest.mark.parametrize("fails", [False, True])
def test_a_thread_of_its_own_gives_its_result_to_the_reactors(fails: bool) -> None:
    reactor = Reactor()
    results: list[Any] = []

    def work() -> Any:
        results.append(threading.current_thread())
        if fails:
            raise LookupError("broken")
        return len

    in_thread(reactor)(work).addBoth(results.append)
    reactor.run_one()
    used, result = results
    assert used is not threading.current_thread()
    assert used.daemon
    assert result.check(LookupError) if fails else result is len
    used.join(10)

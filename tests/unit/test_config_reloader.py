"""The configuration file is read again: mistakes leave everything as it was, and requests are joined."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent

from support.configs import frontend, load_text
from support.sockets import fired
from tcpbalance import Balancer, Config
from tcpbalance.config_reader import read_config
from tcpbalance.config_reloader import MAX_LOOKS, ConfigReloader, read_settled
from tcpbalance.control.reloading import ReloadOutcome
from tcpbalance.net.binding import ListenError
from tcpbalance.net.resolver import LOOKUP_TIMEOUT
from tcpbalance.reload import HANGS_AFTER

LOCAL = frontend("").replace("0.0.0.0:5432", "127.0.0.1:0")


class LaterThread:
    """Calls what it is given when the test says so.

    :param clock: has the turn of the reactor in which a reload is reported.
    :ivar waiting: what has not been called yet.
    """

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.waiting: list[tuple[Any, Deferred[Any]]] = []
        self.begun = 0

    def __call__(self, work: Any, /) -> Deferred[Any]:
        self.begun += 1
        done: Deferred[Any] = Deferred()
        self.waiting.append((work, done))
        return done

    def finish(self) -> None:
        work, done = self.waiting.pop(0)
        try:
            result = work()
        except Exception:
            done.errback()
        else:
            done.callback(result)
        self._clock.advance(0)


class Bench:
    """A balancer of a file, whose time stands still."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "tcpbalance.toml"
        self.file.write_text(LOCAL)
        self.clock: Any = MemoryReactorClock()
        config = load_text(folder, LOCAL)
        self.balancer = Balancer.from_config(self.clock, config, clock=self.clock.seconds)
        self.balancer.startService()
        self.thread = LaterThread(self.clock)
        self.reloader = ConfigReloader(self.clock, str(self.file), self.balancer, self.thread, read_config)
        self.reloader.startService()

    @property
    def backlog(self) -> int:
        config = self.balancer.config
        assert config is not None
        return config.frontends["db"].backlog

    def write(self, backlog: int) -> None:
        self.file.write_text(LOCAL.replace('pool = "db"\n', f'pool = "db"\nbacklog = {backlog}\n'))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.reloader.stopService()
    made.balancer.stopService()
    assert made.clock.getDelayedCalls() == []


def logged(events: Any) -> str:
    return "\n".join(str(formatEvent(event)) for event in events)


HANGS = "has not ended for 10 s, everything stays as it was"


def errors_of(done: list[ReloadOutcome]) -> list[str]:
    return [outcome.error for outcome in done]


def test_the_balancer_serves_by_what_the_file_says_now(bench: Bench) -> None:
    bench.write(7)
    with capturedLogs() as events:
        done = fired(bench.reloader.reload())
        assert (done, bench.backlog) == ([], 4096)
        bench.thread.finish()
    assert (errors_of(done), bench.backlog) == ([""], 7)
    assert "reload: ~ frontends.db.backlog: 4096 -> 7 (in place)" in logged(events)
    assert f"reloaded {bench.file}: changes: 1 key" in logged(events)


@pytest.mark.parametrize("text", ["", "[frontends", LOCAL.replace("pool = ", "pol = "), "\0"])
def test_a_file_with_a_mistake_leaves_everything_as_it_was(bench: Bench, text: str) -> None:
    bench.file.write_text(text)
    with capturedLogs() as events:
        done = fired(bench.reloader.reload())
        bench.thread.finish()
    (error,) = errors_of(done)
    assert (error.startswith(f"{bench.file}:"), bench.backlog) == (True, 4096)
    assert f"{bench.file} is not used, everything stays as it was:\n{bench.file}:" in logged(events)
    bench.write(7)
    bench.reloader.reload()
    bench.thread.finish()
    assert bench.backlog == 7


def test_a_file_that_is_gone_leaves_everything_as_it_was(bench: Bench) -> None:
    bench.file.unlink()
    with capturedLogs() as events:
        bench.reloader.reload()
        bench.thread.finish()
    assert "cannot be read: No such file or directory" in logged(events)
    assert bench.backlog == 4096


def test_an_address_that_cannot_be_had_leaves_everything_as_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(config: Config) -> None:
        raise ListenError("frontend db: cannot listen on 127.0.0.1:1")

    monkeypatch.setattr(bench.balancer, "apply", refuse)
    with capturedLogs() as events:
        done = fired(bench.reloader.reload())
        bench.thread.finish()
    assert errors_of(done) == ["frontend db: cannot listen on 127.0.0.1:1"]
    assert "everything stays as it was:\nfrontend db: cannot listen on 127.0.0.1:1" in logged(events)


def test_what_nothing_foresees_is_logged_with_its_place(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(config: Config) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(bench.balancer, "apply", break_down)
    with capturedLogs() as events:
        done = fired(bench.reloader.reload())
        bench.thread.finish()
    assert errors_of(done) == ["the balancer has made a mistake; its log has the cause"]
    (failure,) = [event["log_failure"] for event in events if "log_failure" in event]
    assert failure.check(ZeroDivisionError)


def test_many_requests_are_joined_into_one_more(bench: Bench) -> None:
    done = [fired(bench.reloader.reload()) for _ in range(50)]
    bench.write(7)
    bench.thread.finish()
    bench.write(8)
    assert done == [[]] * 50
    bench.thread.finish()
    assert bench.thread.begun == 2
    assert ([*map(errors_of, done)], bench.backlog) == ([[""]] * 50, 8)


def test_a_reload_that_is_under_way_can_be_waited_for(bench: Bench) -> None:
    assert fired(bench.reloader.finish()) == [None]
    bench.reloader.reload()
    bench.reloader.reload()
    done = fired(bench.reloader.finish())
    bench.thread.finish()
    assert done == []
    bench.thread.finish()
    assert done == [None]


def test_a_read_that_hangs_is_not_used_once_nothing_waits_for_it(bench: Bench) -> None:
    bench.write(7)
    bench.reloader.reload()
    done = fired(bench.reloader.finish())
    bench.clock.advance(HANGS_AFTER)
    assert done == [None]
    bench.thread.finish()
    assert bench.backlog == 4096


def test_a_request_while_the_balancer_stops_does_nothing(bench: Bench) -> None:
    bench.write(7)
    done = fired(bench.reloader.reload())
    bench.reloader.reload()
    bench.balancer.stopService()
    bench.thread.finish()
    assert (done, bench.backlog, bench.thread.waiting) == ([None], 4096, [])
    assert fired(bench.reloader.reload()) == [None]
    assert bench.thread.begun == 1


def test_certificates_and_lists_are_read_with_each_request(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[None] = []
    monkeypatch.setattr(bench.balancer, "reload_files", lambda: reads.append(None))
    bench.file.write_text("a mistake")
    bench.reloader.reload()
    bench.reloader.reload()
    assert len(reads) == 2


def test_a_key_that_needs_a_restart_is_named(bench: Bench) -> None:
    bench.file.write_text('data_path = "portable"\n' + LOCAL)
    with capturedLogs() as events:
        bench.reloader.reload()
        bench.thread.finish()
    assert "data_path keeps its value until the next restart, which it needs" in logged(events)


def test_a_read_that_hangs_is_reported(bench: Bench) -> None:
    with capturedLogs() as events:
        bench.reloader.reload()
        bench.clock.advance(HANGS_AFTER)
    assert f"reading {bench.file} has not ended for 10 s" in logged(events)
    bench.write(7)
    bench.thread.finish()
    assert bench.backlog == 7, "nothing newer is known"


def test_a_request_after_a_read_that_hangs_reads_anew(bench: Bench) -> None:
    done = fired(bench.reloader.reload())
    bench.clock.advance(HANGS_AFTER)
    assert HANGS in errors_of(done)[0]
    hanging = bench.thread.waiting.pop()
    bench.write(7)
    again = fired(bench.reloader.reload())
    bench.thread.finish()
    assert (errors_of(again), bench.backlog) == ([""], 7)
    bench.write(8)
    bench.thread.waiting.append(hanging)
    bench.thread.finish()
    assert bench.backlog == 7, "it may be from before the last request"


def test_a_request_during_a_read_that_hangs_reads_anew_when_it_is_given_up(bench: Bench) -> None:
    done = [fired(bench.reloader.reload()) for _ in range(2)]
    bench.clock.advance(HANGS_AFTER)
    assert len(bench.thread.waiting) == 2
    hanging = bench.thread.waiting.pop(0)
    bench.write(7)
    bench.thread.finish()
    assert ([*map(errors_of, done)], bench.backlog) == ([[""]] * 2, 7)
    hanging[1].errback(ZeroDivisionError("too late to be of interest"))
    bench.clock.advance(HANGS_AFTER)
    assert bench.thread.waiting == []


def test_each_read_that_hangs_is_reported_and_the_next_one_is_not_kept_from_it(bench: Bench) -> None:
    with capturedLogs() as events:
        for _ in range(3):
            done = fired(bench.reloader.reload())
            bench.clock.advance(HANGS_AFTER)
            assert HANGS in errors_of(done)[0]
    assert logged(events).count("has not ended") == 3


def test_names_that_lead_back_are_looked_for_once_they_are_known(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Config] = []
    monkeypatch.setattr(
        "tcpbalance.config_reloader.warn_of_loops_by_name", lambda config, look_up: looked.append(config)
    )
    for backlog in (7, 8):
        bench.write(backlog)
        bench.reloader.reload()
        bench.thread.finish()
        bench.clock.advance(LOOKUP_TIMEOUT - 0.5)
    assert looked == []
    bench.clock.advance(0.5)
    assert looked == [bench.balancer.config]


def test_a_file_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "tcpbalance.toml"
    pieces = [LOCAL[: number * 20] for number in range(1, len(LOCAL) // 20 + 2)]

    def write_more(_: float) -> None:
        if pieces:
            file.write_text(pieces.pop(0))

    assert list(read_settled(str(file), pause=write_more).frontends) == ["db"]
    assert pieces == []


def test_a_file_that_never_rests_is_read_in_the_end(tmp_path: Path) -> None:
    file = tmp_path / "tcpbalance.toml"
    pauses: list[float] = []

    def write_more(seconds: float) -> None:
        pauses.append(seconds)
        file.write_text(LOCAL + "#" * len(pauses))

    assert list(read_settled(str(file), pause=write_more).frontends) == ["db"]
    assert len(pauses) == MAX_LOOKS

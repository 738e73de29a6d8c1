"""A place under any order of starts, stops, ends, replacements and answers: one process accepts clients at
most, and one does soon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from tcpbalance.workers.nursery_process import NoWorkerError
from tcpbalance.workers.place import (
    COLUMNS_A_PLACE,
    LATE_FACTOR,
    MAX_STARTING,
    PROVEN_AFTER,
    TAKES_OVER_WITHIN,
    Place,
)
from tcpbalance.workers.worker_process import Stage

NUMBER = 3


class MemoryProcess:
    """A process that does what the test says."""

    def __init__(self, column: int, nursery: MemoryNursery, on_end: Callable[[MemoryProcess], None]) -> None:
        self.column = column
        self.nursery = nursery
        self.stage = Stage.STARTING
        self.why_ended = ""
        self.reported = ""
        self.name = f"worker {NUMBER}:"
        self.is_killed = False
        self.is_stopped = False
        self.is_greeted = True
        self._on_end = on_end

    @property
    def drains(self) -> bool:
        return self.stage >= Stage.HANDING_OVER

    def start(self) -> None:
        if not self.nursery.forks:
            self.end("cannot be forked")

    def end(self, why: str) -> None:
        self.why_ended = self.reported = why
        self._on_end(self)

    def accept(self) -> None:
        assert self.stage is Stage.READY
        self.stage = Stage.SERVING

    def hand_over(self) -> None:
        assert self.stage < Stage.HANDING_OVER
        self.stage = Stage.HANDING_OVER

    def drain(self) -> None:
        self.stage = Stage.DRAINING

    def kill(self, why: str) -> None:
        self.is_killed = True


class MemoryNursery:
    """A nursery that forks, or not."""

    def __init__(self, forks: bool = True) -> None:
        self.forks = forks


class Scene:
    """A place on a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.served = 0
        self.lacks_descriptors = False
        self.place = Place(self.clock, NUMBER, cast(Any, self.make), lambda: 0.5, self.on_serving)

    def make(self, number: int, column: int, nursery: MemoryNursery) -> MemoryProcess:
        assert number == NUMBER
        if self.lacks_descriptors:
            raise OSError(24, "Too many open files")
        return MemoryProcess(column, nursery, lambda ended: self.place.has_ended(cast(Any, ended)))

    def on_serving(self, process: object, before: object) -> None:
        self.served += 1

    @property
    def processes(self) -> list[MemoryProcess]:
        return cast(list[MemoryProcess], self.place.processes)

    def starting(self) -> int:
        """Count those that may serve one day, where none does yet."""
        current = self.place.current()
        return len(current) if all(process.stage is Stage.STARTING for process in current) else 0

    def end_killed_ones(self) -> None:
        for process in list(self.processes):
            if process.is_killed:
                process.end("was killed")

    def stages(self) -> list[Stage]:
        return [process.stage for process in self.processes]

    def begin(self, nursery: MemoryNursery) -> None:
        self.place.begin(cast(Any, nursery))

    def replace(self, nursery: MemoryNursery) -> list[Any]:
        """Have it replaced; give what comes of it."""
        outcome: list[Any] = []
        self.place.replace(cast(Any, nursery)).addBoth(outcome.append)
        return outcome

    def answer(self, process: MemoryProcess) -> None:
        """Let a process do what comes next."""
        following = {Stage.STARTING: Stage.READY, Stage.HANDING_OVER: Stage.DRAINING}
        if process.stage in following and not process.is_stopped:
            process.stage = following[process.stage]
            self.place.has_changed(cast(Any, process))


class Machine(RuleBasedStateMachine):
    """See the module."""

    @initialize()
    def begin(self) -> None:
        self.scene = Scene()
        self.nurseries = [MemoryNursery()]
        self.scene.begin(self.nurseries[0])
        self.outcomes: list[list[Any]] = []

    @rule(forks=st.booleans())
    def another_nursery(self, forks: bool) -> None:
        self.nurseries.append(MemoryNursery(forks))
        self.scene.begin(self.nurseries[-1])

    @rule(data=st.data())
    def a_nursery_ends(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.nurseries)).forks = False

    @precondition(lambda self: self.scene.processes)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self.scene.answer(data.draw(st.sampled_from(self.scene.processes)))

    @precondition(lambda self: self.scene.processes)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.scene.processes)).end("was ended")

    @precondition(lambda self: self.scene.processes)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """One drains without being asked."""
        process = data.draw(st.sampled_from(self.scene.processes))
        if not process.drains:
            process.stage = Stage.DRAINING
            self.scene.place.has_changed(cast(Any, process))

    @precondition(lambda self: self.scene.served)
    @precondition(lambda self: Stage.STARTING in self.scene.stages())
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """One that starts is stopped; only one at a time, and not the first of all, of which none knows how
        long it takes."""
        starting = [process for process in self.scene.processes if process.stage is Stage.STARTING]
        if not any(process.is_stopped for process in self.scene.processes):
            data.draw(st.sampled_from(starting)).is_stopped = True

    @rule(seconds=st.sampled_from([0.0, 0.1, PROVEN_AFTER, TAKES_OVER_WITHIN]))
    def advance(self, seconds: float) -> None:
        self.scene.clock.advance(seconds)
        self.scene.end_killed_ones()

    @rule(lacks=st.booleans())
    def descriptors(self, lacks: bool) -> None:
        self.scene.lacks_descriptors = lacks

    @rule(forks=st.booleans())
    def replace(self, forks: bool) -> None:
        self.nurseries.append(MemoryNursery(forks))
        self.outcomes.append(self.scene.replace(self.nurseries[-1]))

    @invariant()
    def holds(self) -> None:
        scene = self.scene
        stages = scene.stages()
        assert stages.count(Stage.SERVING) <= 1
        assert len(stages) <= COLUMNS_A_PLACE
        columns = [process.column for process in scene.processes]
        assert len({*columns}) == len(columns)
        assert {*columns} <= {*range(NUMBER * COLUMNS_A_PLACE, (NUMBER + 1) * COLUMNS_A_PLACE)}
        current = scene.place.current()
        calls: Sequence[Any] = scene.clock.getDelayedCalls()
        pauses = [call for call in calls if call.func == scene.place._fork]
        assert len(pauses) <= 1
        assert len(current) <= MAX_STARTING + (scene.place._successor is not None)
        may_have_another = scene.starting() < MAX_STARTING and not scene.place.is_full
        assert bool(pauses) == (may_have_another and scene.starting() == len(current))
        if scene.place.is_serving:
            # Of clients that are reported, only those learn that were forked later.
            assert current[0].stage is Stage.SERVING
            assert current[1:] in ([], [scene.place._successor])
        assert sum(not outcome for outcome in self.outcomes) <= 1
        for outcome in self.outcomes:
            for one in outcome:
                assert one is None or one.check(NoWorkerError)

    def teardown(self) -> None:
        scene = self.scene
        self.nurseries.append(MemoryNursery())
        scene.lacks_descriptors = False
        scene.begin(self.nurseries[-1])
        for process in list(scene.processes):
            if process.drains:
                process.end("its sessions have ended")
        # One that is stopped as it starts does not keep others from serving.
        self.go_on(int(LATE_FACTOR * scene.place._start_took) + 10)
        assert scene.place.is_serving
        for process in list(scene.processes):
            if process.is_stopped:
                process.end("has not answered")
        self.go_on(int(LATE_FACTOR * scene.place._start_took) + 10)
        assert scene.place.is_serving
        assert all(self.outcomes)
        scene.place.close()
        for process in list(scene.processes):
            process.end("")
        assert scene.place.closed.called
        assert scene.clock.getDelayedCalls() == []

    def go_on(self, seconds: int) -> None:
        for _ in range(seconds):
            self.scene.clock.advance(1)
            self.scene.end_killed_ones()
            for process in list(self.scene.processes):
                self.scene.answer(process)


TestPlace = Machine.TestCase
TestPlace.settings = settings(stateful_step_count=40)


def serving() -> tuple[Scene, MemoryNursery]:
    scene, nursery = Scene(), MemoryNursery()
    scene.begin(nursery)
    scene.answer(scene.processes[0])
    assert scene.stages() == [Stage.SERVING]
    return scene, nursery


def test_the_next_one_waits_until_the_one_before_has_handed_over() -> None:
    scene, _ = serving()
    outcome = scene.replace(MemoryNursery())
    assert scene.stages() == [Stage.SERVING, Stage.STARTING]
    scene.answer(scene.processes[1])
    assert scene.stages() == [Stage.HANDING_OVER, Stage.READY]
    assert not outcome
    scene.answer(scene.processes[0])
    assert scene.stages() == [Stage.DRAINING, Stage.SERVING]
    assert outcome == [None]
    assert scene.served == 2


def test_the_one_before_may_end_as_it_hands_over() -> None:
    scene, _ = serving()
    outcome = scene.replace(MemoryNursery())
    scene.answer(scene.processes[1])
    scene.processes[0].end("was killed")
    assert scene.stages() == [Stage.SERVING]
    assert outcome == [None]


def test_one_that_does_not_become_ready_is_killed_and_the_one_before_goes_on() -> None:
    scene, _ = serving()
    outcome = scene.replace(MemoryNursery())
    scene.clock.advance(TAKES_OVER_WITHIN)
    assert scene.processes[1].is_killed
    scene.processes[1].end("it hangs")
    assert scene.stages() == [Stage.SERVING]
    (failure,) = outcome
    assert isinstance(failure, Failure)
    assert str(failure.value) == f"worker {NUMBER}: it hangs"


def test_what_follows_on_a_failed_replacement_is_of_the_nursery_before() -> None:
    scene, nursery = serving()
    scene.replace(MemoryNursery())
    scene.processes[1].end("it is broken")
    scene.clock.advance(PROVEN_AFTER)
    scene.processes[0].end("was killed")
    scene.clock.advance(0)
    assert scene.processes[0].nursery is nursery


def test_what_follows_on_a_replacement_is_of_the_other_nursery() -> None:
    scene, _ = serving()
    other = MemoryNursery()
    scene.replace(other)
    scene.answer(scene.processes[1])
    scene.answer(scene.processes[0])
    scene.processes[1].end("was killed")
    scene.clock.advance(PROVEN_AFTER)
    assert scene.processes[1].nursery is other


def test_one_that_is_replaced_twice_at_once_is_replaced_once() -> None:
    scene, _ = serving()
    first, second = scene.replace(MemoryNursery()), scene.replace(MemoryNursery())
    assert not first
    (failure,) = second
    assert "cannot be replaced now" in str(failure.value)


def test_one_that_has_served_for_a_while_is_replaced_at_once() -> None:
    scene, _ = serving()
    scene.clock.advance(PROVEN_AFTER)
    scene.processes[0].end("was killed")
    scene.clock.advance(0)
    assert scene.stages() == [Stage.STARTING]


def replaced_by_one_that_is_stopped() -> tuple[Scene, MemoryNursery, list[Any]]:
    """A worker is killed after a while; the one that is to take over from it was stopped as it started."""
    scene, nursery = serving()
    scene.clock.advance(PROVEN_AFTER)
    outcome = scene.replace(MemoryNursery())
    scene.processes[1].is_stopped = True
    scene.clock.advance(PROVEN_AFTER)
    scene.processes[0].end("was killed")
    return scene, nursery, outcome


def test_another_one_serves_where_one_is_killed_and_its_successor_is_stopped(lines: list[str]) -> None:
    scene, nursery, outcome = replaced_by_one_that_is_stopped()
    scene.clock.advance(0)
    assert scene.stages() == [Stage.STARTING, Stage.STARTING]
    stopped, another = scene.processes
    assert another.nursery is nursery
    scene.answer(another)
    assert another.stage is Stage.SERVING
    assert stopped.is_killed
    (failure,) = outcome
    assert "another one was ready before" in str(failure.value)
    assert scene.served == 2
    scene.end_killed_ones()
    assert scene.stages() == [Stage.SERVING]
    assert scene.clock.getDelayedCalls() == []
    late = "its process is not ready to accept clients in time"
    assert f"worker {NUMBER}: {late}; its clients wait, and it is tried again" in lines


def test_a_successor_that_is_ready_first_serves_and_the_other_one_is_ended() -> None:
    scene, _, outcome = replaced_by_one_that_is_stopped()
    scene.clock.advance(0)
    successor, another = scene.processes
    successor.is_stopped = False
    scene.answer(successor)
    assert successor.stage is Stage.SERVING
    assert another.is_killed
    assert outcome == [None]


def test_a_successor_that_has_just_been_started_has_the_time_that_starts_take() -> None:
    scene, _ = serving()
    scene.clock.advance(PROVEN_AFTER)
    scene.replace(MemoryNursery())
    scene.processes[0].end("was killed")
    scene.clock.advance(0.05)
    assert scene.stages() == [Stage.STARTING]
    scene.answer(scene.processes[0])
    assert scene.stages() == [Stage.SERVING]


def test_others_are_started_beside_late_ones_after_longer_and_longer_pauses(lines: list[str]) -> None:
    scene, _ = serving()
    scene.clock.advance(PROVEN_AFTER)
    scene.processes[0].end("was killed")
    scene.clock.advance(0)
    pauses = []
    while calls := scene.clock.getDelayedCalls():
        (call,) = calls
        pauses.append(call.getTime() - scene.clock.seconds())
        scene.clock.advance(pauses[-1])
    assert scene.stages() == [Stage.STARTING] * MAX_STARTING
    assert pauses == sorted(pauses)
    assert 0.1 < pauses[0] < 1
    scene.answer(scene.processes[1])
    scene.end_killed_ones()
    assert scene.stages() == [Stage.SERVING]
    assert len(lines) == 4, lines


def test_it_is_not_late_that_takes_as_long_as_the_one_before() -> None:
    scene, nursery = Scene(), MemoryNursery()
    scene.begin(nursery)
    scene.clock.advance(5)
    assert scene.stages() == [Stage.STARTING]
    scene.answer(scene.processes[0])
    scene.clock.advance(PROVEN_AFTER)
    scene.processes[0].end("was killed")
    scene.clock.advance(0)
    scene.clock.advance(10)
    assert scene.stages() == [Stage.STARTING]
    scene.clock.advance(5)
    assert scene.stages() == [Stage.STARTING] * 2


def test_one_that_was_stopped_for_a_while_does_not_count_for_what_starts_take() -> None:
    scene, _ = serving()
    scene.clock.advance(PROVEN_AFTER)
    outcome = scene.replace(MemoryNursery())
    scene.clock.advance(TAKES_OVER_WITHIN - 1)
    scene.answer(scene.processes[1])
    scene.answer(scene.processes[0])
    assert outcome == [None]
    scene.clock.advance(PROVEN_AFTER)
    scene.processes[1].end("was killed")
    scene.clock.advance(0)
    scene.clock.advance(1)
    assert scene.stages() == [Stage.DRAINING, Stage.STARTING, Stage.STARTING]


def test_the_same_reason_is_reported_once_and_then_once_a_minute(lines: list[str]) -> None:
    scene, nursery = serving()
    nursery.forks = False
    scene.processes[0].end("was killed")
    for _ in range(150):
        scene.clock.advance(1)
    waits = "its clients wait, and it is tried again"
    assert lines == [
        f"worker {NUMBER}: was killed; {waits}",
        f"worker {NUMBER}: cannot be forked; {waits}",
        f"worker {NUMBER} does not serve yet: cannot be forked; {waits}",
        f"worker {NUMBER} does not serve yet: cannot be forked; {waits}",
    ]
    nursery.forks = True
    scene.clock.advance(2)
    scene.answer(scene.processes[0])
    scene.clock.advance(PROVEN_AFTER)
    nursery.forks = False
    scene.processes[0].end("cannot be forked")
    assert lines[4:] == [f"worker {NUMBER}: cannot be forked; {waits}"]


def test_no_client_waits_for_one_that_another_one_serves_beside(lines: list[str]) -> None:
    scene, _ = serving()
    for _ in range(2):
        scene.replace(MemoryNursery(forks=False))
    assert lines == [f"worker {NUMBER}: cannot be forked"] * 2


def test_descriptors_may_be_lacking_for_a_while(lines: list[str]) -> None:
    scene, _ = serving()
    scene.lacks_descriptors = True
    (failure,) = scene.replace(MemoryNursery())
    assert str(failure.value).startswith(f"worker {NUMBER} cannot be started: too many open files: raise")
    assert scene.stages() == [Stage.SERVING]
    scene.processes[0].end("was killed")
    scene.clock.advance(5)
    assert scene.stages() == []
    (line,) = lines[1:]
    assert line.startswith(f"worker {NUMBER} cannot be started: too many open files: raise the limit")
    scene.lacks_descriptors = False
    scene.clock.advance(5)
    assert scene.stages() == [Stage.STARTING]


def test_pauses_between_those_that_end_early_become_longer() -> None:
    scene, _ = serving()
    pauses = []
    for _ in range(8):
        scene.processes[0].end("was killed")
        (call,) = scene.clock.getDelayedCalls()
        pauses.append(call.getTime() - scene.clock.seconds())
        scene.clock.advance(pauses[-1])
    assert pauses == sorted(pauses)
    assert 0 < pauses[0] <= 0.1
    assert 1 < pauses[-1] <= 2

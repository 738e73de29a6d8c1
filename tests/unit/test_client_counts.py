"""Connections of a client stay counted when its worker is replaced, whatever ends meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from twisted.internet.task import Clock

from tcpbalance.admission.clients import group
from tcpbalance.admission.lists import make_admission
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.workers.client_counts import ClientCounts, ClientsOfPlace
from tcpbalance.workers.messages import MAX_MESSAGE, Message
from tcpbalance.workers.open_clients import CLIENTS_A_MESSAGE, OpenClients, in_messages

LIMIT = 3
FRONTENDS = ("web", "mail")
CLIENTS = (*(bytes([192, 0, 2, number]) for number in range(3)), b"\x20\x01\x0d\xb8" + b"\x01" * 12)


class Worker:
    """A worker without sockets, and both directions of its messages."""

    def __init__(self, place: int) -> None:
        self.place, self.column = place, 0
        self.clock = Clock()
        self.accepts = False
        # As the supervisor sees it: it was told to hand over, and has said that it has.
        self.hands_over = False
        self.has_handed_over = False
        self.sessions: list[tuple[str, bytes]] = []
        self.to_worker: deque[Mapping[str, Any]] = deque()
        self.to_supervisor: deque[Mapping[str, Any]] = deque()
        self.controls = {name: self.control() for name in FRONTENDS}
        self.clients = ClientsOfPlace(lambda: self.controls, self.to_supervisor.append, self.clock)

    def control(self) -> Any:
        return make_admission(None, LimitsConfig(connections_per_client=LIMIT), self.clock.seconds)

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        self.to_worker.append(content)

    def read(self) -> None:
        """Take one message."""
        content = self.to_worker.popleft()
        if "accept" in content:
            self.accepts = True
        elif "hand_over" in content:
            self.accepts = False
            self.clients.report()
            self.to_supervisor.append({"handed_over": True})
        else:
            self.clients.note(Message(content))

    def admit(self, session: tuple[str, bytes]) -> bool:
        frontend, client = session
        admitted = self.controls[frontend].admit(client) is None
        if admitted:
            self.sessions.append(session)
        return admitted

    def end(self, session: tuple[str, bytes]) -> None:
        frontend, client = session
        self.sessions.remove(session)
        self.controls[frontend].release(client)

    def counted(self, frontend: str, client: bytes) -> int:
        counts: dict[bytes, int] = dict(self.controls[frontend].clients.open_counts())
        return counts.get(group(client), 0)


class Machine(RuleBasedStateMachine):
    """Two places, whose workers are replaced and killed in any order, before clients that never pause."""

    @initialize()
    def begin(self) -> None:
        self.counts = ClientCounts()
        self.workers: list[Worker] = []
        for place in range(2):
            self.start(place)
            self.workers[-1].send({"accept": True})

    def start(self, place: int) -> None:
        worker = Worker(place)
        self.counts.greet(worker)
        self.workers.append(worker)

    def of_place(self, place: int) -> list[Worker]:
        return [worker for worker in self.workers if worker.place == place]

    def draw(self, data: st.DataObject) -> Worker:
        return data.draw(st.sampled_from(self.workers))

    @rule(data=st.data(), frontend=st.sampled_from(FRONTENDS), client=st.sampled_from(CLIENTS))
    def connect(self, data: st.DataObject, frontend: str, client: bytes) -> None:
        worker = self.workers[-1] if self.workers[-1].accepts else self.draw(data)
        if worker.accepts:
            worker.admit((frontend, client))

    @rule(data=st.data())
    def disconnect(self, data: st.DataObject) -> None:
        worker = self.draw(data)
        if worker.sessions:
            worker.end(data.draw(st.sampled_from(worker.sessions)))

    @rule(data=st.data())
    def turn(self, data: st.DataObject) -> None:
        self.draw(data).clock.advance(0)

    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        worker = self.draw(data)
        if worker.to_worker:
            worker.read()

    @rule(data=st.data())
    def note(self, data: st.DataObject) -> None:
        worker = self.draw(data)
        if worker.to_supervisor:
            self.take(worker)

    def take(self, worker: Worker) -> None:
        content = worker.to_supervisor.popleft()
        if "handed_over" in content:
            worker.has_handed_over = True
            self.of_place(worker.place)[-1].send({"accept": True})
        else:
            self.counts.note(worker, Message(content))

    @rule(place=st.integers(0, 1))
    def replace(self, place: int) -> None:
        """Only one that accepts is replaced, as in a place."""
        present = self.of_place(place)[-1]
        if present.accepts and not present.hands_over:
            self.start(place)
            present.hands_over = True
            present.send({"hand_over": True})

    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        worker = self.draw(data)
        self.workers.remove(worker)
        self.counts.has_ended(worker)
        of_place = self.of_place(worker.place)
        if not of_place or of_place[-1].hands_over:
            self.start(worker.place)
            of_place = self.of_place(worker.place)
        if len(of_place) < 2 or of_place[-2].has_handed_over:
            of_place[-1].send({"accept": True})

    @rule(place=st.integers(0, 1), frontend=st.sampled_from(FRONTENDS))
    def reload(self, place: int, frontend: str) -> None:
        """Limits that are new count from then on: what was open before is in no count any more."""
        present = self.of_place(place)[-1]
        if present.accepts and not any(
            frontend == name for worker in self.workers for name, _ in worker.sessions
        ):
            present.controls[frontend] = present.control()

    @invariant()
    def never_more_than_the_limit(self) -> None:
        for place in range(2):
            sessions = [session for worker in self.of_place(place) for session in worker.sessions]
            assert all(sessions.count(session) <= LIMIT for session in sessions)

    def teardown(self) -> None:
        while any(it.to_worker or it.to_supervisor or it.clock.getDelayedCalls() for it in self.workers):
            for worker in self.workers:
                worker.clock.advance(0)
                while worker.to_supervisor:
                    self.take(worker)
                while worker.to_worker:
                    worker.read()
        for place in range(2):
            *before, present = self.of_place(place)
            sessions = [session for worker in (*before, present) for session in worker.sessions]
            for frontend in FRONTENDS:
                for client in CLIENTS:
                    assert present.counted(frontend, client) == sessions.count((frontend, client))


TestCounts = Machine.TestCase
TestCounts.settings = settings(stateful_step_count=60)


def test_what_is_sent_at_once_has_a_bound() -> None:
    changes = {b"\xff".hex() * 8 + f"{number:08x}": -1_000_000 for number in range(CLIENTS_A_MESSAGE + 1)}
    first, second = in_messages("a" * 1000, changes)
    assert len(str(first)) < MAX_MESSAGE
    assert first["clients"]["changes"] | second["clients"]["changes"] == changes


def test_counts_do_not_become_negative() -> None:
    counts = OpenClients()
    assert counts.change("web", {"c0000201": 2, "c0000202": -1}) == {"c0000201": 2}
    assert counts.change("web", {"c0000201": -3}) == {"c0000201": -2}
    assert not counts
    assert list(counts.all()) == []


def test_a_frontend_that_is_gone_or_without_limits_is_no_mistake() -> None:
    worker = Worker(0)

    def content(change: int) -> dict[str, Any]:
        return {"clients": {"frontend": "web", "changes": {"c0000201": change}}}

    worker.clients.note(Message(content(2)))
    before = worker.controls.pop("web")
    for change in (1, -2):
        worker.clients.note(Message(content(change)))
    worker.controls["web"] = worker.control()
    worker.clients.note(Message(content(-1)))
    assert worker.counted("web", b"\xc0\x00\x02\x01") == 0
    assert dict(before.clients.open_counts()) == {b"\xc0\x00\x02\x01": 2}


def test_a_worker_that_is_gone_reports_nothing() -> None:
    counts, worker = ClientCounts(), Worker(0)
    counts.has_ended(worker)
    counts.greet(worker)
    counts.has_ended(worker)
    assert not worker.to_worker


def test_clients_of_one_place_are_none_of_another() -> None:
    counts, workers = ClientCounts(), [Worker(0), Worker(1), Worker(0)]
    for worker in workers:
        counts.greet(worker)
    report = Message({"clients": {"frontend": "web", "changes": {"c0000201": 1}}})
    counts.note(workers[0], report)
    assert [len(worker.to_worker) for worker in workers] == [0, 0, 1]

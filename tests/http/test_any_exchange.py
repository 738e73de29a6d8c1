"""Whatever client and backends do, and in whatever order: each response is that of its request, and whole.

Requests and responses carry their number. A reader that takes a message for whole has got all of it, a
request that must not be repeated comes to backends once, and afterwards nothing is left.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import Any

import pytest
from attrs import define, field
from hypothesis import given, settings
from hypothesis import strategies as st

from support.bulk_thresholds import bulk_comes_early
from support.http_scene import HTTP_SCENES, ONE, TWO, HttpScene
from support.memory_pipes import MemoryPipes
from support.network import no_logged_failure
from tcpbalance.http import carried_body
from tcpbalance.pool.policies.peak_ewma import PeakEwmaPolicy
from tcpbalance.pool.policies.round_robin import RoundRobin

BOUND = 700 * 1024
METHODS = [b"GET", b"PUT", b"POST"]
FRAMINGS = ["length", "chunked"]
ANSWERS = ["length", "chunked", "until close", "length and close"]

Message = tuple[dict[bytes, bytes], bytes, bool, bytes]
"""Fields with the first line as the empty name, the body, whether it is whole, and what follows."""


def chunks(data: bytes, size: int) -> bytes:
    """Write data in chunks of a size."""
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def read_message(data: bytes, ended: bool = False, no_body: bool = False) -> Message | None:
    """Read the first message, in the simplest way.

    :param ended: whether nothing more comes.
    """
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    lines = head.split(b"\r\n")
    fields = {b"": lines[0]}
    for line in lines[1:]:
        name, _, value = line.partition(b": ")
        assert name.lower() not in fields
        fields[name.lower()] = value
    if fields.get(b"transfer-encoding") == b"chunked":
        assert b"content-length" not in fields
        return fields, *read_chunks(rest)
    if b"content-length" in fields:
        size = int(fields[b"content-length"])
        return fields, rest[:size], len(rest) >= size, rest[size:]
    if lines[0].startswith(b"HTTP/") and not no_body:
        return fields, rest, ended, b""
    return fields, b"", True, rest


def read_chunks(data: bytes) -> tuple[bytes, bool, bytes]:
    """Read a body in chunks, whether it is whole, and what follows."""
    body = b""
    while found := re.match(rb"([0-9a-f]+)\r\n", data):
        size, at = int(found[1], 16), found.end()
        if len(data) < at + size + 2:
            return body + data[at : at + size], False, b""
        body, data = body + data[at : at + size], data[at + size + 2 :]
        if not size:
            return body, True, data
    return body, False, b""


@define
class Request:
    """One of the client's, and what its backend answers."""

    number: int
    method: bytes
    size: int
    framing: str
    answer: str
    answer_size: int

    @property
    def body(self) -> bytes:
        return random.Random(self.number).randbytes(self.size)

    @property
    def answered(self) -> bytes:
        return b"answer %d " % self.number + random.Random(-self.number - 1).randbytes(self.answer_size)

    @property
    def sent(self) -> bytes:
        head = b"%b /%d HTTP/1.1\r\nHost: a\r\n" % (self.method, self.number)
        if self.framing == "chunked":
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks(self.body, 20_000)
        length = b"Content-Length: %d\r\n" % self.size if self.size else b""
        return head + length + b"\r\n" + self.body

    @property
    def response(self) -> bytes:
        body = self.answered
        if self.answer == "chunked":
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(body, 10_000)
        if self.answer == "until close":
            return b"HTTP/1.1 200 OK\r\n\r\n" + body
        closes = b"Connection: close\r\n" if self.answer == "length and close" else b""
        return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (closes, len(body)) + body

    @property
    def closes(self) -> bool:
        return self.answer in {"until close", "length and close"}


@define
class BackendProgram:
    """What a backend does on one connection: reads requests, and answers them in their order."""

    peer: Any
    requests: list[Request]
    seen: list[int] = field(factory=list)
    whole: list[int] = field(factory=list)
    unsent: bytes = b""
    closes: bool = False
    done: int = 0
    """Requests whose response is sent."""

    def read(self) -> None:
        """Look at what has come: each request that is whole has the body that the client has sent."""
        data, self.seen, self.whole = self.peer.received, [], []
        while (message := read_message(data)) is not None:
            fields, body, is_whole, data = message
            number = int(fields[b""].split(b" ")[1][1:])
            request = self.requests[number]
            assert fields[b""] == b"%b /%d HTTP/1.1" % (request.method, number)
            assert request.body.startswith(body)
            assert not is_whole or body == request.body
            self.seen.append(number)
            if not is_whole:
                break
            self.whole.append(number)

    def answer(self, size: int, early: bool) -> bool:
        """Send some bytes of a response; tell whether there was anything to send."""
        if self.peer.finished or self.peer.on_connection_error:
            return False
        if not self.unsent:
            self.read()
            ready = self.seen if early else self.whole
            if self.closes or len(ready) <= self.done:
                return False
            request = self.requests[ready[self.done]]
            self.unsent, self.closes = request.response, request.closes
            self.done += 1
        self.peer.send(self.unsent[:size])
        self.unsent = self.unsent[size:]
        if self.closes and not self.unsent:
            self.peer.finish()
        return True


class Play:
    """One client's connection."""

    def __init__(self, scene: HttpScene, requests: list[Request]) -> None:
        self.scene = scene
        self.requests = requests
        self.unsent = b"".join(request.sent for request in requests)
        self.programs: list[BackendProgram] = []
        self.faults = 0
        # Seconds after which the head of a request may be late, and time that passes is a fault.
        self._patience = float(scene.frontend.context.http.head_timeout)
        for backend in scene.backends.values():
            backend.on_accept = self._accepted
        self.client = scene.connect()

    def _accepted(self, peer: Any) -> None:
        self.programs.append(BackendProgram(peer, self.requests))

    def act(self, deed: str, value: Any = None) -> None:
        getattr(self, f"_{deed}")(value)
        assert self.scene.kept < BOUND
        assert sum(self.scene.active) == self._slots_held()

    def _slots_held(self) -> int:
        """Count the slots that the request under way has."""
        held = 0
        for session in self.scene.frontend.registry.sessions:
            exchange: Any = session._exchange  # type: ignore[attr-defined]
            dialler = None if exchange is None else exchange.dialler
            held += exchange is not None and exchange.slot is not None
            held += dialler is not None and dialler.slot is not None and exchange.slot is None
        return held

    def _send(self, size: int) -> None:
        if not self.client.finished and not self.client.on_connection_error:
            self.client.send(self.unsent[:size])
            self.unsent = self.unsent[size:]

    def _answer(self, size: int) -> None:
        any(program.answer(size, False) for program in self.programs)

    def _early(self, size: int) -> None:
        self.faults += 1
        any(program.answer(size, True) for program in self.programs)

    def _step(self, times: int) -> None:
        for _ in range(times):
            self.scene.network.step()

    def _run(self, _: None) -> None:
        self.scene.run()

    def _pass_time(self, seconds: float) -> None:
        self._patience -= seconds
        self.faults += self._patience <= 0
        self.scene.advance(seconds)

    def _pass_long(self, seconds: float) -> None:
        self.faults += 1
        self.scene.advance(seconds)

    def _stop_reading(self, side: str) -> None:
        for peer in self._at(side):
            peer.stop_reading()

    def _start_reading(self, side: str) -> None:
        for peer in self._at(side):
            peer.start_reading()

    def _finish(self, side: str) -> None:
        self.faults += 1
        for peer in self._at(side):
            peer.finish()

    def _reset(self, side: str) -> None:
        self.faults += 1
        for peer in self._at(side):
            peer.reset()

    def _at(self, side: str) -> list[Any]:
        return [self.client] if side == "client" else [program.peer for program in self.programs]

    def settle(self) -> None:
        """Everybody reads, the client sends all of its requests, and the backends answer."""
        for peer in (*self._at("client"), *self._at("backend")):
            peer.start_reading()
        self._send(len(self.unsent))
        for _ in range(200):
            self.scene.run()
            answered = [program.answer(10**9, False) for program in self.programs]
            if not any(answered):
                break
        self.scene.advance(3.0)

    def check(self) -> None:
        """What has arrived is right."""
        self._check_requests()
        answered = self._check_responses()
        if not self.faults and not self.client.on_connection_error:
            assert answered == len(self.requests)

    def _check_requests(self) -> None:
        times: Counter[int] = Counter()
        for program in self.programs:
            program.read()
            times.update(program.seen)
        for number, count in times.items():
            assert count == 1 or self.requests[number].method != b"POST", "a POST came twice"

    def _check_responses(self) -> int:
        """Tell how many responses are whole."""
        data, number, ended = self.client.received, 0, self.client.saw == "fin"
        while (message := read_message(data, ended)) is not None:
            fields, body, is_whole, data = message
            expected = self.requests[number].answered
            if fields[b""] != b"HTTP/1.1 200 OK":
                assert self.faults
            elif is_whole:
                assert body == expected
            else:
                assert expected.startswith(body)
            if not is_whole:
                break
            number += 1
        return number


SIDES = st.sampled_from(["client", "backend"])
SIZES = st.sampled_from([1, 10, 100, 5_000, 100_000, 10**9])
HARMLESS = st.one_of(
    st.tuples(st.just("send"), SIZES),
    st.tuples(st.just("send"), SIZES),
    st.tuples(st.just("answer"), SIZES),
    st.tuples(st.just("answer"), SIZES),
    st.tuples(st.just("step"), st.integers(1, 6)),
    st.tuples(st.just("run")),
    st.tuples(st.just("stop_reading"), SIDES),
    st.tuples(st.just("start_reading"), SIDES),
    st.tuples(st.just("pass_time"), st.sampled_from([0.5, 2.0, 6.0])),
)
HARMFUL = st.one_of(
    st.tuples(st.just("early"), SIZES),
    st.tuples(st.just("finish"), SIDES),
    st.tuples(st.just("reset"), SIDES),
    st.tuples(st.just("pass_long"), st.sampled_from([15.0, 70.0])),
)


@st.composite
def plans(draw: st.DrawFn) -> list[Request]:
    """Some requests."""
    return [
        Request(
            number,
            draw(st.sampled_from(METHODS)),
            draw(st.sampled_from([0, 0, 1, 3_000, 70_000, 150_000])),
            draw(st.sampled_from(FRAMINGS)),
            draw(st.sampled_from(ANSWERS)),
            draw(st.sampled_from([0, 10, 3_000, 70_000, 200_000])),
        )
        for number in range(draw(st.integers(1, 4)))
    ]


@st.composite
def networks(draw: st.DrawFn) -> dict[str, Any]:
    """Kernel buffers, the order in which connections are served, and pipes."""
    size = draw(st.sampled_from([4_000, 32_000, 200_000]))
    return {
        "send_buffer": size,
        "receive_buffer": size,
        "shuffle": random.Random(draw(st.integers(0, 50))),
        "pipes": MemoryPipes(
            most=draw(st.sampled_from([0, 1, 1000])),
            refused=draw(st.sampled_from(["", "", "source", "sink"])),
        ),
    }


PATIENT = {"head_timeout": 1000.0, "body_timeout": 1000.0, "body_min_rate": 1, "keepalive_timeout": 1000.0}
"""Where no time limit is to be reached."""


def play(
    kind: type[HttpScene],
    network: dict[str, Any],
    requests: list[Request],
    deeds: list[Any],
    **how: Any,
) -> None:
    with bulk_comes_early(), no_logged_failure(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(carried_body, "LONG", 5_000)
        scene = kind([ONE, TWO], network=network, timeouts={"idle_timeout": 300.0}, **how)
        session = Play(scene, requests)
        for deed in deeds:
            session.act(*deed)
        session.settle()
        session.check()
        scene.leave()
        assert scene.leftovers() == []


@pytest.mark.parametrize("kind", HTTP_SCENES)
@settings(max_examples=40)
@given(networks(), plans(), st.lists(HARMLESS, max_size=25))
def test_each_request_gets_its_response(
    kind: type[HttpScene], network: dict[str, Any], requests: list[Request], deeds: list[Any]
) -> None:
    timeouts = {"response_timeout": 1000.0, "stall_timeout": 1000.0}
    play(kind, network, requests, deeds, http=PATIENT, pool_http=timeouts)


@pytest.mark.parametrize("kind", HTTP_SCENES)
@settings(max_examples=60)
@given(
    networks(),
    plans(),
    st.lists(HARMLESS | HARMFUL, max_size=25),
    st.sampled_from([RoundRobin, PeakEwmaPolicy]),
)
def test_any_interleaving_of_faults(
    kind: type[HttpScene], network: dict[str, Any], requests: list[Request], deeds: list[Any], policy: Any
) -> None:
    play(kind, network, requests, deeds, balance=policy)

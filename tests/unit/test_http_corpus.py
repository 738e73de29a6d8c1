"""Messages that two recipients could understand in two ways are refused, wherever they are cut."""

from __future__ import annotations

import pytest

from support.http_corpus import AMBIGUOUS, ANSWERS, HOSTILE, MARKER, TAKEN, BadCase
from support.http_receiver import Receiver, cuts
from tcpbalance.errors import Fault
from tcpbalance.wire.http.errors import BadRequest, BadResponse
from tcpbalance.wire.http.framing import Framing


@pytest.mark.parametrize("case", AMBIGUOUS, ids=lambda case: case.name)
def test_a_request_is_refused(case: BadCase) -> None:
    for pieces in cuts(case.data + MARKER):
        received = Receiver().feed(pieces)
        assert (received.verdict, received.messages) == ((case.status, case.cause.value), [])
        assert received.message.isprintable()


@pytest.mark.parametrize(("data", "target", "body"), TAKEN)
def test_a_request_is_taken(data: bytes, target: bytes, body: bytes) -> None:
    for pieces in cuts(data + MARKER):
        received = Receiver().feed(pieces)
        assert (received.verdict, received.messages) == (None, [(target, body), (b"/marker", b"")])


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_a_response_is_refused(case: BadCase) -> None:
    for pieces in cuts(case.data):
        received = Receiver(b"GET").feed(pieces)
        assert (received.verdict, received.messages) == ((502, "bad_response"), [])
        assert received.message.isprintable()


@pytest.mark.parametrize(("method", "data", "framing"), ANSWERS)
def test_what_follows_a_response(method: bytes, data: bytes, framing: Framing) -> None:
    for pieces in cuts(data):
        received = Receiver(method).feed(pieces)
        assert (received.verdict, received.framing) == (None, framing)


def test_there_are_enough() -> None:
    assert len(AMBIGUOUS) >= 89
    assert len({case.name for case in AMBIGUOUS}) == len(AMBIGUOUS)


def test_faults() -> None:
    assert BadRequest.fault is Fault.CLIENT
    assert BadResponse.fault is Fault.BACKEND

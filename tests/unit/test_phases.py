"""What follows in each phase from each event, and how a side is closed: written down once more, by hand."""

from __future__ import annotations

from itertools import product

import pytest
from attrs import define

from tcpbalance.proxy.phases import AT_ONCE, TABLE, Action, Closing, Event, Phase, closing
from tcpbalance.proxy.reasons import EndReason

EXPECTED = """
                  PREREAD  DIALLING       UNANSWERED   RELAYING  ENDING                OVER
CLIENT_FINISHED   END      AWAIT_BACKEND  PASS_ON      PASS_ON   PASS_ON_BEFORE_RESET  -
BACKEND_FINISHED  -        -              PASS_ON      PASS_ON   PASS_ON_BEFORE_RESET  -
CLIENT_ERROR      IGNORE   END            DELIVER      DELIVER   IGNORE                -
BACKEND_ERROR     -        -              DELIVER      DELIVER   IGNORE                -
CLIENT_CLOSED     END      AWAIT_BACKEND  END          END       -                     -
BACKEND_CLOSED    -        -              END          END       -                     -
CLIENT_RESET      END      END            END          END       -                     -
BACKEND_RESET     -        -              TRY_ANOTHER  END       -                     -
FAILED            END      END            END          END       -                     -
ENDED             END      END            END          END       IGNORE                IGNORE
ENDED_AT_ONCE     END      END            END          END       ABORT             IGNORE
"""


def cells() -> dict[tuple[str, str], str]:
    head, *rows = (line.split() for line in EXPECTED.strip().splitlines())
    return {(phase, row[0]): action for row in rows for phase, action in zip(head, row[1:], strict=True)}


@pytest.mark.parametrize(("phase", "event"), list(product(Phase, Event)), ids=lambda it: it.name)
def test_each_cell(phase: Phase, event: Event) -> None:
    action = TABLE.get((phase, event))
    assert ("-" if action is None else action.name) == cells()[phase.name, event.name]


def test_each_action_follows_from_something() -> None:
    assert set(TABLE.values()) == set(Action)


# Reasons: one that ends in order and one that does not, each by a peer and by the balancer.
CLOSED, RESET = EndReason.CLIENT_CLOSED, EndReason.BACKEND_RESET
NO_BACKEND, SHUTDOWN, REBALANCED = EndReason.NO_BACKEND, EndReason.SHUTDOWN, EndReason.REBALANCED

# What is asked: reason; how the other side is; whether this one was told the end; whether bytes are under way
# to it. "*" stands for any.
CLOSINGS = """
CLOSED      none      *    *    FIN
CLOSED      finished  *    *    FIN
CLOSED      open      *    *    RESET
NO_BACKEND  none      *    *    FIN
NO_BACKEND  finished  *    *    FIN
NO_BACKEND  open      yes  *    FIN
NO_BACKEND  open      no   *    RESET
RESET       *         *    yes  DELIVER_AND_RESET
RESET       *         *    no   RESET
SHUTDOWN    *         yes  *    FIN
SHUTDOWN    *         no   *    RESET
REBALANCED  *         *    *    FIN
"""

# The same where the session is broken off.
AT_ONCE_CLOSINGS = """
CLOSED      *         *    *    RESET
NO_BACKEND  *         yes  *    FIN
NO_BACKEND  *         no   *    RESET
RESET       *         *    *    RESET
SHUTDOWN    *         yes  *    FIN
SHUTDOWN    *         no   *    RESET
REBALANCED  *         yes  *    FIN
REBALANCED  *         no   *    RESET
"""


@define
class Side:
    """One side of a session."""

    finished: bool = False
    write_closed: bool = False
    waiting: int = 0

    def in_flight(self) -> int:
        return self.waiting


def expected(lines: str, *asked: str) -> str:
    (found,) = {
        row[-1]
        for row in (line.split() for line in lines.strip().splitlines())
        if all(cell in ("*", asked[column]) for column, cell in enumerate(row[:-1]))
    }
    return found


@pytest.mark.parametrize("waiting", ["yes", "no"])
@pytest.mark.parametrize("told", ["yes", "no"])
@pytest.mark.parametrize("other", ["none", "finished", "open"])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("reason", ["CLOSED", "RESET", "NO_BACKEND", "SHUTDOWN", "REBALANCED"])
def test_how_a_side_is_closed(reason: str, at_once: bool, other: str, told: str, waiting: str) -> None:
    side = Side(write_closed=told == "yes", waiting=1000 * (waiting == "yes"))
    across = None if other == "none" else Side(finished=other == "finished")
    why: EndReason = globals()[reason]
    found = closing(why, side, across, why.orderly and not at_once, at_once)
    assert found.name == expected(AT_ONCE_CLOSINGS if at_once else CLOSINGS, reason, other, told, waiting)


def test_after_a_break_that_was_an_end_in_order_the_other_side_sees_that_end() -> None:
    broken, other = Side(finished=True), Side(waiting=1000)
    assert closing(RESET, other, broken, True, False) is Closing.FIN
    assert closing(RESET, broken, other, True, False) is Closing.RESET


def test_what_does_not_wait_for_the_last_bytes() -> None:
    words = {reason.word for reason in AT_ONCE}
    at_once = {"max_connection_age", "overload", "ended_by_operator", "shutdown", "internal_error"}
    # A client that has stopped reading takes none of them.
    assert words == {*at_once, "send_timeout"}

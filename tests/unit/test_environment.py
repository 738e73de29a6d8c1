"""What systemd or a predecessor puts into the environment is read as a whole or refused, and removed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcpbalance.environment import (
    HANDOVER,
    VARIABLES,
    Environment,
    EnvironmentVariableError,
    PassedDescriptor,
    take_variables,
)

PID = 4321

NAMES = st.lists(st.text(st.characters(exclude_characters=":\0", codec="ascii")), min_size=1, max_size=20)
PASSED = st.builds(PassedDescriptor, st.integers(3, 2**31), st.text(), st.booleans())
VALUES = st.text() | st.integers().map(str) | st.floats().map(str) | st.just(str(PID))


def take(variables: dict[str, str]) -> Environment:
    return Environment.read(take_variables(variables), PID)


def listen_fds(count: object, pid: object = PID, **more: str) -> dict[str, str]:
    return {"LISTEN_FDS": str(count), "LISTEN_PID": str(pid), "PATH": "/bin", **more}


def test_nothing_is_inherited_without_a_word_of_it() -> None:
    variables = {"PATH": "/bin"}
    assert take(variables) == Environment()
    assert variables == {"PATH": "/bin"}


@given(NAMES)
def test_each_descriptor_has_its_name(names: list[str]) -> None:
    variables = listen_fds(len(names), LISTEN_FDNAMES=":".join(names))
    taken = take(variables)
    if names == [""]:
        names = ["unknown"]
    assert taken.passed == tuple(PassedDescriptor(number, name) for number, name in enumerate(names, 3))
    assert not taken.has_predecessor
    assert variables == {"PATH": "/bin"}


def test_an_old_systemd_gives_no_names() -> None:
    taken = take(listen_fds(2))
    assert taken.passed == (PassedDescriptor(3, "unknown"), PassedDescriptor(4, "unknown"))


def test_those_of_another_process_are_left_alone() -> None:
    variables = listen_fds(1, 17, LISTEN_FDNAMES="web", LISTEN_PIDFDID="5")
    taken = take(variables)
    assert (taken.passed, taken.other_pid) == ((), 17)
    assert variables == {"PATH": "/bin"}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (listen_fds("many"), "LISTEN_FDS: must be a number up to 4096, got 'many'"),
        (listen_fds("-1"), "LISTEN_FDS: must be a number"),
        (listen_fds("1_0"), "LISTEN_FDS: must be a number"),
        (listen_fds("٣"), "LISTEN_FDS: must be a number"),
        (listen_fds("4097"), "LISTEN_FDS: must be a number up to 4096, got '4097'"),
        (listen_fds("9" * 5000), "LISTEN_FDS: must be a number"),
        (listen_fds(1, ""), "LISTEN_PID: must be a number"),
        ({"LISTEN_FDS": "1"}, "LISTEN_PID: must be a number"),
        (
            listen_fds(2, LISTEN_FDNAMES="web"),
            "LISTEN_FDNAMES: must have a name for each of the 2 descriptors of LISTEN_FDS, got 1",
        ),
        ({"WATCHDOG_USEC": "1s"}, "WATCHDOG_USEC: must be a number"),
        ({"WATCHDOG_USEC": "1", "WATCHDOG_PID": "x"}, "WATCHDOG_PID: must be a number"),
        ({HANDOVER: "{"}, "TCPBALANCE_HANDOVER: is not what a predecessor writes, remove it: '{'"),
        ({HANDOVER: "[" * 100_000}, "TCPBALANCE_HANDOVER: is not what"),
        ({HANDOVER: '{"version": 1, "ready": 2, "sockets": []}'}, "TCPBALANCE_HANDOVER: is not what"),
        ({HANDOVER: '{"version": 1, "ready": 3, "sockets": [4]}'}, "TCPBALANCE_HANDOVER: is not what"),
        (
            {HANDOVER: '{"version": 1, "ready": 3, "sockets": [[true, "web", true]]}'},
            "TCPBALANCE_HANDOVER: is not what",
        ),
        (
            {HANDOVER: '{"version": 2}'},
            "TCPBALANCE_HANDOVER: this program cannot take over from one that hands over in version 2",
        ),
    ],
)
def test_what_cannot_be_used_is_refused(variables: dict[str, str], message: str) -> None:
    with pytest.raises(EnvironmentVariableError) as raised:
        take(variables)
    assert str(raised.value).startswith(message)
    assert set(variables) <= {"PATH"}


@given(st.dictionaries(st.sampled_from([*VARIABLES, "PATH"]), VALUES))
def test_no_value_is_too_odd(variables: dict[str, str]) -> None:
    path = variables.get("PATH")
    try:
        taken = take(variables)
    except EnvironmentVariableError:
        pass
    else:
        assert all(one.number >= 3 for one in taken.passed)
        assert taken.watchdog is None or taken.watchdog > 0
    assert variables == ({} if path is None else {"PATH": path})


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(PID)}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_PID": str(PID)}, None),
    ],
)
def test_the_watchdog_of_this_process(variables: dict[str, str], seconds: float | None) -> None:
    assert take(variables).watchdog == seconds


@given(st.integers(3, 2**31), st.lists(PASSED, max_size=10), st.none() | st.integers(1, 10**9))
def test_a_successor_reads_what_was_written_for_it(
    ready: int, passed: list[PassedDescriptor], watchdog: int | None
) -> None:
    before = Environment(
        notify_socket="@manager", watchdog=None if watchdog is None else watchdog / 1_000_000
    )
    variables = {"PATH": "/bin"}
    made = before.for_successor(variables, ready, passed)
    assert variables == {"PATH": "/bin"}
    taken = take(made)
    assert taken == Environment(tuple(passed), ready, "@manager", before.watchdog)
    assert taken.has_predecessor
    assert made == {"PATH": "/bin"}

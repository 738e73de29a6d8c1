"""What a program finds in its environment when systemd, or its own predecessor, starts it: sd_listen_fds(3),
sd_notify(3), sd_watchdog_enabled(3).

Twisted's ``ListenFDs`` is not used: it knows one descriptor a name, where a frontend has one for each
address; it leaves ``LISTEN_FDNAMES`` behind for children; and it ignores a list that it cannot read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any

from attrs import frozen

from tcpbalance.errors import Fault, TcpbalanceError

FIRST_DESCRIPTOR = 3
"""The first that systemd passes; those below are the standard streams."""

MAX_DESCRIPTORS = 4096
"""Listening sockets that may be passed; a higher number is a mistake."""

UNNAMED = "unknown"
"""The name of a descriptor for which systemd gives none."""

HANDOVER = "TCPBALANCE_HANDOVER"
"""The variable by which a program passes its listening sockets to its successor."""

HANDOVER_VERSION = 1

VARIABLES = (
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDNAMES",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "SYSTEMD_EXEC_PID",
    HANDOVER,
)
"""Variables that are for this process alone, and not for its children."""


class EnvironmentVariableError(TcpbalanceError):
    """A variable of the environment cannot be used; the text names it."""

    fault = Fault.CONFIGURATION


def take_variables(environ: MutableMapping[str, str]) -> dict[str, str]:
    """Remove from the environment what is for this process alone, so that no child takes it for its own.

    To be called before Twisted's endpoints are imported, which remove and keep a part of it.

    :returns: what was removed.
    """
    return {name: environ.pop(name) for name in VARIABLES if name in environ}


@frozen
class PassedDescriptor:
    """A descriptor that was open when the program began.

    :param number: the descriptor.
    :param name: ``FileDescriptorName=`` of its socket unit; of a predecessor, the name of the frontend.
    :param owns_file: whether the file of a unix socket is ours to remove.
    """

    number: int
    name: str
    owns_file: bool = False


@frozen
class Environment:
    """What the environment says.

    :param passed: descriptors of listening sockets.
    :param ready_descriptor: where a predecessor waits for the word that the program is ready; None where
        there is no predecessor.
    :param notify_socket: the path of the service manager's socket, ``@`` first for an abstract one; None for
        no service manager.
    :param watchdog: seconds within which the service manager wants a sign of life; None for no such wish.
    :param other_pid: the process that the descriptors were meant for, where that is not this one.
    :param is_main_process: whether systemd has started this process itself.
    """

    passed: tuple[PassedDescriptor, ...] = ()
    ready_descriptor: int | None = None
    notify_socket: str | None = None
    watchdog: float | None = None
    other_pid: int | None = None
    is_main_process: bool = False

    @classmethod
    def read(cls, variables: Mapping[str, str], pid: int) -> Environment:
        """Read what ``take_variables`` took.

        :param pid: of this process.
        :raises EnvironmentVariableError: one cannot be used.
        """
        passed, other_pid = _passed_by_systemd(variables, pid)
        ready_descriptor = None
        if HANDOVER in variables:
            ready_descriptor, passed = _passed_by_predecessor(variables[HANDOVER])
        notify_socket = variables.get("NOTIFY_SOCKET") or None
        is_main_process = variables.get("SYSTEMD_EXEC_PID") == str(pid)
        watchdog = _watchdog(variables, pid)
        return cls(passed, ready_descriptor, notify_socket, watchdog, other_pid, is_main_process)

    @property
    def ends_its_service(self) -> bool:
        """Whether systemd takes the end of this process for that of the service, whatever took over."""
        return self.is_main_process and self.notify_socket is None

    @property
    def has_predecessor(self) -> bool:
        """Whether the sockets come from a program that serves until this one is ready."""
        return self.ready_descriptor is not None

    def for_successor(
        self, variables: Mapping[str, str], ready_descriptor: int, passed: Iterable[PassedDescriptor]
    ) -> dict[str, str]:
        """Give the environment of a program that is to take the place of this one.

        :param variables: of this process.
        :param ready_descriptor: see ``Environment``; as the successor will have it, as those *passed*.
        """
        sockets = [[one.number, one.name, one.owns_file] for one in passed]
        handover = {"version": HANDOVER_VERSION, "ready": ready_descriptor, "sockets": sockets}
        made = {**variables, HANDOVER: json.dumps(handover)}
        if self.notify_socket is not None:
            made["NOTIFY_SOCKET"] = self.notify_socket
        if self.watchdog is not None:
            made["WATCHDOG_USEC"] = str(round(self.watchdog * 1_000_000))
        return made


def _passed_by_systemd(
    variables: Mapping[str, str], pid: int
) -> tuple[tuple[PassedDescriptor, ...], int | None]:
    """Give the descriptors, and the process that they are for where that is another."""
    if "LISTEN_FDS" not in variables:
        return (), None
    count = _number(variables, "LISTEN_FDS", MAX_DESCRIPTORS)
    meant_for = _number(variables, "LISTEN_PID")
    if meant_for != pid:
        return (), meant_for
    names = variables.get("LISTEN_FDNAMES", "").split(":") if variables.get("LISTEN_FDNAMES") else []
    if names and len(names) != count:
        raise EnvironmentVariableError(
            f"LISTEN_FDNAMES: must have a name for each of the {count} descriptors of LISTEN_FDS, "
            f"got {len(names)}"
        )
    named = names or [UNNAMED] * count
    return tuple(PassedDescriptor(FIRST_DESCRIPTOR + i, name) for i, name in enumerate(named)), None


def _number(variables: Mapping[str, str], name: str, maximum: int = 2**63) -> int:
    text = variables.get(name, "")
    # Python's int() would also take "1_0", " 1" and digits of other scripts.
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= maximum):
        raise EnvironmentVariableError(f"{name}: must be a number up to {maximum}, got {text[:60]!r}")
    return int(text)


def _watchdog(variables: Mapping[str, str], pid: int) -> float | None:
    if "WATCHDOG_USEC" not in variables:
        return None
    if "WATCHDOG_PID" in variables and _number(variables, "WATCHDOG_PID") != pid:
        return None
    return _number(variables, "WATCHDOG_USEC") / 1_000_000 or None


def _passed_by_predecessor(text: str) -> tuple[int, tuple[PassedDescriptor, ...]]:
    """Read what ``for_successor`` of a program has written that may be older or newer than this one."""
    try:
        match json.loads(text):
            case {"version": 1, "ready": ready, "sockets": list(sockets)}:
                return _descriptor(ready), tuple(map(_passed_socket, sockets))
            case {"version": version}:
                raise EnvironmentVariableError(
                    f"{HANDOVER}: this program cannot take over from one that hands over in version "
                    f"{version}, but in version {HANDOVER_VERSION}: restart it"
                )
    except (ValueError, RecursionError):
        pass
    raise EnvironmentVariableError(f"{HANDOVER}: is not what a predecessor writes, remove it: {text[:60]!r}")


def _passed_socket(given: Any) -> PassedDescriptor:
    match given:
        case [number, str(name), bool(owns_file)]:
            return PassedDescriptor(_descriptor(number), name, owns_file)
    raise ValueError(given)


def _descriptor(given: Any) -> int:
    if type(given) is not int or given < FIRST_DESCRIPTOR:
        raise ValueError(given)
    return given

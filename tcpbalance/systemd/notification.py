"""The texts of sd_notify(3), as values."""

from __future__ import annotations

from attrs import frozen

from tcpbalance.config.messages import one_line

WATCHDOG = "WATCHDOG=1"
"""A sign of life."""


@frozen
class Summary:
    """How a balancer does at the moment.

    :param frontends: how many there are.
    :param backends_up: how many backends may have new connections.
    :param backends: how many there are.
    :param sessions: how many are open.
    """

    frontends: int
    backends_up: int
    backends: int
    sessions: int

    def __str__(self) -> str:
        frontends = "1 frontend" if self.frontends == 1 else f"{self.frontends} frontends"
        sessions = "1 open session" if self.sessions == 1 else f"{self.sessions} open sessions"
        return f"{frontends}, {self.backends_up} of {self.backends} backends up, {sessions}"


def ready(status: str) -> str:
    """Say that the start, or a reload, is over.

    :param status: see ``status_line``.
    """
    return f"READY=1\n{status_line(status)}"


def reloading(clock: float) -> str:
    """Say that the configuration is being read again; ``ready`` ends that.

    :param clock: seconds on the monotonic clock of the system.
    """
    return f"RELOADING=1\nMONOTONIC_USEC={int(clock * 1_000_000)}"


def stopping(status: str) -> str:
    """Say that the program ends.

    :param status: see ``status_line``.
    """
    return f"STOPPING=1\n{status_line(status)}"


def main_process(pid: int) -> str:
    """Say which process is the service from here on.

    That ends a reload of this process, too, and gives the other the whole interval for a sign of life.
    """
    return f"READY=1\nMAINPID={pid}\n{WATCHDOG}"


def status_line(text: str) -> str:
    """Say how it goes, for people: ``systemctl status`` shows it."""
    # A line end would begin another variable.
    return f"STATUS={one_line(text)}"

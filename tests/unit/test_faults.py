"""Which error numbers of the system say something about a backend."""

from __future__ import annotations

import errno

import pytest

from tcpbalance import NoVerdict, ProbeFailed
from tcpbalance.errors import Fault
from tcpbalance.health.probes.causes import verdict_on
from tcpbalance.net.connect_errors import ConnectFailed
from tcpbalance.net.faults import fault_of_errno, remedy_of_errno

OURS = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL", "EADDRINUSE", "EPERM", "EBADF", "ENOTSOCK"]
THEIRS = [
    "ECONNREFUSED",
    "ECONNRESET",
    "ECONNABORTED",
    "ETIMEDOUT",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "ENETDOWN",
    "EHOSTDOWN",
    "EACCES",
    "EAGAIN",
    "EAFNOSUPPORT",
    "ENOENT",
    "EPROTOTYPE",
]


@pytest.mark.parametrize("name", OURS)
def test_what_this_machine_lacks_says_nothing_about_a_backend(name: str) -> None:
    failure = ConnectFailed.from_errno(getattr(errno, name))
    assert failure.fault is Fault.BALANCER
    assert isinstance(verdict_on(failure), NoVerdict)
    assert isinstance(verdict_on(OSError(getattr(errno, name), "no")), NoVerdict)


@pytest.mark.parametrize("name", THEIRS)
def test_what_depends_on_the_address_says_that_it_cannot_be_used(name: str) -> None:
    failure = ConnectFailed.from_errno(getattr(errno, name))
    assert failure.fault is Fault.BACKEND
    assert failure.remedy == ""
    assert isinstance(verdict_on(failure), ProbeFailed)


def test_who_runs_out_of_something_is_told_what_to_do() -> None:
    shortages = [name for name in OURS if name not in ("EBADF", "ENOTSOCK")]
    assert all(remedy_of_errno(getattr(errno, name)) for name in shortages)
    assert fault_of_errno(0) is Fault.BACKEND

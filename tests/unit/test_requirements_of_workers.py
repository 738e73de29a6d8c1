"""Several workers are refused where they cannot serve, with what to do."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from tcpbalance.environment import Environment, PassedDescriptor
from tcpbalance.workers import requirements
from tcpbalance.workers.requirements import WorkersError, refuse_workers_without


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A system that has all that is needed, whichever this one is."""
    monkeypatch.setattr(requirements, "can_count", lambda: True)
    monkeypatch.setattr(os, "pidfd_open", lambda pid: -1, raising=False)
    monkeypatch.setattr(socket, "SO_REUSEPORT", 15, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    return monkeypatch


def test_a_system_that_has_all_is_not_refused(able: pytest.MonkeyPatch) -> None:
    refuse_workers_without(Environment())


@pytest.mark.parametrize("lacks", ["memory", "processes", "ports", "Linux"])
def test_a_system_that_lacks_something_is_named(able: pytest.MonkeyPatch, lacks: str) -> None:
    match lacks:
        case "memory":
            able.setattr(requirements, "can_count", lambda: False)
        case "processes":
            able.delattr(os, "pidfd_open")
        case "ports":
            able.delattr(socket, "SO_REUSEPORT")
        case "Linux":
            able.setattr(sys, "platform", "darwin")
    with pytest.raises(WorkersError, match=r"needs Linux 5.4 or newer on x86-64: use workers = 1"):
        refuse_workers_without(Environment())


def test_sockets_of_systemd_serve_a_single_process(able: pytest.MonkeyPatch) -> None:
    passed = Environment(passed=(PassedDescriptor(3, "web"),))
    with pytest.raises(WorkersError, match="sockets that systemd passes serve a single process"):
        refuse_workers_without(passed)


def test_a_single_process_is_not_followed_by_several(able: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkersError, match="a change between 1 and more needs a restart"):
        refuse_workers_without(Environment(ready_descriptor=3))

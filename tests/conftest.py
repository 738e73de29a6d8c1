"""What all tests share: hypothesis profiles, programs that may be missing, the hunt for open descriptors."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from support.descriptors import left_open, open_descriptors
from support.programs import in_ci, require

TESTS = Path(__file__).parent
WATCHED = (TESTS / "loopback", TESTS / "scenarios")
"""Folders whose tests open real sockets and start real programs."""

CLOSED_WITHIN = 10.0
"""Seconds in which threads have closed what they were told to close, on a busy machine, too."""

# The same examples on every run, so that a red run says something about the change and not about the dice; no
# deadline, because the machine may be busy with something else.
hypothesis.settings.register_profile("ci", derandomize=True, max_examples=100, deadline=None, database=None)
hypothesis.settings.register_profile("dev", max_examples=100, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if in_ci() else "dev"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave some hundred thousand objects of collected tests out of what the garbage collector looks at."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Obey ``@pytest.mark.requires("nginx", "wrk")``."""
    for mark in item.iter_markers("requires"):
        require(*mark.args)


@pytest.fixture(autouse=True)
def no_descriptor_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that opened a descriptor and did not close it."""
    if not any(folder in request.node.path.parents for folder in WATCHED):
        yield
        return
    _open_the_reactor()
    before = open_descriptors()
    yield
    # A thread of pycares closes what a lookup has opened.
    if leaked := left_open(before, CLOSED_WITHIN):
        pytest.fail(f"left open: {', '.join(leaked.values())}", pytrace=False)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The lines that are logged while the test runs."""
    logged: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        logged.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield logged
    globalLogPublisher.removeObserver(observe)


def _open_the_reactor() -> None:
    """Import the reactor, which opens descriptors of its own that it keeps for good, as its ports do."""
    from twisted.internet import reactor, tcp  # noqa: F401

    tcp._reservedFD.reserve()

"""Finds backends that are listeners of our own, as only this machine's addresses and names can tell.

What a configuration says by itself is found with it: see ``config.loops``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from threading import Thread
from typing import Any

from twisted.logger import Logger

from tcpbalance.config.errors import Flaw, Severity, key_text
from tcpbalance.config.loops import Machine, loops
from tcpbalance.config.models import Config, facts_of
from tcpbalance.config.rules import Facts
from tcpbalance.net.own_addresses import ips_of, is_own

LOOK_UP_WITHIN = 5.0
"""Seconds that ``tcpbalance check`` waits for the addresses of host names; one that is not known then is left
out, because name servers are often out of reach where a configuration is checked."""

_log = Logger()


def loops_by_address(facts: Facts) -> Iterator[Flaw]:
    """Yield the loops that this machine's addresses and files show; no name is looked up."""
    return loops(facts, _here())


def all_loops(facts: Facts) -> Iterator[Flaw]:
    """Yield those loops, and those that host names show, which do not keep the balancer from starting.

    It blocks for as long as the lookups take, ``LOOK_UP_WITHIN`` at most.
    """
    by_address = tuple(loops_by_address(facts))
    yield from by_address
    answers: dict[str, Collection[str]] = {}
    lookups = _look_up(_names_in_question(facts), answers)
    if lookups is not None:
        lookups.join(LOOK_UP_WITHIN)
    known = {flaw.path for flaw in by_address}
    yield from (flaw for flaw in _loops_by_name(facts, dict(answers)) if flaw.path not in known)


def warn_of_loops_by_name(reactor: Any, config: Config) -> None:
    """Look up the host names that may lead to a listener of our own, and log an error for each that does.

    It does not block, and nothing waits for it: a name server may be slow.

    :param reactor: IReactorFromThreads.
    """
    facts = facts_of(config)
    answers: dict[str, Collection[str]] = {}

    def report() -> None:
        for flaw in _loops_by_name(facts, answers):
            _log.error("{key}: {mistake}", key=key_text(flaw.path), mistake=flaw.message)

    def done() -> None:
        # A reactor that has ended in the meantime may say so.
        with contextlib.suppress(RuntimeError):
            reactor.callFromThread(report)

    _look_up(_names_in_question(facts), answers, done)


def _here(look_up: Callable[[str], Collection[str]] = lambda name: ()) -> Machine:
    return Machine(is_own, look_up, os.path.realpath)


def _loops_by_name(facts: Facts, answers: Mapping[str, Collection[str]]) -> Iterator[Flaw]:
    return loops(facts, _here(lambda name: answers.get(name, ())), Severity.ERROR)


def _names_in_question(facts: Facts) -> list[str]:
    """Give the host names whose addresses decide whether there is a loop."""
    names: dict[str, None] = {}

    def note(name: str) -> Collection[str]:
        names[name] = None
        return ()

    for _ in loops(facts, _here(note)):
        continue
    return list(names)


def _look_up(
    names: Collection[str], answers: dict[str, Collection[str]], done: Callable[[], None] = lambda: None
) -> Thread | None:
    """Look names up in a thread that does not keep the process from ending; None where there are none."""

    def look_up() -> None:
        for name in names:
            answers[name] = ips_of(name)
        done()

    if not names:
        return None
    thread = Thread(target=look_up, name="loops by name", daemon=True)
    thread.start()
    return thread

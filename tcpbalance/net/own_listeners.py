"""Finds backends that are listeners of our own, by this machine's addresses and names.

What a configuration says by itself is found with it: see ``config.loops``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator

from twisted.logger import Logger

from tcpbalance.config.errors import Mistake, Severity, key_text
from tcpbalance.config.loops import Machine, inlets, loops, outlets, ports_of
from tcpbalance.config.models import Config
from tcpbalance.net.own_addresses import is_own

LookUp = Callable[[str], Collection[str]]
"""Gives the IP addresses of a host name, none where they are not known."""

_log = Logger()


def loops_by_address(config: Config) -> Iterator[Mistake]:
    """Yield the loops that this machine's addresses and files show; no name is looked up.

    :param config: one that may have mistakes.
    """
    return _loops(config, _unknown, Severity.FATAL)


def loops_by_name(config: Config, look_up: LookUp) -> Iterator[Mistake]:
    """Yield the loops that host names show, which do not keep the balancer from starting.

    :param config: one that has no other loops.
    """
    return _loops(config, look_up, Severity.ERROR)


def _loops(config: Config, look_up: LookUp, severity: Severity) -> Iterator[Mistake]:
    listeners = list(inlets(config.frontends))
    return loops(listeners, outlets(config.pools, ports_of(listeners)), _here(look_up), severity)


def warn_of_loops_by_name(config: Config, look_up: LookUp) -> None:
    """Log an error for each backend whose name leads to a listener of our own."""
    for mistake in loops_by_name(config, look_up):
        _log.error("{key}: {mistake}", key=key_text(mistake.path), mistake=mistake.message)


def _here(look_up: LookUp) -> Machine:
    return Machine(is_own, look_up, os.path.realpath)


def _unknown(_: str) -> Collection[str]:
    return ()

"""Looks names up where no reactor runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from queue import Empty, SimpleQueue
from typing import Any

from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.net.resolver.answer import Reply, Verdict
from tcpbalance.net.resolver.resolver import engine_for


class _Calls:
    """What an engine needs of a reactor: its calls are made by ``run``."""

    seconds = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[..., object], Any]] = SimpleQueue()

    def callFromThread(self, call: Callable[..., object], *args: Any) -> None:
        self._calls.put((call, args))

    def run(self, goes_on: Callable[[], bool], seconds: float) -> None:
        """Make calls for as long as *goes_on* says so, and for *seconds* at most."""
        deadline = self.seconds() + seconds
        while goes_on():
            try:
                call, args = self._calls.get(timeout=max(0.0, deadline - self.seconds()))
            except Empty:
                return
            call(*args)


def look_up_all(hosts: Iterable[str], config: ResolverConfig, timeout: float) -> dict[str, Reply]:
    """Ask for every name at once, and wait.

    :param timeout: seconds to wait at most.
    :returns: what is known of each name; a failure by ``TIMED_OUT`` where the question has not ended.
    """
    calls = _Calls()
    engine = engine_for(calls, config)
    replies = dict.fromkeys(hosts, Reply.failed(Verdict.TIMED_OUT))
    open_questions = set(replies)

    def take(reply: Reply, host: str) -> None:
        replies[host] = reply
        open_questions.discard(host)

    for host in replies:
        engine.ask(host).addCallback(take, host)
    calls.run(lambda: bool(open_questions), timeout)
    engine.stop()
    return replies

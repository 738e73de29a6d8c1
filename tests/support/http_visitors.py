"""Clients that keep a connection, and send requests around the time at which servers close theirs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from functools import partial
from http.client import HTTPConnection, HTTPException

from support.clients import TIMEOUT
from support.coming_again import ComingAgain
from support.waiting import until

METHODS = ("GET", "POST")


class HttpVisitors(ComingAgain):
    """Threads with a connection each, from `with` to its end; a half of their requests are POSTs.

    :param ports: the server's for each of them.
    :param seed: of the pauses.
    :param around: seconds after which the backends close a connection without a request.
    :ivar served: the responses with status 200, by method.
    :ivar failures: why other requests were not answered so.
    """

    def __init__(self, ports: Iterable[int], *, seed: int, around: float) -> None:
        super().__init__(
            partial(self._visit, port, random.Random(seed * 1000 + number))
            for number, port in enumerate(ports)
        )
        self._around = around
        self.served: Counter[str] = Counter()
        self.failures: list[str] = []

    def run(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self._ends.wait(seconds)

    def see(self, count: int, seconds: float) -> None:
        """Wait until so many requests have been answered well, or one has not."""
        until(
            lambda: self.served.total() >= count or self.failures,
            lambda: f"{count} requests: {self.served}",
            seconds,
        )

    def _visit(self, port: int, rng: random.Random) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        while not self._ends.wait(self._pause(rng)):
            method = rng.choice(METHODS)
            try:
                connection.request(method, "/", b"a body" if method == "POST" else None)
                response = connection.getresponse()
                response.read()
                failure = "" if response.status == 200 else f"{method}: {response.status}"
            except (OSError, HTTPException) as error:
                connection.close()
                failure = f"{method}: {error!r}"
            with self._lock:
                if failure:
                    self.failures.append(failure)
                else:
                    self.served[method] += 1
        connection.close()

    def _pause(self, rng: random.Random) -> float:
        """Give seconds to wait: mostly close to when something is closed, and else any."""
        if rng.random() < 0.6:
            return rng.choice((self._around, 1.0)) + rng.gauss(0, 0.05)
        return rng.uniform(0, 1.5 * self._around)

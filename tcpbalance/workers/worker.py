"""A worker: a balancer that serves what comes to its sockets, and does what the supervisor says."""

from __future__ import annotations

import os
import pickle
import signal
import socket
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance import held_signals
from tcpbalance.balancer import Balancer
from tcpbalance.config.models import Config
from tcpbalance.environment import PassedDescriptor
from tcpbalance.net.clock import make_monotonic
from tcpbalance.net.inherited import InheritedSockets
from tcpbalance.workers.channel import Channel
from tcpbalance.workers.messages import Message

CONTROL, CONFIG = 0, 1
"""Which of the descriptors of the first message is the connection to the supervisor, and which the memory
with the configuration. The sockets follow them."""


def write_config(config: Config) -> int:
    """Put a configuration where a worker reads it.

    :returns: a descriptor of memory.
    """
    descriptor = os.memfd_create("tcpbalance configuration")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        pickle.dump(config, file)
    return descriptor


def read_config(descriptor: int) -> Config:
    """Read what the supervisor has written; it is of the same program, which trusts itself."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        config: Config = pickle.load(file)  # noqa: S301 - see above
    return config


def main(request: Message) -> None:
    """Be a worker, until the supervisor ends it or is gone."""
    held_signals.hold()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        # To the whole group, such as Ctrl-C: the supervisor says what follows from it.
        signal.signal(number, signal.SIG_IGN)
    from twisted.internet import reactor

    Worker(reactor, request).run()


class Worker:
    """Serves, and reports to the supervisor.

    :param reactor: runs it.
    :param request: by which the worker was asked for; see ``Place``.
    """

    _log = Logger()

    def __init__(self, reactor: Any, request: Message) -> None:
        make_monotonic(reactor)
        self._reactor = reactor
        numbers = request.descriptors
        config = read_config(numbers[CONFIG])
        os.close(numbers[CONFIG])
        passed = [
            PassedDescriptor(number, name)
            for number, name in zip(numbers[CONFIG + 1 :], request.content["frontends"], strict=True)
        ]
        inherited = InheritedSockets(passed, is_handed_over=True)
        self._balancer = Balancer.from_config(reactor, config, inherited=inherited)
        self._balancer.prepare()
        inherited.close_unclaimed()
        self._channel = Channel(
            reactor, socket.socket(fileno=numbers[CONTROL]), self._on_message, self._supervisor_is_gone
        )
        self._drains = False

    def run(self) -> None:
        """Serve until the supervisor ends it and all sessions have ended."""
        self._balancer.when_listening().addCallbacks(lambda _: self._say({"ready": True}), self._failed)
        self._reactor.callWhenRunning(self._start)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._balancer.stopService)
        self._reactor.run(installSignalHandlers=False)

    def _start(self) -> None:
        signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self._drain))
        held_signals.release()
        self._balancer.startService()

    def _say(self, content: dict[str, Any]) -> None:
        self._channel.send(content)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):  # type: ignore[no-untyped-call]  # Twisted's
            self._say({"failed": str(failure.value)})
            self._drain()

    def _on_message(self, message: Message) -> None:
        match message.content:
            case {"reopen": True}:
                self._balancer.reopen_logs()
            case {"drain": True}:
                self._drain()
            case {"end_grace_now": True}:
                # Behind the stop of the services, which may be about to begin.
                self._reactor.callLater(0, self._balancer.end_grace_now)

    def _supervisor_is_gone(self) -> None:
        self._log.error("the supervisor has ended: no new connections; open sessions may finish")
        self._drain()

    def _drain(self) -> None:
        """Accept no more clients, and end when the open sessions have ended."""
        if self._drains:
            return
        self._drains = True
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            self._log.debug("already stopping")

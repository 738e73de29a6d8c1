"""A worker: a balancer that serves what comes to its sockets, and does what the supervisor says."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Any

import twisted.internet.epollreactor  # noqa: F401 - what the reactor is made of, before the fork
from twisted.internet.defer import CancelledError
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger, globalLogBeginner
from twisted.python.failure import Failure

from tcpbalance import held_signals
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.limits import limits_clients
from tcpbalance.balancer import Balancer
from tcpbalance.collector import spare_the_collector
from tcpbalance.control.in_pieces import give_way_to
from tcpbalance.environment import PassedDescriptor
from tcpbalance.errors import TcpbalanceError
from tcpbalance.logs.dropped_lines import DropReporter
from tcpbalance.net.clock import make_monotonic
from tcpbalance.net.errnos import OUT_OF_DESCRIPTORS
from tcpbalance.net.inherited import InheritedSockets
from tcpbalance.threads import in_thread, share_the_lock
from tcpbalance.workers.channel import Channel
from tcpbalance.workers.client_counts import ClientsOfPlace
from tcpbalance.workers.common_drains import FollowedDrains
from tcpbalance.workers.config_memory import read_config
from tcpbalance.workers.files import HandedFiles
from tcpbalance.workers.followed_pools import FollowedPools
from tcpbalance.workers.messages import MAX_TEXT, Message
from tcpbalance.workers.shared_counts import can_count
from tcpbalance.workers.shared_state import WorkerSharedState, word_of
from tcpbalance.workers.shortage import reason_of
from tcpbalance.workers.worker_change import WorkerChange
from tcpbalance.workers.worker_counts import WorkerCounts
from tcpbalance.workers.worker_hand_over import WorkerHandOver
from tcpbalance.workers.worker_load import WorkerLoad
from tcpbalance.workers.worker_log import WorkerLog

if TYPE_CHECKING:
    from tcpbalance.workers.answers import WorkerAnswers

CONTROL, LOG = 0, 1
"""Which of the descriptors of the first message is the connection to the supervisor, and which the pipe for
what is logged."""

_NOT_OURS = "another process of the place accepts"
"""Why clients are not accepted before this process is the one that does, and after that."""


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
    :param request: by which the worker was asked for; see ``WorkerProcess``.
    """

    _log = Logger()

    def __init__(self, reactor: Any, request: Message) -> None:
        make_monotonic(reactor)
        self._reactor = reactor
        numbers = request.descriptors
        self._own_log = WorkerLog(numbers[LOG])
        globalLogBeginner.beginLoggingTo([self._own_log], redirectStandardIO=False, discardBuffer=True)
        self.place: int = request.content["place"]
        self._passed: list[PassedDescriptor] = []
        self._memory = -1
        self._balancer: Balancer | None = None
        self._inherited = InheritedSockets(is_handed_over=True)
        self._files = HandedFiles()
        self._change: WorkerChange | None = None
        self._exchange = WorkerHandOver(reactor, self.place)
        self._load = WorkerLoad(self.place) if can_count() else None
        self._following = FollowedPools(reactor, self._say)
        self._shared_states: Sequence[WorkerSharedState] = []
        self._clients: ClientsOfPlace | None = None
        self._answers: WorkerAnswers | None = None
        self._drains = False
        self._is_over = False
        self._channel = Channel(
            reactor,
            socket.socket(fileno=numbers[CONTROL]),
            self._on_message,
            self._supervisor_is_gone,
            self._fail,
        )

    def run(self) -> None:
        """Serve until the supervisor ends it and all sessions have ended."""
        share_the_lock()
        self._reactor.callWhenRunning(spare_the_collector)
        signal.signal(signal.SIGTERM, lambda *_: self._reactor.callFromThread(self._leave))
        self._reactor.callWhenRunning(held_signals.release)
        self._reactor.callWhenRunning(DropReporter(self._reactor, self._own_log.report_dropped).startService)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        self._reactor.run(installSignalHandlers=False)

    def _stop(self) -> Any:
        if self._balancer is None:
            self._is_over = True
            return None
        ended = self._balancer.stopService().addCallback(lambda _: self._exchange.emptied())
        return ended.addBoth(self._end)

    def _end(self, outcome: Any) -> Any:
        self._is_over = True
        if self._answers is not None:
            self._answers.send_last_report()
        return outcome

    def _say(self, content: Mapping[str, Any]) -> None:
        self._channel.send(content)

    def _on_message(self, message: Message) -> None:
        word = word_of(message)
        try:
            if word in _ORDERS:
                _ORDERS[word](self, message)
            for state in self._shared_states:
                if word in state.words:
                    state.note(message)
        except Exception as error:
            # It does not know what the others know any more: another worker takes its place.
            self._fail(f"{word}: {self._reason(word, error)}")

    def _reason(self, word: str, error: Exception) -> str:
        """Say why a message could not be dealt with; with the way there, where it is a defect of ours."""
        if isinstance(error, OSError) and error.errno in OUT_OF_DESCRIPTORS:
            return reason_of(error)
        self._log.failure("{word}: could not be dealt with", word=word)
        return repr(error)

    # Orders

    def _take_sockets(self, message: Message) -> None:
        self._inherited.add(
            PassedDescriptor(os.dup(number), name)
            for number, name in zip(message.descriptors, message.content["sockets"], strict=True)
        )

    def _take_files(self, message: Message) -> None:
        self._files.stage(message.content["files"], message.descriptors)

    def _take_config(self, message: Message) -> None:
        if self._balancer is not None:
            self._memory = os.dup(message.descriptors[0])
            return
        files = self._files.begin()
        config = files.put_into(read_config(message.descriptors[0]))
        try:
            balancer = Balancer.from_config(
                self._reactor,
                config,
                inherited=self._inherited,
                worker=self.place,
                hand_over=self._exchange,
                load=self._load,
                following=self._following,
            )
            balancer.prepare()
        except TcpbalanceError as error:
            self._fail(str(error))
            return
        self._own_log.follow(config.log)
        balancer.report_config_to(lambda config: self._own_log.follow(config.log))
        self._inherited.close_unclaimed()
        files.commit()
        if config.cpu_affinity:
            _stay_on_one_cpu(self.place)
        self._balancer = balancer
        balancer.report_events_to(lambda kind, about: self._say({"event": kind, "about": about}))
        self._pause()
        self._shared_states = self._make_shared_states(balancer, answers=config.admin is not None)

    def _make_shared_states(self, balancer: Balancer, *, answers: bool) -> Sequence[WorkerSharedState]:
        """Make what this worker has in common with the others.

        :param answers: whether there is an admin side, which alone asks.
        """
        self._clients = ClientsOfPlace(lambda: limited_clients(balancer), self._say, self._reactor)
        give_way_to(self._reactor, balancer.others_wait)
        shared_states: list[WorkerSharedState] = [
            self._clients,
            self._exchange,
            self._following,
            FollowedDrains(balancer, monotonic),
        ]
        if answers:
            from tcpbalance.workers.answers import WorkerAnswers

            self._answers = WorkerAnswers(self._reactor, monotonic, balancer, self.place, self._channel.send)
            shared_states.append(self._answers)
        if self._load is not None:
            shared_states.append(WorkerCounts(self._reactor, self._load, Random().random))
        return shared_states

    def _begin(self, _: Message) -> None:
        if self._balancer is not None:
            self._balancer.when_listening().addCallbacks(lambda _: self._say({"ready": True}), self._failed)
            self._balancer.startService()

    def _pause(self) -> None:
        """Have all clients wait in the sockets."""
        if self._balancer is not None:
            for factory in self._balancer.factories.values():
                factory.registry.accept_pause.pause(_NOT_OURS)

    def _accept(self, _: Message) -> None:
        """Accept clients, which the process before this one does no more."""
        if self._balancer is not None:
            for factory in self._balancer.factories.values():
                factory.registry.accept_pause.resume(_NOT_OURS)
            self._exchange.begin(self._balancer.serve_handed_over, self._balancer.can_serve_handed_over)

    def _leave(self) -> None:
        """SIGTERM has come, to this process alone or to all: do what it would do if it was replaced."""
        if not self._drains:
            self._hand_over()

    def _hand_over(self, _: Message | None = None) -> None:
        """Accept no more clients, report those that there are, and drain."""
        if self._balancer is not None:
            self._exchange.is_replaced(self._balancer.take_back_handed_over())
        self._following.follow_to_the_end()
        self._pause()
        if self._clients is not None:
            self._clients.report()
        self._say({"handed_over": True})
        self._stop_reactor()

    def _prepare(self, message: Message) -> None:
        """Prepare the configuration that has come before."""
        assert self._balancer is not None
        memory, self._memory = self._memory, -1
        self._change = WorkerChange(
            self._balancer, memory, self._files.begin(), message.content["prepare"], self._say
        )
        self._change.prepare(in_thread(self._reactor))

    def _commit(self, message: Message) -> None:
        change, self._change = self._change, None
        if change is not None:
            change.commit()
            self._inherited.close_unclaimed()
            self._say({"committed": message.content["commit"]})

    def _abandon(self, _: Message) -> None:
        change, self._change = self._change, None
        if change is not None:
            change.abandon()
        self._inherited.discard()

    def _keep(self, _: Message) -> None:
        """The others have come to another configuration, this one drains: its clients stay with it."""
        self._exchange.leave()

    def _reopen(self, _: Message) -> None:
        if self._balancer is not None:
            self._balancer.reopen_logs()

    def _end_grace_now(self, _: Message) -> None:
        if self._balancer is not None:
            # Behind the stop of the services, which may be about to begin.
            self._reactor.callLater(0, self._balancer.end_grace_now)

    def _answer(self, _: Message) -> None:
        """Say that it goes on, and how many sessions it has."""
        self._say({"pong": 0 if self._balancer is None else self._balancer.summary().sessions})

    # Ending

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):  # type: ignore[no-untyped-call]  # Twisted's
            self._fail(str(failure.value))

    def _fail(self, error: str) -> None:
        self._say({"failed": error[:MAX_TEXT]})
        try:
            self._leave()
        except Exception:
            self._log.failure("the clients cannot be handed over")
            self._drain()

    def _supervisor_is_gone(self) -> None:
        if self._is_over:
            return  # The reactor closes what is left.
        # One that drains has handed its clients over so far, to workers that end now, too.
        self._log.error("the supervisor has ended: no new connections; open sessions may finish")
        self._drain()

    def _drain(self) -> None:
        """Accept no more clients, and end when the open sessions have ended."""
        self._exchange.leave()
        self._stop_reactor()

    def _stop_reactor(self) -> None:
        if self._drains:
            return
        self._drains = True
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            self._log.debug("already stopping")


_ORDERS: dict[str, Callable[[Worker, Message], None]] = {
    "sockets": Worker._take_sockets,
    "files": Worker._take_files,
    "config": Worker._take_config,
    "begin": Worker._begin,
    "accept": Worker._accept,
    "hand_over": Worker._hand_over,
    "ping": Worker._answer,
    "prepare": Worker._prepare,
    "commit": Worker._commit,
    "abandon": Worker._abandon,
    "keep": Worker._keep,
    "reopen": Worker._reopen,
    "drain": lambda worker, _: worker._drain(),
    "end_grace_now": Worker._end_grace_now,
}
"""What a worker does by the word of a message."""


def _stay_on_one_cpu(place: int) -> None:
    """Run on one of the CPUs that this process may use, which others by turns use, too."""
    cpus = sorted(os.sched_getaffinity(0))
    with suppress(OSError):  # It may have been taken away since.
        os.sched_setaffinity(0, {cpus[place % len(cpus)]})


def limited_clients(balancer: Balancer) -> dict[str, AdmissionControl]:
    """Give what counts the connections of clients, by frontend; none of frontends without limits for them."""
    found: dict[str, AdmissionControl] = {}
    for name, factory in balancer.factories.items():
        context = factory.context
        if context.admission is not None and limits_clients(context.limits):
            found[name] = context.admission.control
    return found

"""SIGUSR2: the program is started anew and takes over, with the listening sockets and without a gap."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance import held_signals
from tcpbalance.environment import (
    FIRST_DESCRIPTOR,
    HANDOVER,
    Environment,
    EnvironmentVariableError,
    PassedDescriptor,
)
from tcpbalance.event import OneTimeEvent
from tcpbalance.net.listener import Listener
from tcpbalance.orphans import FIRST_PROCESS

READY_WITHIN = 60.0
"""Seconds that a successor may take until it accepts clients, its first health checks among them."""

KILL_AFTER = 3.0
"""Seconds that a successor which has failed may take to end its health checks and remove its socket files."""

READY = b"READY=1\n"
"""What a successor writes when it accepts clients."""


@implementer(IReadDescriptor)
class Predecessor:
    """The program that serves until this one is ready.

    :param reactor: IReactorFDSet.
    :param descriptor: see ``Environment``; no child inherits it.
    :param passed: the sockets that it has handed over.
    :raises EnvironmentVariableError: it is not open.
    """

    def __init__(self, reactor: Any, descriptor: int, passed: Iterable[PassedDescriptor] = ()) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._with_file = {one.number for one in passed if one.owns_file}
        self._on_end: Callable[[], object] = lambda: None
        try:
            os.set_inheritable(descriptor, False)
        except OSError as error:
            raise EnvironmentVariableError(f"{HANDOVER}: descriptor {descriptor} is not open") from error

    def take_over(self, listeners: Iterable[tuple[str, Listener]], on_end: Callable[[], object]) -> None:
        """Have it drain, because this program accepts clients; to be called once.

        :param listeners: of this program; the files of the unix sockets are its own once the predecessor has
            handed over.
        :param on_end: called then.
        """
        with_file = [listener for _, listener in listeners if listener.fileno() in self._with_file]

        def own_files() -> None:
            for listener in with_file:
                if listener.is_listening:
                    listener.own_socket()
            on_end()

        # Not earlier: it may have given this program up, and goes on with the files then.
        self._on_end = own_files
        self._reactor.addReader(self)
        # Where it has ended meanwhile, this program is the only one, and serves.
        with suppress(BrokenPipeError):
            os.write(self._descriptor, READY)

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._descriptor

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "predecessor"

    def doRead(self) -> ConnectionDone:  # type: ignore[override]  # as Twisted's own readers
        """Twisted's call: nothing reads from the pipe any more."""
        return CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        """Twisted's call: the predecessor has closed its end, or the reactor is being torn down."""
        os.close(self._descriptor)
        if reason.check(ConnectionDone):  # type: ignore[no-untyped-call]  # Twisted's is not annotated
            self._on_end()


class Successor(ProcessProtocol):
    """The new program, until it is ready or has ended.

    One that ends, closes its descriptor or takes too long before it is ready has failed. It gets SIGTERM, and
    SIGKILL if it does not end.

    :param clock: IReactorTime.
    :param on_ready: called with its process id when it accepts clients.
    :param on_failure: called with the reason when it has failed and has ended.
    """

    _log = Logger()

    def __init__(
        self, clock: Any, on_ready: Callable[[int], None], on_failure: Callable[[str], None]
    ) -> None:
        self._clock = clock
        self._on_ready = on_ready
        self._on_failure = on_failure
        self._received = b""
        self._timeout: IDelayedCall | None = None
        self._is_ready = False
        self._failure = ""

    def connectionMade(self) -> None:
        """Twisted's call: it was started."""
        self._timeout = self._clock.callLater(READY_WITHIN, self._time_out)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Twisted's call: it has written to a descriptor."""
        self._received += data
        if self._received == READY:
            self._note_ready(childFD)
        elif not READY.startswith(self._received):
            self.give_up("wrote something else than that it was ready")

    def _note_ready(self, descriptor: int) -> None:
        self._stop_timer()
        if not self._is_starting:
            # It accepts clients, and SIGTERM lets their sessions finish, which SIGKILL would cut.
            return
        self._is_ready = True
        assert self.transport is not None
        self._on_ready(self.transport.pid)
        # From this it sees that the socket files are its own.
        self.transport.closeChildFD(descriptor)

    def childConnectionLost(self, childFD: int) -> None:
        """Twisted's call: no process has its end of a descriptor any more."""
        self.give_up("ended before it was ready")

    def processExited(self, reason: Failure) -> None:
        """Twisted's call: it has ended; what it has written may not be read yet."""
        self.give_up("ended before it was ready")

    def _time_out(self) -> None:
        self._timeout = None
        self.give_up(f"was not ready within {READY_WITHIN:g} s")

    @property
    def _is_starting(self) -> bool:
        return not self._is_ready and not self._failure

    def give_up(self, why: str) -> None:
        """Have it end, unless it is ready or has failed already.

        :param why: for the log.
        """
        if self._is_starting:
            self._failure = why
            self._stop_timer()
            self._signal("TERM")
            self._timeout = self._clock.callLater(KILL_AFTER, self._kill)

    def _kill(self) -> None:
        self._timeout = None
        self._signal("KILL")

    def _signal(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            assert self.transport is not None
            self.transport.signalProcess(name)

    def _stop_timer(self) -> None:
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None

    def processEnded(self, reason: Failure) -> None:
        """Twisted's call: it has ended, and all its descriptors are closed."""
        self._stop_timer()
        if self._is_ready:
            self._log.warn("the program that took over has ended: {how}", how=_how(reason))
        else:
            self._on_failure(f"{self._failure} ({_how(reason)})")


def _how(reason: Failure) -> str:
    """Word how a process has ended."""
    error = reason.value
    if not isinstance(error, ProcessTerminated):
        return "exit status 0"
    return f"exit status {error.exitCode}" if error.signal is None else f"signal {error.signal}"


class HandsOver(Protocol):
    """What is needed of a ``Balancer``."""

    def when_listening(self) -> Deferred[bool]: ...

    def listeners(self) -> list[tuple[str, Listener]]: ...


class Upgrader(Service):
    """Starts the program anew on request, and hands over to it when it is ready.

    The new program gets the command line of this one and its listening sockets. Both accept clients from when
    it is ready until this one has stopped accepting. If it fails, this one goes on as before.

    :param reactor: IReactorProcess and IReactorTime.
    :param balancer: whose listeners are handed over.
    :param environment: of this program.
    :param hand_over: called with the process id of the new program when it has taken over; this one is to
        drain and to end then.
    :param command: of the new program.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        balancer: HandsOver,
        environment: Environment,
        hand_over: Callable[[int], None],
        command: Sequence[str] = (sys.executable, *sys.orig_argv[1:]),
    ) -> None:
        self._reactor = reactor
        self._balancer = balancer
        self._environment = environment
        self._hand_over = hand_over
        self._command = command
        self._started_as = os.getpid()
        self._is_under_way = False
        self._successor: Successor | None = None
        self._successor_ended: OneTimeEvent[None] = OneTimeEvent()
        self._signals: dict[signal.Signals, Callable[[], object]] = {}

    def upgrade(self) -> None:
        """Start the new program, as soon as this one accepts clients itself."""
        if not self.running:
            self._log.warn("SIGUSR2: this program ends already, no new one is started")
        elif self._is_under_way:
            self._log.info("SIGUSR2: the new program is being started already")
        elif os.getpid() == FIRST_PROCESS:
            self._refuse(
                "this is the first process of its container, which ends with it: restart the container"
            )
        elif self._environment.ends_its_service:
            self._refuse("systemd would stop the service when this process ends: use Type=notify in the unit")
        elif os.getpid() != self._started_as:
            self._refuse("twistd runs in the background: use `tcpbalance run` or `twistd -n --pidfile=`")
        else:
            self._is_under_way = True
            self._balancer.when_listening().addCallbacks(self._start, lambda _: None)

    def note_signal(self, number: signal.Signals, if_it_fails: Callable[[], object] = lambda: None) -> bool:
        """Pass a signal on to the new program when it takes over, where one is being started.

        It may have read or opened its files already, before they were changed and the signal was sent.

        :param if_it_fails: called where the new program fails and this one goes on.
        :returns: whether one is being started.
        """
        if self._is_under_way:
            self._signals[number] = if_it_fails
        return self._is_under_way

    def _refuse(self, why: str) -> None:
        self._log.error("SIGUSR2: no new program can take over, {why}", why=why)

    def _start(self, _: bool) -> None:
        if not self.running:
            return
        # One that a reload has added may still wait for its backends; the new program binds its address anew.
        listeners = [pair for pair in self._balancer.listeners() if pair[1].is_listening]
        try:
            self._successor = self._spawn(listeners)
        except OSError as error:
            self._fail(f"cannot be started: {error}")
        except Exception as error:
            failure = Failure()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
            self._log.failure("SIGUSR2: the new program is not started", failure)
            self._fail(f"cannot be started: {error!r}")
        else:
            self._log.info(
                "SIGUSR2: the new program starts with {count} listening sockets: {command}",
                count=len(listeners),
                command=" ".join(self._command),
            )

    def _spawn(self, listeners: Sequence[tuple[str, Listener]]) -> Successor:
        successor = Successor(self._reactor, lambda pid: self._succeed(pid, listeners), self._fail)
        descriptors: dict[int, Any] = {0: 0, 1: 1, 2: 2, FIRST_DESCRIPTOR: "r"}
        passed = []
        for number, (name, listener) in enumerate(listeners, FIRST_DESCRIPTOR + 1):
            descriptors[number] = listener.fileno()
            passed.append(PassedDescriptor(number, name, listener.owns_file))
        variables = self._environment.for_successor(os.environ, FIRST_DESCRIPTOR, passed)
        # The new program begins with signals blocked, so that none can end it before it has handlers.
        held_signals.hold()
        try:
            self._reactor.spawnProcess(
                successor, self._command[0], self._command, env=variables, childFDs=descriptors
            )
        finally:
            held_signals.release()
        return successor

    def _succeed(self, pid: int, listeners: Sequence[tuple[str, Listener]]) -> None:
        self._successor = None
        for _, listener in listeners:
            listener.leave_socket()
        self._log.info("SIGUSR2: process {pid} has taken over; open sessions may finish here", pid=pid)
        self._hand_over(pid)
        for number in sorted(self._signals):
            self._log.info("{name} is passed on to process {pid}", name=number.name, pid=pid)
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _fail(self, why: str) -> None:
        self._is_under_way = False
        self._successor = None
        signals, self._signals = self._signals, {}
        if not self.running:
            self._successor_ended.settle(None)
            return
        self._log.error("SIGUSR2: the new program {why}; this one goes on", why=why)
        for go_on in signals.values():
            go_on()

    def stopService(self) -> Deferred[None]:
        """Have a new program end that is not ready: it was to take over from a program that runs.

        :returns: fires when it has ended.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        if self._successor is None:
            return succeed(None)
        self._successor.give_up("is not needed, because this one was stopped")
        return self._successor_ended.wait()

"""What signals do to a daemon, and how it ends."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import succeed
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from tcpbalance import held_signals
from tcpbalance.config_reloader import ConfigReloader
from tcpbalance.systemd.notifier import Notifier


class Served(Protocol):
    """What is needed of a ``Balancer``; a ``Supervisor`` has it, too."""

    def reload_files(self) -> None: ...

    def reopen_logs(self) -> None: ...

    def end_grace_now(self) -> None: ...


class Renewal(Protocol):
    """What SIGUSR2 begins: new code goes on with the addresses."""

    def upgrade(self) -> None:
        """Begin."""
        ...

    def note_signal(self, number: signal.Signals, if_it_fails: Callable[[], object] = lambda: None) -> bool:
        """Take note of a signal that another program that is being started may have to get, too.

        :param if_it_fails: called where that program fails and this one goes on.
        :returns: whether one is being started.
        """
        ...


class Shutdown:
    """Ends the daemon in order; at a second request, at once.

    :param reactor: stops when the last session has ended.
    :param balancer: serves them until then.
    """

    _log = Logger()

    def __init__(self, reactor: Any, balancer: Served) -> None:
        self._reactor = reactor
        self._balancer = balancer
        self._has_begun = False

    def begin(self, name: str) -> None:
        """Accept no more clients, and end when the open sessions have ended.

        :param name: of the signal that asks for it.
        """
        if self._has_begun:
            self._log.info("{name} again: ending open sessions now", name=name)
            self._balancer.end_grace_now()
            return
        self._has_begun = True
        self._log.info("{name}: no new connections; open sessions may finish", name=name)
        try:
            self._reactor.stop()
        except ReactorNotRunning:
            self._log.debug("already stopping")


class Signals(Service):
    """SIGTERM and SIGINT end in order, a second one at once; SIGUSR1 reopens the access log; SIGHUP reads
    the configuration file, certificates and lists again; SIGUSR2 starts the program anew, which takes over.

    Twisted's own handlers make ``twistd`` end by the signal it got; an orderly end is a success and exits
    with 0.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        balancer: Served,
        shutdown: Shutdown,
        notifier: Notifier | None,
        renewal: Renewal,
        reloader: ConfigReloader | None,
    ) -> None:
        self._reactor = reactor
        self._reloader = reloader
        self._balancer = balancer
        self._shutdown = shutdown
        self._notifier = notifier
        self._renewal = renewal

    def startService(self) -> None:
        """Take the signals over from the reactor, and release those that came since ``makeService``."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._install()
        held_signals.release()

    def _install(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_end)
        before = signal.getsignal(signal.SIGUSR1)

        def reopen(number: int, frame: FrameType | None) -> None:
            self._reactor.callFromThread(self._reopen)
            if callable(before):  # twistd's own, which rotates the file of --logfile
                before(number, frame)

        signal.signal(signal.SIGUSR1, reopen)
        signal.signal(signal.SIGHUP, self._on_reload)
        signal.signal(signal.SIGUSR2, self._on_upgrade)

    def _reopen(self) -> None:
        self._renewal.note_signal(signal.SIGUSR1)
        self._balancer.reopen_logs()

    def _on_reload(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._reload)

    def _reload(self) -> None:
        if self._notifier is not None:
            self._notifier.reloading()
        if self._renewal.note_signal(signal.SIGHUP, self._reload):
            # The new program has sockets already, which a reload here would close or bind anew.
            self._log.info("SIGHUP: the new program that starts reads the configuration, this one does not")
            self._balancer.reload_files()
            self._reloaded(None)
        elif self._reloader is None:
            self._balancer.reload_files()
            self._reloaded(None)
        else:
            self._reloader.reload().addCallback(self._reloaded)

    def _reloaded(self, _: object) -> None:
        if self._notifier is not None:
            self._notifier.reloaded()

    def _on_upgrade(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._upgrade)

    def _upgrade(self) -> None:
        """Start the new program, once a reload that is under way has closed and bound its sockets."""
        done = succeed(None) if self._reloader is None else self._reloader.finish()
        done.addCallback(lambda _: self._renewal.upgrade())

    def _on_end(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._shutdown.begin, signal.Signals(number).name)

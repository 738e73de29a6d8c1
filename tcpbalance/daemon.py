"""The daemon: a balancer, or a supervisor with workers, and what the process needs besides."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Mapping
from time import monotonic, time
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError
from twisted.logger import ILogObserver
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from tcpbalance.balancer import Balancer
from tcpbalance.collector import spare_the_collector
from tcpbalance.config.models import Config
from tcpbalance.config.pieces import KnownTables
from tcpbalance.config_reader import read_config
from tcpbalance.config_reloader import ConfigReloader, read_settled
from tcpbalance.control.in_pieces import give_way_to
from tcpbalance.environment import Environment
from tcpbalance.errors import TcpbalanceError
from tcpbalance.logs.daemon_log import DaemonLog
from tcpbalance.logs.dropped_lines import DropReporter
from tcpbalance.net.binding import ListenError
from tcpbalance.net.clock import make_monotonic
from tcpbalance.net.descriptors import raise_limit
from tcpbalance.net.inherited import InheritedSockets
from tcpbalance.net.own_listeners import warn_of_loops_by_name
from tcpbalance.orphans import FIRST_PROCESS, OrphanReaper
from tcpbalance.privileges import Identity
from tcpbalance.signals import Renewal, Shutdown, Signals
from tcpbalance.systemd.notifier import Notifier
from tcpbalance.systemd.notify_socket import NotifySocket
from tcpbalance.threads import in_thread, share_the_lock
from tcpbalance.upgrade import Predecessor, Upgrader

if TYPE_CHECKING:
    from tcpbalance.control.controls import Controls
    from tcpbalance.workers.supervisor import Supervisor

NOT_OURS = (
    "LISTEN_FDS: the sockets are for process {pid}, not for this one; a script that starts the program must "
    "do so with exec"
)
"""A hint, where an address is in use because systemd listens there. Without that, the variable may be left
over from a program that started a shell."""


def build_or_exit(
    reactor: Any, config_file: str | None, variables: Mapping[str, str], log: DaemonLog | None = None
) -> Daemon:
    """Make what ``twistd tcpbalance`` and ``tcpbalance run`` run. It has its addresses and log file then.

    :param config_file: None for the demo.
    :param variables: of the environment, as ``take_variables`` took them.
    :param log: follows the configuration from then on.
    :raises SystemExit: with status 1, when it cannot start; standard error has one line for each reason.
    """
    make_monotonic(reactor)
    environment = Environment()
    try:
        environment = Environment.read(variables, os.getpid())
        if config_file is None:
            return _demo(reactor, environment)
        return _from_file(reactor, config_file, environment, log or DaemonLog())
    except TcpbalanceError as error:
        print(error, file=sys.stderr)
        if environment.other_pid is not None and isinstance(error, ListenError):
            print(NOT_OURS.format(pid=environment.other_pid), file=sys.stderr)
        raise SystemExit(1) from None


def _from_file(reactor: Any, path: str, environment: Environment, log: DaemonLog) -> Daemon:
    known = KnownTables()
    config = read_config(path, known=known)
    log.follow(config.log)
    if config.workers > 1:
        service, supervisor = _with_workers(reactor, path, known, config, environment)
        supervisor.report_config_to(lambda config: log.follow(config.log))
    else:
        service = _alone(reactor, path, known, config, environment, log)
    DropReporter(reactor, log.report_dropped).setServiceParent(service)  # type: ignore[no-untyped-call]
    return service


def _alone(
    reactor: Any, path: str, known: KnownTables, config: Config, environment: Environment, log: DaemonLog
) -> Daemon:
    identity = Identity.of(config)
    inherited = InheritedSockets(environment.passed, environment.has_predecessor)
    balancer = Balancer.from_config(reactor, config, inherited=inherited)
    balancer.prepare()
    balancer.report_config_to(lambda config: log.follow(config.log))
    inherited.close_unclaimed()
    reloader = ConfigReloader(
        reactor, path, balancer, in_thread(reactor), lambda again: read_settled(again, known)
    )
    service = daemon(reactor, balancer, environment, reloader, inherited.remove_files)
    give_way_to(reactor, balancer.others_wait)

    def make_controls() -> Controls:
        from tcpbalance.control.process_controls import ProcessControls

        return ProcessControls(reactor, balancer, reloader)

    _add_admin(service, reactor, config, environment, make_controls)
    if identity is not None:
        identity.become()
    balancer.when_listening().addCallbacks(
        lambda _: warn_of_loops_by_name(config, balancer.addresses_of), lambda _: None
    )
    return service


def _with_workers(
    reactor: Any, path: str, known: KnownTables, config: Config, environment: Environment
) -> tuple[Daemon, Supervisor]:
    # A process that serves itself does without all that.
    from tcpbalance.workers.requirements import refuse_workers_without
    from tcpbalance.workers.restart import WorkersRestart
    from tcpbalance.workers.supervisor import Supervisor

    refuse_workers_without(environment)
    identity = Identity.of(config)
    # It has a socket for each address and worker, and the content of each file.
    raise_limit()
    supervisor = Supervisor(reactor, config)
    supervisor.prepare()
    give_way_to(reactor, supervisor.others_wait)
    reactor.callWhenRunning(spare_the_collector)
    reloader = ConfigReloader(
        reactor, path, supervisor, in_thread(reactor), lambda again: read_settled(again, known)
    )
    service = _daemon(reactor, supervisor, environment, lambda _: WorkersRestart(supervisor), reloader)

    def make_controls() -> Controls:
        from tcpbalance.workers.fleet_controls import FleetControls

        return FleetControls(reactor, supervisor, reloader)

    _add_admin(service, reactor, config, environment, make_controls)
    if identity is not None:
        identity.become()
    return service, supervisor


def _add_admin(
    service: MultiService,
    reactor: Any,
    config: Config,
    environment: Environment,
    make_controls: Callable[[], Controls],
) -> None:
    """Add the admin side, where there is to be one; it has its address then.

    :raises TcpbalanceError: it cannot be had.
    """
    if config.admin is None:
        return
    # Only the admin side needs Twisted's HTTP server.
    from importlib.metadata import version

    from tcpbalance.control.admin_service import AdminService
    from tcpbalance.control.operations import operations

    routes = operations(make_controls(), {"version": version("tcpbalance"), "started": time()})
    has_predecessor = environment.has_predecessor
    admin = AdminService(reactor, config.admin, routes, in_thread(reactor), has_predecessor=has_predecessor)
    admin.prepare()
    admin.setServiceParent(service)  # type: ignore[no-untyped-call]  # Twisted's


def _demo(reactor: Any, environment: Environment) -> Daemon:
    # Only the demo needs Twisted's HTTP server.
    from tcpbalance.demo import Demo

    demo = Demo(reactor)
    demo.balancer.prepare()
    service = daemon(reactor, demo.balancer, environment)
    demo.setServiceParent(service)  # type: ignore[no-untyped-call]  # Twisted's
    return service


def daemon(
    reactor: Any,
    balancer: Balancer,
    environment: Environment,
    reloader: ConfigReloader | None = None,
    on_taken_over: Callable[[], object] = lambda: None,
) -> Daemon:
    """Make one service of a balancer and what the process needs besides: signal handling, reports to the
    service manager, and the reaping of orphans where it is the first process of its container.

    An application that embeds a balancer has children of its own, and reaps orphans itself.

    :param reloader: reads the configuration file again; None where there is none.
    :param on_taken_over: called when a predecessor has handed over.
    """
    service = _daemon(
        reactor,
        balancer,
        environment,
        lambda hand_over: Upgrader(reactor, balancer, environment, hand_over),
        reloader,
    )
    if os.getpid() == FIRST_PROCESS:
        # A supervisor reaps orphans in any case, whose parent it is wherever it runs.
        OrphanReaper(reactor).setServiceParent(service)  # type: ignore[no-untyped-call]  # Twisted's
    if environment.ready_descriptor is not None:
        predecessor = Predecessor(reactor, environment.ready_descriptor, environment.passed)
        balancer.when_listening().addCallbacks(
            lambda _: predecessor.take_over(balancer.listeners(), on_taken_over), lambda _: None
        )
    reactor.callWhenRunning(spare_the_collector)
    share_the_lock()
    return service


def _daemon(
    reactor: Any,
    served: Balancer | Supervisor,
    environment: Environment,
    make_renewal: Callable[[Callable[[int], None]], Renewal],
    reloader: ConfigReloader | None,
) -> Daemon:
    """Make the service of a process.

    :param make_renewal: makes what SIGUSR2 begins; gets what is to be called with the process id of a program
        that has taken over.
    """
    service = Daemon(reactor)
    notifier = None
    if environment.notify_socket is not None:
        manager = NotifySocket(environment.notify_socket)
        notifier = Notifier(reactor, manager, served, environment.watchdog, monotonic)
    shutdown = Shutdown(reactor, served)

    def hand_over(pid: int) -> None:
        if notifier is not None:
            notifier.hand_over(pid)
        shutdown.begin("SIGUSR2")

    renewal = make_renewal(hand_over)
    if reloader is not None:
        reloader.gives_way = lambda: renewal.note_signal(signal.SIGHUP, reloader.reload)
    signals = Signals(reactor, served, shutdown, notifier, renewal, reloader)
    parts: list[Any] = [signals, renewal, reloader, notifier, served]
    for part in parts:
        if part is not None:
            part.setServiceParent(service)
    served.when_listening().addErrback(_fail, reactor)
    return service


def _fail(failure: Failure, reactor: Any) -> None:
    """End a daemon that cannot go on, with exit status 1; ``twistd`` offers no way to set one."""
    if failure.check(CancelledError):  # type: ignore[no-untyped-call]  # Twisted's
        return  # It was stopped before it accepted clients.
    atexit.register(_exit_with_failure)
    reactor.callWhenRunning(reactor.stop)


def _exit_with_failure() -> None:
    sys.stdout.flush()
    os._exit(1)


class Daemon(MultiService):
    """Starts its services in their order, once the reactor runs and has set its own signal handlers.

    So signal handling starts first, and no thread and no program of a health check starts while signals are
    blocked, which it would inherit.

    :ivar log: what the application is to log by that it becomes a part of; None for that one's own choice.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._reactor = reactor
        self.log: DaemonLog | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Twisted's call: it becomes a part of an application, whose log ``twistd`` begins afterwards."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]  # Twisted's
        if self.log is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self.log)  # type: ignore[no-untyped-call]  # Twisted's

    def startService(self) -> None:
        """Start when the reactor does."""
        self._reactor.callWhenRunning(super().startService)

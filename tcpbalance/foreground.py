"""Runs a daemon in the foreground: what ``tcpbalance run`` does in the place of ``twistd``."""

from __future__ import annotations

import platform

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorCore
from twisted.logger import ILogObserver, Logger, globalLogBeginner

import twisted


def run(reactor: IReactorCore, service: Service, version: str, observer: ILogObserver) -> None:
    """Run a service until the reactor stops, and log meanwhile.

    What was logged before comes behind the first line. What is printed becomes a part of the log, as it does
    under ``twistd``.

    :param service: starts before the reactor runs, and stops before the reactor does.
    :param version: of tcpbalance, for the first line.
    :param observer: gets what is logged.
    """
    log = Logger("tcpbalance", observer=observer)
    log.info(
        "tcpbalance {version} starts (Twisted {twisted}, {reactor}, {python} {python_version})",
        version=version,
        twisted=twisted.__version__,
        reactor=type(reactor).__name__,
        python=platform.python_implementation(),
        python_version=platform.python_version(),
    )
    globalLogBeginner.beginLoggingTo([observer])
    service.privilegedStartService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
    service.startService()  # type: ignore[no-untyped-call]
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    log.info("tcpbalance has ended")

"""What ``twistd`` loads of tcpbalance to read the command line: the options, and how to go on from there.

It imports next to nothing: only with ``makeService`` are signals held back, and what the balancer is made of
takes longer to import than Python and ``twistd`` take to start.
"""

from __future__ import annotations

import os

from twisted.application.service import IService
from twisted.python import usage

from tcpbalance import held_signals

DAEMON_UMASK = 0o077
"""What ``twistd`` sets in the background unless ``--umask`` says otherwise."""

NO_SOCKETS = (
    "LISTEN_FDNAMES: twistd has lost the sockets that systemd passes, while it looked for plugins; use "
    "`tcpbalance run FILE` in the unit"
)
"""Twisted's endpoints remove ``LISTEN_FDS`` when they are imported. Without a valid cache of its plugins,
``twistd`` imports them all, and the endpoints with them."""


class Options(usage.Options):
    """The options of ``twistd tcpbalance``."""

    synopsis = "--config FILE | --demo"
    longdesc = "A TCP reverse proxy and load balancer."
    optParameters = [["config", "c", None, "The configuration file (TOML)."]]  # noqa: RUF012  # Twisted's way to declare
    optFlags = [["demo", None, "Run a demonstration on 127.0.0.1:8080 with three small HTTP servers."]]  # noqa: RUF012

    def postOptions(self) -> None:
        """Refuse what makes no sense.

        :raises usage.UsageError: neither or both of the two ways to run were asked for.
        """
        if bool(self["config"]) == bool(self["demo"]):
            raise usage.UsageError("give either --config FILE or --demo")


def makeService(options: Options) -> IService:
    """Build what ``twistd`` runs; ends the process with one line for each reason when it cannot.

    :param options: as parsed.
    """
    # Until our own handlers are there, a signal would end the process and leave its socket files.
    held_signals.hold()
    from tcpbalance.environment import take_variables

    variables = take_variables(os.environ)
    if "LISTEN_FDNAMES" in variables and "LISTEN_FDS" not in variables:
        raise SystemExit(NO_SOCKETS)
    if options.parent is not None:
        _set_umask(options.parent)
    from twisted.internet import reactor

    from tcpbalance.daemon import build_or_exit
    from tcpbalance.logs.daemon_log import DaemonLog
    from tcpbalance.twistd_log import target_of

    log = DaemonLog()
    service = build_or_exit(reactor, None if options["demo"] else options["config"], variables, log)
    target = None if options.parent is None else target_of(options.parent, reactor)
    if target is not None:
        log.write_to(target)
        service.log = log
    return service


def _set_umask(runner: usage.Options) -> None:
    """Set what ``twistd`` is going to set, because unix sockets are made before; ``twist`` sets none."""
    mask = runner.get("umask")
    if mask is None and not runner.get("nodaemon", True):
        mask = DAEMON_UMASK
    if mask is not None:
        os.umask(mask)

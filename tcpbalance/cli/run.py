"""``tcpbalance run``: the balancer, in the foreground."""

from __future__ import annotations

import argparse
import os
import sys

from tcpbalance import held_signals
from tcpbalance.cli.command_parser import Commands
from tcpbalance.cli.version import installed_version


def add_run(commands: Commands) -> None:
    """Add the command to a parser."""
    run = commands.add_parser("run", help="run the balancer in the foreground", allow_abbrev=False)
    run.add_argument("-r", "--reactor", metavar="NAME", help="Twisted's reactor; epoll by default on Linux")
    run.add_argument("file", metavar="FILE", help="the configuration file (TOML)")
    run.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    # Until our own handlers are there, a signal would end the process and leave its socket files.
    held_signals.hold()
    from tcpbalance.environment import take_variables

    variables = take_variables(os.environ)
    if arguments.reactor is not None:
        _install_reactor(arguments.reactor)
    from twisted.internet import reactor

    from tcpbalance.daemon import build_or_exit
    from tcpbalance.foreground import run
    from tcpbalance.logs.daemon_log import DaemonLog
    from tcpbalance.logs.log_stream import LogStream

    log = DaemonLog()
    service = build_or_exit(reactor, arguments.file, variables, log)
    log.write_to(LogStream(sys.stderr))
    run(reactor, service, installed_version(), log)
    return 0


def _install_reactor(name: str) -> None:
    """Choose the reactor, before the first import of it.

    :raises SystemExit: there is no such reactor, or it cannot be used here.
    """
    from twisted.application.reactors import NoSuchReactor, getReactorTypes, installReactor

    try:
        installReactor(name)
    except NoSuchReactor:
        from tcpbalance.config.messages import must_be_one_of

        names = sorted({kind.shortName for kind in getReactorTypes()})
        sys.exit(f"tcpbalance run: --reactor {must_be_one_of(name, names)}")
    except Exception as error:  # it is an extension, and may need what is not installed
        sys.exit(f"tcpbalance run: --reactor {name}: cannot be used: {error}")

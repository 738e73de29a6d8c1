"""Reads a configuration file, with the policies and probes that are installed, and looks at this machine for
what would not work.

A worker does not import this: it gets a configuration that was read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from twisted.logger import Logger

from tcpbalance.admission.deny_file import mistakes_in_deny_file
from tcpbalance.admission.token_files import mistakes_in_token_files
from tcpbalance.admission.users_file import mistakes_in_users_file
from tcpbalance.config.admin import AdminConfig
from tcpbalance.config.admission import AccessConfig
from tcpbalance.config.bypasses import bypasses
from tcpbalance.config.connect import ConnectConfig
from tcpbalance.config.errors import KeyPath, Mistake, Problem, Severity
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.loader import FileTable, Report, load
from tcpbalance.config.models import Config
from tcpbalance.config.pieces import KnownTables
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.health.extensions import probes
from tcpbalance.http.pages import mistakes_in_pages
from tcpbalance.journal.examination import mistakes_in_state_file
from tcpbalance.net.own_listeners import loops_by_address, loops_by_name
from tcpbalance.net.resolver import LOOKUP_TIMEOUT
from tcpbalance.net.resolver.answer import Verdict
from tcpbalance.net.resolver.blocking import look_up_all
from tcpbalance.net.resolver.knowledge import verdict_of
from tcpbalance.net.tls.examination import mistakes_in_files
from tcpbalance.pool.extensions import policies

_log = Logger()


def _log_problem(problem: Problem) -> None:
    _log.warn("{problem}", problem=str(problem))


def read_config(
    path: str | os.PathLike[str],
    report: Report = _log_problem,
    *,
    thorough: bool = False,
    rest: Callable[[], object] = lambda: None,
    known: KnownTables | None = None,
) -> Config:
    """Load a configuration file, with the policies and probes that are installed.

    :param report: called with each mistake that does not stop the start; writes it to the log by default.
    :param thorough: whether to find all that can be found beforehand, as ``tcpbalance check`` does: names are
        looked up, and what is wrong with a file that a part reads, and can do without, is reported. At the
        start, and at each reload, that part says so itself.
    :param rest: called often in the middle of long work.
    :param known: what was read of the file before; see ``load``.
    :raises ConfigError: the file has mistakes that stop the start; the text lists all of them.
    """
    return load(
        path,
        policies=policies(),
        probes=probes(),
        examine=_examine if thorough else _examine_for_start,
        examine_draft=loops_by_address,
        examine_all=_examine_thoroughly if thorough else _examine_all,
        report=report,
        rest=rest,
        known=known,
    )


def _examine_all(config: Config) -> Iterator[Mistake]:
    return bypasses(config.frontends)


def _examine_thoroughly(config: Config) -> Iterator[Mistake]:
    yield from _examine_all(config)
    yield from _examine_names(config)


def _examine_names(config: Config) -> Iterator[Mistake]:
    """Find the backends whose names have no address at the moment, or lead to a listener of our own."""
    places: dict[str, list[KeyPath]] = {}
    for name, pool in config.pools.items():
        for index, backend in enumerate(pool.backends):
            if backend.address.is_name:
                places.setdefault(str(backend.address.host), []).append(("pools", name, "backends", index))
    replies = look_up_all(places, config.resolver, LOOKUP_TIMEOUT)
    for host, reply in replies.items():
        verdict = verdict_of(reply)
        if verdict is not Verdict.FOUND:
            for place in places[host]:
                yield Mistake(place, f"{host}: {verdict.value}", Severity.WARNING)
    known = {host: reply.addresses for host, reply in replies.items()}
    yield from loops_by_name(config, lambda host: known.get(host, ()))


def _examine_for_start(path: KeyPath, table: FileTable) -> Iterator[Mistake]:
    if isinstance(table, AdminConfig):
        # The admin side reads them at the start. A reload does not, after which the user may not.
        return iter(())
    return (mistake for mistake in _examine(path, table) if mistake.severity is Severity.FATAL)


def _examine(path: KeyPath, table: FileTable) -> Iterator[Mistake]:
    """Find what is wrong in the files that a table names."""
    if isinstance(table, AdminConfig):
        return mistakes_in_token_files(path, table)
    if isinstance(table, AccessConfig):
        return mistakes_in_deny_file(path, table)
    if isinstance(table, AffinityConfig):
        return mistakes_in_state_file(path, table)
    if isinstance(table, ConnectConfig):
        return mistakes_in_users_file(path, table)
    if isinstance(table, FrontendConfig):
        return mistakes_in_pages(path, table)
    return mistakes_in_files(path, table)

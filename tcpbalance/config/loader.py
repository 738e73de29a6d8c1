"""Reads a configuration file and reports every mistake in it at once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import cattrs

from tcpbalance.config import rules
from tcpbalance.config.admin import AdminConfig
from tcpbalance.config.admission import AccessConfig
from tcpbalance.config.connect import ConnectConfig
from tcpbalance.config.draft import CannotTell, Mistakes, tables
from tcpbalance.config.errors import ConfigError, KeyPath, Mistake, Problem, Severity
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.models import Config
from tcpbalance.config.pieces import KnownTables, Table
from tcpbalance.config.pools import AffinityConfig
from tcpbalance.config.positions import Positions
from tcpbalance.config.source import parse, positions, read_text
from tcpbalance.config.tables import config_converter
from tcpbalance.config.tls import TlsConfig

FileTable: TypeAlias = (
    TlsConfig | AccessConfig | AffinityConfig | ConnectConfig | FrontendConfig | AdminConfig
)
"""A table that names files."""

Examine: TypeAlias = Callable[[KeyPath, FileTable], Iterable[Mistake]]
"""Looks at the files that a table names, given where the table stands."""

ExamineAll: TypeAlias = Callable[[Config], Iterable[Mistake]]

Report: TypeAlias = Callable[[Problem], object]
"""Takes a mistake that does not keep the configuration from being used."""


def load(
    path: str | os.PathLike[str],
    *,
    policies: Collection[str],
    probes: Mapping[str, type],
    examine: Examine = lambda path, table: (),
    examine_draft: ExamineAll = lambda draft: (),
    examine_all: ExamineAll = lambda config: (),
    report: Report = lambda problem: None,
    rest: Callable[[], object] = lambda: None,
    known: KnownTables | None = None,
) -> Config:
    """Read a configuration file.

    :param path: the file; relative paths in it are relative to its folder.
    :param policies: the known values of ``balance``.
    :param probes: the known values of ``check``, each with the attrs class whose fields are its further keys.
    :param examine: finds what is wrong in the files that the configuration names.
    :param examine_draft: finds what is wrong on this machine with the configuration as far as it can be read.
    :param examine_all: finds what is wrong with a configuration that has no fatal mistake.
    :param report: called with each mistake, in the order of their lines, where none of them is fatal.
    :param rest: called often; ``give_way`` in a thread.
    :param known: what the last call for this file has read: tables whose text is the same are not read again,
        and the models are the same objects. Kept up to date.
    :returns: the configuration, with all paths absolute.
    :raises ConfigError: one is fatal; with every mistake, its line, and what to do.
    """
    file = os.fspath(path)
    text = read_text(file)
    known = known or KnownTables()
    before = known.by_text  # Another call for the same file may replace it meanwhile.
    document, pieces = parse(file, text, before, rest)
    folder = Path(file).absolute().parent
    config, found = _structured(document, config_converter(folder, policies, probes, rest, before.values()))
    if not found:
        known.keep(pieces, config)
    rest()
    found += _others(found, examine_draft(config), document)
    for table_path, table in _file_tables(config):
        rest()
        with contextlib.suppress(CannotTell):
            found += list(examine(table_path, table))
    fatal = any(mistake.severity is Severity.FATAL for mistake in found)
    if not fatal:
        found += examine_all(config)
    if not found:
        return config
    problems = sorted(_located(file, positions(file, text), found), key=lambda problem: problem.line)
    if fatal:
        raise ConfigError(problems)
    for problem in problems:
        report(problem)
    return config


def _structured(document: Table, converter: cattrs.Converter) -> tuple[Config, list[Mistake]]:
    """Make the models of a document, or drafts of them, and find what is wrong."""
    try:
        return converter.structure(document, Config), []
    except Mistakes as error:
        draft = error.draft
        found = [_grounded(mistake, document) for mistake in error.mistakes]
        return draft, found + _others(
            found,
            rules.broken(draft.frontends, draft.pools, draft.workers, draft.access_log, draft.admin),
            document,
        )


def _others(found: Iterable[Mistake], broken: Iterable[Mistake], document: Table) -> list[Mistake]:
    """Leave out what is wrong with keys that are refused already, which may follow from that."""
    refused = {mistake.path for mistake in found}
    grounded = [_grounded(mistake, document) for mistake in broken]
    return [mistake for mistake in grounded if mistake.path not in refused]


def _file_tables(config: Config) -> Iterator[tuple[KeyPath, FileTable]]:
    """Give each table that names files, with where it stands."""
    named: list[tuple[KeyPath, FileTable | None]] = []
    with contextlib.suppress(CannotTell):
        named += [(("admin",), config.admin)] if config.admin else []
    for path, frontend in tables("frontends", config.frontends):
        named += [((*path, "tls"), frontend.tls), ((*path, "access"), frontend.access)]
        named.append(((*path, "connect"), frontend.connect))
        with contextlib.suppress(CannotTell):
            # The files of its answers stand in several tables.
            named += [(path, frontend)] if frontend.mode == "http" else []
    for path, pool in tables("pools", config.pools):
        named += [((*path, "tls"), pool.tls), ((*path, "affinity"), pool.affinity)]
    yield from ((path, table) for path, table in named if table is not None)


def _grounded(mistake: Mistake, document: Table) -> Mistake:
    """Cut off what goes deeper than the file, as for the address of a backend written as a plain string."""
    value: Any = document
    for depth, part in enumerate(mistake.path):
        if not isinstance(value, dict | list):
            return attrs.evolve(mistake, path=mistake.path[:depth])
        value = value.get(part) if isinstance(value, dict) else value[int(part)]
    return mistake


def _located(file: str, places: Positions, found: Iterable[Mistake]) -> Iterator[Problem]:
    for mistake in found:
        yield Problem(file, places.line_of(mistake.path), mistake.path, mistake.message, mistake.severity)

"""Reads a configuration file and reports every mistake in it at once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import cattrs
from cattrs.errors import BaseValidationError

from tcpbalance.config import rules
from tcpbalance.config.addresses import Address
from tcpbalance.config.admission import AccessConfig
from tcpbalance.config.errors import ConfigError, KeyPath, Mistake, Problem, Severity
from tcpbalance.config.facts import gather, tables_at
from tcpbalance.config.loops import loops
from tcpbalance.config.mistakes import mistakes
from tcpbalance.config.models import Config
from tcpbalance.config.positions import Positions
from tcpbalance.config.source import parse, read_text
from tcpbalance.config.tables import config_converter
from tcpbalance.config.tls import FrontendTlsConfig, PoolTlsConfig, TlsConfig

FileTable: TypeAlias = TlsConfig | AccessConfig
"""A table that names files."""

_FILE_TABLES: tuple[tuple[str, str, type[FileTable]], ...] = (
    ("frontends", "tls", FrontendTlsConfig),
    ("frontends", "access", AccessConfig),
    ("pools", "tls", PoolTlsConfig),
)

Examine: TypeAlias = Callable[[KeyPath, FileTable], Iterable[Mistake]]
"""Looks at the files that a table names, given where the table stands."""

ExamineFacts: TypeAlias = Callable[[rules.Facts], Iterable[Mistake]]
"""Looks at how the tables go together on the machine that the balancer runs on."""

ExamineAll: TypeAlias = Callable[[Config], Iterable[Mistake]]

Report: TypeAlias = Callable[[Problem], object]
"""Takes a mistake that does not keep the configuration from being used."""


def load(
    path: str | os.PathLike[str],
    *,
    policies: Collection[str],
    probes: Mapping[str, type],
    examine: Examine = lambda path, table: (),
    examine_facts: ExamineFacts = lambda facts: (),
    examine_all: ExamineAll = lambda config: (),
    report: Report = lambda problem: None,
) -> Config:
    """Read a configuration file.

    :param path: the file; relative paths in it are relative to its folder.
    :param policies: the known values of ``balance``.
    :param probes: the known values of ``check``, each with the attrs class whose fields are its further keys.
    :param examine: finds what is wrong in the files that the configuration names.
    :param examine_facts: finds what is wrong with the configuration on this machine.
    :param examine_all: finds what is wrong with a configuration that has no fatal mistake.
    :param report: called with each mistake, in the order of their lines, where none of them is fatal.
    :returns: the configuration, with all paths absolute.
    :raises ConfigError: one is fatal; with every mistake, its line, and what to do.
    """
    file = os.fspath(path)
    document, positions = parse(file, read_text(file))
    converter = config_converter(Path(file).absolute().parent, policies, probes)
    config, found = _structured(document, converter)
    refused = {mistake.path for mistake in found}
    facts = _facts(document, converter)
    found += [mistake for mistake in (*rules.broken(facts), *loops(facts)) if mistake.path not in refused]
    refused = {mistake.path for mistake in found}
    found += [mistake for mistake in examine_facts(facts) if mistake.path not in refused]
    for table_path, table in _file_tables(document, converter):
        found += examine(table_path, table)
    fatal = config is None or any(mistake.severity is Severity.FATAL for mistake in found)
    if config is not None and not fatal:
        found += examine_all(config)
    problems = sorted(_located(file, positions, found), key=lambda problem: problem.line)
    if config is None or fatal:
        raise ConfigError(problems)
    for problem in problems:
        report(problem)
    return config


def _structured(
    document: Mapping[str, Any], converter: cattrs.Converter
) -> tuple[Config | None, list[Mistake]]:
    try:
        return converter.structure(document, Config), []
    except BaseValidationError as error:
        return None, list(mistakes(error, document))


def _facts(document: Mapping[str, Any], converter: cattrs.Converter) -> rules.Facts:
    """Gather the facts of the document itself, because there may be no `Config`."""
    return gather(document, lambda value: converter.structure(value, Address))


def _file_tables(
    document: Mapping[str, Any], converter: cattrs.Converter
) -> Iterator[tuple[KeyPath, FileTable]]:
    """Read each of them for itself, because there may be no `Config` to take it from."""
    for section, key, kind in _FILE_TABLES:
        for path, table in tables_at(document, section, key):
            # What is wrong with the table itself has been said.
            with contextlib.suppress(BaseValidationError, TypeError):
                yield path, converter.structure(table, kind)


def _located(file: str, positions: Positions, found: Iterable[Mistake]) -> Iterator[Problem]:
    for mistake in found:
        yield Problem(file, positions.line_of(mistake.path), mistake.path, mistake.message, mistake.severity)

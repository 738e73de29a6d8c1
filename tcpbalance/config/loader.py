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
from tcpbalance.config.errors import ConfigError, Flaw, KeyPath, Problem
from tcpbalance.config.facts import gather, tables_at
from tcpbalance.config.flaws import flaws
from tcpbalance.config.models import Config
from tcpbalance.config.positions import Positions
from tcpbalance.config.source import parse, read_text
from tcpbalance.config.tables import config_converter
from tcpbalance.config.tls import FrontendTlsConfig, PoolTlsConfig, TlsConfig
from tcpbalance.config.values import Address

_TLS_TABLES: dict[str, type[TlsConfig]] = {"frontends": FrontendTlsConfig, "pools": PoolTlsConfig}

Examine: TypeAlias = Callable[[KeyPath, TlsConfig], Iterable[Flaw]]
"""Looks at the files that a TLS table names, given where the table stands."""


def load(
    path: str | os.PathLike[str],
    *,
    policies: Collection[str],
    probes: Mapping[str, type],
    examine: Examine = lambda path, tls: (),
) -> Config:
    """Read a configuration file.

    :param path: the file; relative paths in it are relative to its folder.
    :param policies: the known values of ``balance``.
    :param probes: the known values of ``check``, each with the attrs class whose fields are its further keys.
    :param examine: finds what is wrong in the files of certificates and keys.
    :returns: the configuration, with all paths absolute.
    :raises ConfigError: with every mistake, its line, and what to do.
    """
    file = os.fspath(path)
    document, positions = parse(file, read_text(file))
    converter = config_converter(Path(file).absolute().parent, policies, probes)
    config, found = _structured(document, converter)
    refused = {flaw.path for flaw in found}
    found += [flaw for flaw in _broken_rules(document, converter) if flaw.path not in refused]
    for tls_path, tls in _tls_tables(document, converter):
        found += examine(tls_path, tls)
    if config is None or found:
        raise ConfigError(_located(file, positions, found))
    return config


def _structured(document: Mapping[str, Any], converter: cattrs.Converter) -> tuple[Config | None, list[Flaw]]:
    try:
        return converter.structure(document, Config), []
    except BaseValidationError as error:
        return None, list(flaws(error, document))


def _broken_rules(document: Mapping[str, Any], converter: cattrs.Converter) -> Iterable[Flaw]:
    """Check the rules on the document itself, because there may be no `Config` to check them."""
    return rules.broken(gather(document, lambda value: converter.structure(value, Address)))


def _tls_tables(
    document: Mapping[str, Any], converter: cattrs.Converter
) -> Iterator[tuple[KeyPath, TlsConfig]]:
    """Read each TLS table for itself, because there may be no `Config` to take it from."""
    for section, kind in _TLS_TABLES.items():
        for path, table in tables_at(document, section, "tls"):
            # What is wrong with the table itself has been said.
            with contextlib.suppress(BaseValidationError, TypeError):
                yield path, converter.structure(table, kind)


def _located(file: str, positions: Positions, found: Iterable[Flaw]) -> Iterator[Problem]:
    for flaw in found:
        yield Problem(file, positions.line_of(flaw.path), flaw.path, flaw.message)

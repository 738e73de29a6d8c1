"""Reads a configuration file and reports every mistake in it at once."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cattrs
from cattrs.errors import BaseValidationError

from tcpbalance.config import rules
from tcpbalance.config.errors import ConfigError, Flaw, Problem
from tcpbalance.config.facts import gather
from tcpbalance.config.flaws import flaws
from tcpbalance.config.models import Config
from tcpbalance.config.positions import Positions
from tcpbalance.config.source import parse, read_text
from tcpbalance.config.tables import config_converter
from tcpbalance.config.values import Address


def load(path: str | os.PathLike[str], *, policies: Collection[str], probes: Mapping[str, type]) -> Config:
    """Read a configuration file.

    :param path: the file; relative paths in it are relative to its folder.
    :param policies: the known values of ``balance``.
    :param probes: the known values of ``check``, each with the attrs class whose fields are its further keys.
    :returns: the configuration, with all paths absolute.
    :raises ConfigError: with every mistake, its line, and what to do.
    """
    file = os.fspath(path)
    document, positions = parse(file, read_text(file))
    converter = config_converter(Path(file).absolute().parent, policies, probes)
    config, found = _structured(document, converter)
    refused = {flaw.path for flaw in found}
    found += [flaw for flaw in _broken_rules(document, converter) if flaw.path not in refused]
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


def _located(file: str, positions: Positions, found: Iterable[Flaw]) -> Iterator[Problem]:
    for flaw in found:
        yield Problem(file, positions.line_of(flaw.path), flaw.path, flaw.message)

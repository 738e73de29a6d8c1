"""The files that a configuration names and that are read: certificates, keys, authorities, lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, cast

import attrs

from tcpbalance.config.admission import AccessConfig
from tcpbalance.config.connect import ConnectConfig
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.http_values import PagePath
from tcpbalance.config.models import Config
from tcpbalance.config.paths import FilePath
from tcpbalance.config.pools import PoolConfig
from tcpbalance.config.routes import AnswerConfig, HttpRouteConfig
from tcpbalance.config.tls import CertificateConfig, FrontendTlsConfig, PoolTlsConfig

T = TypeVar("T")

TABLES = (
    Config,
    FrontendConfig,
    HttpRouteConfig,
    AnswerConfig,
    ConnectConfig,
    AccessConfig,
    FrontendTlsConfig,
    CertificateConfig,
    PoolConfig,
    PoolTlsConfig,
)
"""Those that name files to read, and those that these stand in. Others are not looked through: there may be
thousands of backends."""

_READ_KINDS = (FilePath, PagePath)


def read_files(table: Any) -> Iterator[FilePath]:
    """Give the files that the parts of a table read, some of them more than once.

    Files that are written, such as the state of affinity, are not among them.

    :param table: a whole configuration, or a part of one.
    """
    if type(table) in _READ_KINDS:
        yield table
    elif isinstance(table, Mapping):
        for value in table.values():
            yield from read_files(value)
    elif isinstance(table, tuple):
        for value in table:
            yield from read_files(value)
    elif _reads(table):
        for name in _keys(table):
            yield from read_files(getattr(table, name))


def with_files(table: T, place: Callable[[FilePath], str]) -> T:
    """Give the same table with other places of the files that its parts read.

    :param place: gives the other name of a file.
    """
    given: Any = table
    changed: Any = given
    if type(given) in _READ_KINDS:
        changed = given.at(place(given))
    elif isinstance(given, Mapping):
        changed = {name: with_files(value, place) for name, value in given.items()}
    elif isinstance(given, tuple):
        changed = tuple(with_files(value, place) for value in given)
    elif _reads(given) and any(True for _ in read_files(given)):
        values = {name: with_files(getattr(given, name), place) for name in _keys(given)}
        changed = attrs.evolve(given, **values)
    return cast(T, changed)


def _reads(table: object) -> bool:
    """Whether a value is a table that may name files to read."""
    return isinstance(table, TABLES)


def _keys(table: Any) -> list[str]:
    return [key.name for key in attrs.fields(type(table)) if key.init]

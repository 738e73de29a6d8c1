"""The tables that need more than their class says: backends, pools and health checks."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs

from tcpbalance.config.converter import Read, key_names, require_table, strict_converter, table_reader
from tcpbalance.config.draft import UNREAD, Mistakes
from tcpbalance.config.errors import Mistake
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.messages import choices, must_be_one_of, unknown_key, value_text
from tcpbalance.config.pieces import KnownTable
from tcpbalance.config.pools import BackendConfig, HealthConfig, PoolConfig
from tcpbalance.config.routes import HttpRouteConfig


def config_converter(
    folder: Path,
    policies: Collection[str],
    probes: Mapping[str, type],
    rest: Callable[[], object] = lambda: None,
    known: Iterable[KnownTable] = (),
) -> cattrs.Converter:
    """Make the converter for whole configurations.

    :param folder: what relative paths are relative to.
    :param policies: the known values of ``balance``.
    :param probes: the attrs class of each known value of ``check``.
    :param rest: called often.
    :param known: tables that models were made of already.
    """
    converter = strict_converter(folder)
    converter.register_structure_hook(BackendConfig, _backend_reader(converter, rest))
    converter.register_structure_hook(
        HttpRouteConfig, _with_rest(table_reader(HttpRouteConfig, converter), rest)
    )
    converter.register_structure_hook(HealthConfig, _health_reader(converter, probes))
    read_pool = table_reader(PoolConfig, converter, balance=_policy_reader(converter, policies))
    models = {id(one.table): one.model for one in known if one.model is not None}
    converter.register_structure_hook(PoolConfig, _unless_known(read_pool, models, rest))
    read_frontend = table_reader(FrontendConfig, converter)
    converter.register_structure_hook(FrontendConfig, _unless_known(read_frontend, models, rest))
    return converter


def _with_rest(read: Read, rest: Callable[[], object]) -> Read:
    """Make a hook for what there may be thousands of."""

    def read_then_rest(value: object, kind: Any) -> Any:
        rest()
        return read(value, kind)

    return read_then_rest


def _unless_known(read: Read, models: Mapping[int, Any], rest: Callable[[], object]) -> Read:
    """Make a hook that gives the model that was made of the same table before.

    :param models: by the identity of the tables; a table may equal another that has ``1`` for ``true``.
    """

    def read_unless_known(value: object, kind: Any) -> Any:
        rest()
        model = models.get(id(value))
        return read(value, kind) if model is None else model

    return read_unless_known


def _backend_reader(converter: cattrs.Converter, rest: Callable[[], object]) -> Read:
    read_table = table_reader(BackendConfig, converter)

    def read_backend(value: object, kind: Any) -> Any:
        rest()
        if isinstance(value, str):
            return read_table({"address": value}, kind)
        if not isinstance(value, dict):
            raise TypeError(f"must be an address or a table, got {value_text(value)}")
        return read_table(value, kind)

    return read_backend


def _policy_reader(converter: cattrs.Converter, policies: Collection[str]) -> Read:
    def read_policy(value: object, _: Any) -> str:
        name: str = converter.structure(value, str)
        if name not in policies:
            raise ValueError(must_be_one_of(name, policies))
        return name

    return read_policy


def _health_reader(converter: cattrs.Converter, probes: Mapping[str, type]) -> Read:
    """Make the hook for `HealthConfig`, whose table holds the keys of the chosen probe as well."""
    read_own = table_reader(HealthConfig, converter, probe=lambda probe, _: probe)
    own = tuple(name for name in key_names(HealthConfig) if name != "probe")

    def read_health(value: object, kind: Any) -> Any:
        table = require_table(value)
        check = table.get("check", attrs.fields(HealthConfig).check.default)
        chosen = probes.get(check) if isinstance(check, str) else None
        # Any key may belong to an unknown check.
        kinds = list(probes.values()) if chosen is None else [chosen]
        theirs = list(dict.fromkeys(name for kind in kinds for name in key_names(kind)))
        mistakes = [
            Mistake((name,), _unknown(name, check, [*own, *theirs], probes))
            for name in table
            if name not in own and name not in theirs
        ]
        probe: object = UNREAD
        if chosen is not None:
            try:
                probe = converter.structure({name: table[name] for name in theirs if name in table}, chosen)
            except Mistakes as error:
                mistakes += error.mistakes
        elif isinstance(check, str):
            mistakes.append(Mistake(("check",), must_be_one_of(check, probes)))
        # A key that the probe has itself is the probe's.
        ours = {name: table[name] for name in own if name in table and (chosen is None or name not in theirs)}
        try:
            health = read_own({**ours, "probe": probe}, kind)
        except Mistakes as error:
            raise Mistakes([*mistakes, *error.mistakes], error.draft) from None
        if mistakes:
            raise Mistakes(mistakes, health)
        return health

    return read_health


def _unknown(name: str, check: object, known: Collection[str], probes: Mapping[str, type]) -> str:
    others = [other for other, kind in probes.items() if name in key_names(kind)]
    if others:
        return f"unknown key for check = {value_text(check)}, it goes with check = {choices(others)}"
    return unknown_key(name, list(dict.fromkeys(known)))

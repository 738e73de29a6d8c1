"""The tables that need more than their class says: backends, pools and health checks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import cattrs
from attrs import frozen
from cattrs.errors import ClassValidationError

from tcpbalance.config.converter import Read, key_names, require_table, strict_converter, table_reader
from tcpbalance.config.errors import Refusal
from tcpbalance.config.messages import choices, must_be_one_of, shown, unknown_key
from tcpbalance.config.pools import BackendConfig, HealthConfig, PoolConfig


def config_converter(folder: Path, policies: Collection[str], probes: Mapping[str, type]) -> cattrs.Converter:
    """Make the converter for whole configurations.

    :param folder: what relative paths are relative to.
    :param policies: the known values of ``balance``.
    :param probes: the attrs class of each known value of ``check``.
    """
    converter = strict_converter(folder)
    converter.register_structure_hook(BackendConfig, _backend_reader(converter))
    converter.register_structure_hook(HealthConfig, _HealthReader.of(converter, probes))
    converter.register_structure_hook(
        PoolConfig, table_reader(PoolConfig, converter, balance=_policy_reader(converter, policies))
    )
    return converter


def _backend_reader(converter: cattrs.Converter) -> Read:
    read_table = table_reader(BackendConfig, converter)

    def read_backend(value: object, kind: Any) -> Any:
        if isinstance(value, str):
            return read_table({"address": value}, kind)
        if not isinstance(value, dict):
            raise TypeError(f"must be an address or a table, got {shown(value)}")
        return read_table(value, kind)

    return read_backend


def _policy_reader(converter: cattrs.Converter, policies: Collection[str]) -> Read:
    def read_policy(value: object, _: Any) -> str:
        name = converter.structure(value, str)
        if name not in policies:
            raise Refusal("balance", must_be_one_of(name, policies))
        return name

    return read_policy


@frozen
class _HealthReader:
    """The hook for `HealthConfig`, whose table holds the keys of the chosen probe as well.

    :param own: the keys of `HealthConfig`.
    :param read_own: reads these, and takes the finished probe at ``probe``.
    """

    converter: cattrs.Converter
    probes: Mapping[str, type]
    own: tuple[str, ...]
    read_own: Read

    @classmethod
    def of(cls, converter: cattrs.Converter, probes: Mapping[str, type]) -> _HealthReader:
        read_own = table_reader(HealthConfig, converter, probe=lambda probe, _: probe)
        own = tuple(name for name in key_names(HealthConfig) if name != "probe")
        return cls(converter, probes, own, read_own)

    def __call__(self, value: object, _: Any) -> Any:
        table = require_table(value)
        check = table.get("check", attrs.fields(HealthConfig).check.default)
        probe, faults = self._probe(check, table)
        # A key that the probe has itself is the probe's.
        theirs = key_names(self.probes[check]) if isinstance(check, str) and check in self.probes else ()
        own = {name: table[name] for name in self.own if name in table and name not in theirs}
        try:
            health = self.read_own({**own, "probe": probe}, HealthConfig)
        except ClassValidationError as fault:
            faults.append(fault)
        if faults:
            raise ClassValidationError("health", faults, HealthConfig)
        return health

    def _probe(self, check: object, table: Mapping[str, Any]) -> tuple[object, list[Exception]]:
        """Make the probe from its keys; when that fails, give None and what is wrong."""
        known = isinstance(check, str) and check in self.probes
        kinds = [self.probes[str(check)]] if known else list(self.probes.values())
        keys = list(dict.fromkeys(name for kind in kinds for name in key_names(kind)))
        faults: list[Exception] = [*self._unknown(check, table, keys)]
        if not known:
            # What is no string at all is refused with the other keys of ours.
            if isinstance(check, str):
                faults.append(Refusal("check", must_be_one_of(check, self.probes)))
            return None, faults
        try:
            further = {name: item for name, item in table.items() if name in keys}
            return self.converter.structure(further, kinds[0]), faults
        except Exception as fault:  # a third party's class may raise what it likes
            return None, [*faults, fault]

    def _unknown(self, check: object, table: Mapping[str, Any], keys: Collection[str]) -> Iterator[Refusal]:
        for name in table:
            if name in self.own or name in keys:
                continue
            others = [other for other, kind in self.probes.items() if name in key_names(kind)]
            if others:
                yield Refusal(
                    name, f"unknown key for check = {shown(check)}, it goes with check = {choices(others)}"
                )
            else:
                yield Refusal(name, unknown_key(name, list(dict.fromkeys([*self.own, *keys]))))

"""The configuration reference says of every key what the models say, and its page leaves none out."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import attrs
import pytest
from attrs import field, frozen

from support.configs import POLICIES, PROBES, FullProbe, Port, TcpProbe
from tcpbalance.config.addresses import Address, Network
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.config.converter import key_names
from tcpbalance.config.effects import EFFECTS, Effect
from tcpbalance.config.errors import ConfigError
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.loader import load
from tcpbalance.config.models import Config
from tcpbalance.config.pools import BackendConfig, HealthConfig, PoolConfig
from tcpbalance.config.positions import locate
from tcpbalance.config.quantities import Bandwidth, Duration, Fraction, Rate, Size
from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.health.probes.command import CommandProbe
from tcpbalance.health.probes.expect import ExpectProbe
from tcpbalance.health.probes.http import HttpProbe

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reference" / "configuration.md").read_text()


def _extension(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / "_ext" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _extension("reference_tables")


def test_every_table_is_found() -> None:
    assert list(reference.tables()) == [
        "top",
        "resolver",
        "overload",
        "log",
        "access_log",
        "admin",
        "frontends.NAME",
        "frontends.NAME.tls",
        "frontends.NAME.tls.certificates",
        "frontends.NAME.sni_routes",
        "frontends.NAME.http",
        "frontends.NAME.forwarded",
        "frontends.NAME.routes",
        "frontends.NAME.routes.access",
        "frontends.NAME.routes.pools_cookie",
        "frontends.NAME.routes.redirect",
        "frontends.NAME.routes.answer",
        "frontends.NAME.routes.request_headers",
        "frontends.NAME.routes.response_headers",
        "frontends.NAME.connect",
        "frontends.NAME.access",
        "frontends.NAME.limits",
        "frontends.NAME.socket",
        "pools.NAME",
        "pools.NAME.backends",
        "pools.NAME.tls",
        "pools.NAME.tls.certificate",
        "pools.NAME.http",
        "pools.NAME.affinity",
        "pools.NAME.affinity.cookie",
        "pools.NAME.health",
        "pools.NAME.outlier",
        "pools.NAME.rebalance",
    ]


def test_the_page_shows_every_table_once() -> None:
    shown = re.findall(r"^```\{config-reference\} (\S+)$", PAGE, re.MULTILINE)
    assert shown == [*reference.tables(), "checks"]


@pytest.mark.parametrize(
    "kind",
    [*reference.tables().values(), CommandProbe, ExpectProbe, HttpProbe],
    ids=lambda kind: kind.__name__,
)
def test_every_key_is_described(kind: type) -> None:
    rows = reference.rows(kind, {})
    assert [row.key for row in rows] == [name for name in key_names(kind) if name != "probe"]
    for row in rows:
        assert re.fullmatch(r".*\w.*[.`]", row.doc), f"{row.key} needs a sentence"
        assert row.value
        assert row.default


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        (BackendConfig, "weight", "whole number, 1 to 256"),
        (BackendConfig, "max_connections", "whole number, at least 1"),
        (LimitsConfig, "min_rate", "bandwidth, at least 1B/s"),
        (LimitsConfig, "ban_for", "duration, longer than 0s"),
        (FrontendConfig, "idle_timeout", "duration, longer than 0s"),
        (PoolConfig, "panic_threshold", "percentage, 0% to 100%"),
        (ResolverConfig, "timeout", "duration, 10ms to 1m"),
        (AccessConfig, "deny_file", "file name"),
    ],
)
def test_the_bounds_of_a_key_are_those_that_are_checked(kind: type, key: str, value: str) -> None:
    (row,) = (row for row in reference.rows(kind, {}) if row.key == key)
    assert row.value == value


def test_the_example_has_every_key_and_no_mistake(tmp_path: Path) -> None:
    (text,) = re.findall(r"^## Everything$.*?^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "example.toml").write_text(text)
    config = load(tmp_path / "example.toml", policies=POLICIES, probes={"http": HttpProbe})
    assert config.pools["web"].health is not None
    shown = {path[-1] for path in locate(text).lines}
    kinds = [*reference.tables().values(), type(config.pools["web"].health.probe)]
    assert {name for kind in kinds for name in key_names(kind)} - shown == {"probe"}


def test_the_forms_in_the_page_are_read() -> None:
    kinds: list[Any] = [Duration, Size, Rate, Bandwidth, Fraction, Network, Address]
    for kind in kinds:
        (cell,) = re.findall(rf"^\| {kind.words} \| (.*) \|$", PAGE, re.MULTILINE)
        forms = re.findall(r'`"(.*?)"`', cell)
        assert forms
        for form in forms:
            kind.parse(form)


def test_the_shown_mistakes_are_what_is_said(tmp_path: Path) -> None:
    shown = re.search(r"^```text\n(tcpbalance\.toml:.*?)```$", PAGE, re.MULTILINE | re.DOTALL)
    assert shown is not None
    said = [line.split(": ", 2)[2] for line in shown[1].splitlines()]
    text = (
        '[frontends.web]\nlisten = "0.0.0.0:1"\npool = "web"\nblacklog = 1\n'
        '[pools.web]\nbackends = ["a:1", { address = "b:1", weight = -3 }]\n'
    )
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "a.toml", policies=POLICIES, probes=PROBES)
    assert [problem.message for problem in caught.value.problems] == said


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Duration, "duration"),
        (Size | None, "size"),
        (str | None, "string"),
        (bool, "true or false"),
        (Literal["a"], '`"a"`'),
        (Literal["a", "b", "c"], '`"a"`, `"b"` or `"c"`'),
        (tuple[str, ...], "list of strings"),
        (tuple[Address, ...], "address or list of addresses"),
        (Port, "port"),
        (HealthConfig | None, "table"),
    ],
)
def test_values_in_words(kind: Any, words: str) -> None:
    assert reference.value_words(kind) == words


@pytest.mark.parametrize(
    ("kind", "key", "default"),
    [
        (Config, "shutdown_grace", '`"30s"`'),
        (Config, "access_log", "none"),
        (FrontendConfig, "listen", "required"),
        (FrontendConfig, "backlog", "`4096`"),
        (AccessConfig, "allow", "all clients"),
        (AccessConfig, "deny_file", "none"),
        (LimitsConfig, "burst_per_client", "what the rate allows in one second, at least 1"),
        (LimitsConfig, "ban_for", '`"10m"`'),
        (PoolConfig, "panic_threshold", '`"0%"`'),
        (PoolConfig, "bounded_load", "none"),
        (HealthConfig, "down_interval", "as `interval`"),
        (FullProbe, "real", "`1.0`"),
        (FullProbe, "flag", "`false`"),
        (FullProbe, "argv", "`[]`"),
        (HttpProbe, "status", '`"200-399"`'),
    ],
)
def test_defaults_as_written(kind: type, key: str, default: str) -> None:
    assert reference.default_words(attrs.fields_dict(kind)[key]) == default


def test_every_key_has_its_effect_and_no_other_key_has() -> None:
    kinds = reference.tables().values()
    assert {kind: set(keys) for kind, keys in EFFECTS.items()} == {
        kind: set(key_names(kind)) for kind in kinds
    }


def test_the_page_explains_every_effect() -> None:
    explained = re.findall(r"^\| \*([a-z ]+)\* \|", PAGE, re.MULTILINE)
    assert explained == [effect.value for effect in Effect]


@pytest.mark.parametrize(
    ("kind", "key", "effect"),
    [(FrontendConfig, "listen", "new listener"), (HttpProbe, "path", "in place")],
)
def test_effects_in_words(kind: type, key: str, effect: str) -> None:
    assert reference.effect_words(kind, key) == effect


def test_names_that_are_installed_are_listed() -> None:
    (check,) = [
        row for row in reference.rows(HealthConfig, {"check": {"b": 1, "a": 2}}) if row.key == "check"
    ]
    assert check.value == '`"a"` or `"b"`'


@frozen
class Piped:
    """Passes.

    And more.
    """

    either: str = field(default="x", metadata={"doc": "This | that."})


def test_checks() -> None:
    assert list(reference.checks({"tcp": TcpProbe, "piped": Piped})) == [
        '**`check = "piped"`**',
        "",
        "Passes.",
        "",
        "| key | value | default | a change applies | description |",
        "|---|---|---|---|---|",
        '| `either` | string | `"x"` | in place | This \\| that. |',
        "",
        '**`check = "tcp"`**',
        "",
        "Has no keys.",
        "",
        "It has no further keys.",
        "",
    ]

"""What the documentation shows works: configurations can be loaded, and code can be run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from support.documented import TREE, blocks, write_files
from tcpbalance import read_config
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.http import ForwardedConfig, HttpConfig, PoolHttpConfig
from tcpbalance.config.pools import AffinityConfig, BackendConfig, HealthConfig, PoolConfig
from tcpbalance.config.routes import HttpRouteConfig
from tcpbalance.config.tls import FrontendTlsConfig

PAGES = [TREE / "README.md", *sorted((TREE / "docs").rglob("*.md"))]
STAND_INS = {
    "ssl:9993:privateKey=/etc/ssl/mail.pem": "tcp:0",
    "/etc/tcpbalance/tcpbalance.toml": "tcpbalance.toml",
}
SMALLEST = """
[frontends.db]
listen = "127.0.0.1:0"
pool = "db"
[pools.db]
backends = ["127.0.0.1:1"]
"""


def shown(language: str, mark: str) -> Iterator[object]:
    """Find the blocks of a language that are whole, as their ``mark`` tells."""
    for page in PAGES:
        if "_build" not in page.parts:
            for number, text in enumerate(blocks(page, language, mark)):
                yield pytest.param(text, id=f"{page.relative_to(TREE)}-{number}")


@pytest.mark.parametrize("text", [*shown("toml", "[frontends.")])
def test_a_configuration_has_no_mistake(text: str, tmp_path: Path) -> None:
    file = tmp_path / "tcpbalance.toml"
    file.write_text(text)
    write_files(text, tmp_path)
    read_config(file)


@pytest.mark.parametrize("text", [*shown("python", "application = Application(")])
def test_an_application_can_be_made(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tcpbalance.toml").write_text(SMALLEST)
    monkeypatch.chdir(tmp_path)
    for shown, here in STAND_INS.items():
        text = text.replace(shown, here)
    names: dict[str, object] = {}
    exec(compile(text, "documentation", "exec"), names)
    assert "application" in names


KEYED = (
    (FrontendConfig, HttpRouteConfig, PoolConfig, BackendConfig, HealthConfig),
    (HttpConfig, PoolHttpConfig, ForwardedConfig, FrontendTlsConfig, AffinityConfig),
)
"""The tables whose keys stand there alone, and those whose keys stand behind a dot."""


def test_the_keys_for_who_comes_from_another_proxy_are_keys() -> None:
    page = (TREE / "docs" / "how-to" / "coming-from-other-proxies.md").read_text()
    rows = [re.findall("`[^`]+`", row.rpartition(" | ")[2]) for row in re.findall(r"^\| [a-z].*", page, re.M)]
    assert len(rows) > 10
    paths = [re.findall("[a-z_]+", shown.partition(" = ")[0]) for row in rows for shown in row]
    known = [{key.name for table in tables for key in attrs.fields(table)} for tables in KEYED]
    for path in paths:
        if path[0] != "pools" or len(path) == 1:
            assert all(key in keys for key, keys in zip(path, known, strict=False)), path

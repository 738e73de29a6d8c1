"""What the documentation shows works: configurations can be loaded, and code can be run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tcpbalance import read_config

TREE = Path(__file__).parents[2]
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


def blocks(language: str, mark: str) -> Iterator[object]:
    """Find the blocks of a language that are whole, as their ``mark`` tells."""
    for page in PAGES:
        if "_build" in page.parts:
            continue
        found = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        for number, text in enumerate(found):
            if mark in text:
                yield pytest.param(text, id=f"{page.relative_to(TREE)}-{number}")


@pytest.mark.parametrize("text", [*blocks("toml", "[frontends.")])
def test_a_configuration_has_no_mistake(text: str, tmp_path: Path) -> None:
    file = tmp_path / "tcpbalance.toml"
    file.write_text(text)
    read_config(file)


@pytest.mark.parametrize("text", [*blocks("python", "application = Application(")])
def test_an_application_can_be_made(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tcpbalance.toml").write_text(SMALLEST)
    monkeypatch.chdir(tmp_path)
    for shown, here in STAND_INS.items():
        text = text.replace(shown, here)
    names: dict[str, object] = {}
    exec(compile(text, "documentation", "exec"), names)
    assert "application" in names

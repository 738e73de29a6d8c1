"""`tcpbalance top` where it cannot run."""

from __future__ import annotations

import sys

import pytest

from tcpbalance.cli import main


def test_without_textual_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("textual", "rich")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "tcpbalance.cli.top_app", raising=False)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "textual", None)
    assert main(["top", "--admin", "/nowhere"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == ("tcpbalance top: needs textual, which is not installed: pip install 'tcpbalance[top]'\n")


def test_without_a_terminal_it_says_what_else_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", "--admin", "/nowhere"]) == 1
    assert "tcpbalance status --json" in capsys.readouterr().err

"""What `tcpbalance` prints, and what it exits with."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from support.configs import EVERYTHING, POLICIES, PROBES, SMALLEST
from tcpbalance import config_reader
from tcpbalance.cli import main
from tcpbalance.cli.command_parser import seconds_or_text
from tcpbalance.config import rules
from tcpbalance.config.errors import Mistake, Severity


@pytest.fixture(autouse=True)
def known_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the known policies and probes independent of what is installed."""
    monkeypatch.setattr(config_reader, "policies", lambda: dict.fromkeys(POLICIES, object))
    monkeypatch.setattr(config_reader, "probes", lambda: PROBES)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        (SMALLEST, "1 frontend, 1 pool"),
        (
            SMALLEST
            + "[frontends.b]\nlisten = 'unix:b'\npool = 'db'\n"
            + "[pools.c]\nbackends = ['localhost:1']\n",
            "2 frontends, 2 pools",
        ),
    ],
    ids=["one", "more"],
)
def test_check_says_that_a_file_is_sound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, counts: str
) -> None:
    file = tmp_path / "a.toml"
    file.write_text(text)
    assert main(["check", str(file)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{file}: ok, {counts}\n"
    assert err == ""


def test_check_refuses_more_than_workers_can_count(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MAX_COUNTED", 0)
    backends = '["10.0.0.1:80", { address = "10.0.0.2:80", max_connections = 9 }]'
    text = f'workers = 2\n[frontends.a]\nlisten = ":80"\npool = "a"\n[pools.a]\nbackends = {backends}\n'
    (tmp_path / "a.toml").write_text(text)
    assert main(["check", f"{tmp_path}/a.toml"]) == 1
    assert f"{tmp_path}/a.toml:1: workers: must be 1 where more than 0 backends" in capsys.readouterr().err


def test_check_prints_every_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = EVERYTHING.replace("weight = 2", "weight = -3").replace('mode = "tcp"', "moed = 1")
    (tmp_path / "a.toml").write_text(bad)
    monkeypatch.chdir(tmp_path)
    assert main(["check", "./a.toml"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        './a.toml:10: frontends.web.moed: unknown key, did you mean "mode"?',
        f"./a.toml:22: frontends.web.access.deny_file: {_cannot_read(tmp_path / 'banned.txt')}",
        f"./a.toml:46: frontends.secure.tls.certificates[0].cert: {_cannot_read(tmp_path / 'web.pem')}",
        f"./a.toml:46: frontends.secure.tls.certificates[1].cert: {_cannot_read('/etc/tcpbalance/both.pem')}",
        f"./a.toml:49: frontends.secure.tls.client_ca: {_cannot_read(tmp_path / 'clients.pem')}",
        f"./a.toml:50: frontends.secure.tls.client_crl: {_cannot_read(tmp_path / 'revoked.pem')}",
        "./a.toml:74: pools.web.backends[1].weight: must be 1 to 256, got -3",
        f"./a.toml:80: pools.web.tls.ca: {_cannot_read(tmp_path / 'internal.pem')}",
        f"./a.toml:81: pools.web.tls.crl: {_cannot_read(tmp_path / 'internal-revoked.pem')}",
        f"./a.toml:83: pools.web.tls.certificate.cert: {_cannot_read(tmp_path / 'edge.pem')}",
    ]


def _cannot_read(file: Path | str) -> str:
    return f"cannot read {file}: no such file or directory"


@pytest.mark.parametrize(
    ("severity", "status", "mark"), [(Severity.ERROR, 1, ""), (Severity.WARNING, 0, "warning: ")]
)
def test_check_prints_what_does_not_stop_the_start(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    severity: Severity,
    status: int,
    mark: str,
) -> None:
    mistake = Mistake(("pools", "db", "tls", "ca"), "is odd", severity)
    monkeypatch.setattr(config_reader, "mistakes_in_files", lambda path, table: iter([mistake]))
    text = SMALLEST + "[pools.db.tls]\nca = 'ca.pem'\n"
    file = tmp_path / "a.toml"
    file.write_text(text)
    assert main(["check", str(file)]) == status
    out, err = capsys.readouterr()
    line = text.splitlines().index("ca = 'ca.pem'") + 1
    assert err == f"{file}:{line}: {mark}pools.db.tls.ca: is odd\n"
    assert out == ("" if status else f"{file}: ok, 1 frontend, 1 pool\n")


def test_check_without_a_file_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", f"{tmp_path}/a.toml"]) == 1
    assert capsys.readouterr().err == f"{tmp_path}/a.toml:1: cannot be read: No such file or directory\n"


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([option])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"tcpbalance {version('tcpbalance')}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["check"],
        ["check", "a", "b"],
        ["check", "--vers", "a"],
        ["run"],
        ["run", "a", "b"],
        ["run", "--config", "a"],
        ["--vers"],
        ["drain", "a", "--dead", "5m"],
        ["explain", "--frontend", "web", "--client", "192.0.2.1"],
    ],
)
def test_arguments_that_make_no_sense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    # Of the command, where there is one.
    command = f" {arguments[0]}" if arguments and not arguments[0].startswith("-") else ""
    assert f"usage: tcpbalance{command} [" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "sent"), [("5", 5.0), ("0.5", 0.5), ("5m", "5m"), ("none", "none"), ("nan", "nan"), ("", "")]
)
def test_a_bare_number_is_seconds(text: str, sent: float | str) -> None:
    assert seconds_or_text(text) == sent


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["chek", "a.toml"], 'unknown command "chek", did you mean "check"?'),
        (["boot", "a.toml"], 'unknown command "boot", commands are "run", "check", '),
        (["-c", "a.toml"], "unknown option -c; a command comes first, such as: tcpbalance run FILE"),
        (["--verison"], "unknown option --verison; a command comes first, such as: tcpbalance run FILE"),
        (["a.toml"], "a command is missing, such as: tcpbalance run a.toml"),
    ],
)
def test_what_is_no_command_gets_a_hint(
    arguments: list[str],
    hint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.toml").touch()
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"tcpbalance: error: {hint}")


def test_plan_without_a_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.toml"
    file.write_text(SMALLEST)
    assert main(["plan", str(file), str(file)]) == 0
    assert capsys.readouterr() == ("no change\n", "")


def test_plan_of_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "a.toml", tmp_path / "b.toml"
    old.write_text(SMALLEST)
    new.write_text(SMALLEST.replace("[frontends.db]", "[frontends.db]\nbacklog = 5"))
    assert main(["plan", str(old), str(new)]) == 2
    out, err = capsys.readouterr()
    assert out == "~ frontends.db.backlog: 4096 -> 5 (in place)\nchanges: 1 key\n"
    assert err == ""
    assert main(["plan", "--json", str(old), str(new)]) == 2
    document = json.loads(capsys.readouterr().out)
    assert document["changed"] == [
        {"key": "frontends.db.backlog", "old": 4096, "new": 5, "effect": "in place"}
    ]


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)], ids=["new", "running"])
def test_plan_prints_the_mistakes_of_either_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], order: slice
) -> None:
    valid, bad = tmp_path / "a.toml", tmp_path / "b.toml"
    valid.write_text(SMALLEST)
    bad.write_text(SMALLEST.replace("pool = ", "pol = "))
    assert main(["plan", *[str(valid), str(bad)][order]]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f'{bad}:3: frontends.db.pol: unknown key, did you mean "pool"?\n' in err


def test_plan_with_arguments_that_make_no_sense_does_not_look_like_changes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["plan", "a"])
    assert caught.value.code == 1
    assert "usage: tcpbalance plan" in capsys.readouterr().err

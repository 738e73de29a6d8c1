"""`tcpbalance init` writes configurations that work, and never over a file."""

from __future__ import annotations

import tomllib
from io import StringIO
from pathlib import Path

import pytest

from support.certificates import self_signed
from tcpbalance.cli import main

SERVERS = ["--backend", "127.0.0.1:1", "--backend", "db.internal:80"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let each test work in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Keyboard(StringIO):
    """Answers of a person at a terminal."""

    def isatty(self) -> bool:
        return True


def test_it_writes_what_check_accepts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--listen", ":8080", "--listen", "unix:web.sock", *SERVERS[:2]]) == 0
    assert "tcpbalance run tcpbalance.toml" in capsys.readouterr().out
    assert main(["check", "tcpbalance.toml"]) == 0
    config = tomllib.loads((folder / "tcpbalance.toml").read_text())
    assert config["frontends"]["main"]["listen"] == ["0.0.0.0:8080", f"unix:{folder}/web.sock"]
    assert config["pools"]["main"]["backends"] == ["127.0.0.1:1"]


def test_tls(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The paths are of the folder that the command runs in, wherever the configuration is."""
    cert, key = self_signed(folder, "localhost")
    output = tmp_path_factory.mktemp("etc") / "a.toml"
    files = ["--tls", cert.name, key.name]
    assert main(["init", "--listen", ":443", *SERVERS[:2], *files, "--output", str(output)]) == 0
    assert main(["check", str(output)]) == 0
    tls = tomllib.loads(output.read_text())["frontends"]["main"]["tls"]
    assert tls == {"certificates": [{"cert": str(cert), "key": str(key)}]}


def test_it_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--listen", "[::1]:9000", *SERVERS, "--output", "-"]) == 0
    config = tomllib.loads(capsys.readouterr().out)
    assert config["frontends"]["main"]["listen"] == "[::1]:9000"
    assert config["pools"]["main"]["backends"] == ["127.0.0.1:1", "db.internal:80"]
    # The admin side has another port.
    assert config["admin"]["listen"] == "127.0.0.1:9001"
    assert list(folder.iterdir()) == []


def test_no_file_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tcpbalance.toml").write_text("mine")
    assert main(["init", "--listen", ":80", *SERVERS]) == 1
    assert capsys.readouterr().err == (
        "tcpbalance init: tcpbalance.toml is there already; --force replaces it\n"
    )
    assert (folder / "tcpbalance.toml").read_text() == "mine"
    assert main(["init", "--listen", ":80", *SERVERS, "--force"]) == 0
    assert main(["check", "tcpbalance.toml"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", ":99999", *SERVERS], "tcpbalance init: --listen: "),
        (["--listen", ":80", "--backend", "a"], "tcpbalance init: --backend: "),
        (
            ["--listen", ":80", "--backend", "a:0"],
            "tcpbalance init: --backend: a server has no port 0, got a:0",
        ),
        (
            ["--listen", ":80", *SERVERS, "--tls", "cert.pem", "key.pem"],
            "tcpbalance.toml:13: frontends.main.tls.certificates[0].cert: cannot read ",
        ),
        (
            ["--listen", ":80", *SERVERS, "--output", "no/file"],
            "tcpbalance init: no/file: cannot be written: No such",
        ),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *arguments]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(message)
    assert out == ""
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("arguments", [[], ["--listen", ":80"], SERVERS, ["--tls", "a", "b"]])
def test_without_a_terminal_all_is_needed(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(""))
    with pytest.raises(SystemExit) as caught:
        main(["init", *arguments])
    assert caught.value.code == 2
    assert "--listen and --backend are needed" in capsys.readouterr().err


def test_questions(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard("\n:x\n:8080\n10.0.0.1:80, 10.0.0.2:80\n\n"))
    assert main(["init"]) == 0
    # Of the answer that was none.
    assert "must be an address" in capsys.readouterr().err
    config = tomllib.loads((folder / "tcpbalance.toml").read_text())
    assert config["frontends"]["main"]["listen"] == "0.0.0.0:8080"
    assert config["pools"]["main"]["backends"] == ["10.0.0.1:80", "10.0.0.2:80"]
    assert "tls" not in config["frontends"]["main"]


def test_answers_that_end(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard(":8080\n"))
    assert main(["init"]) == 1
    assert capsys.readouterr().err.endswith("tcpbalance init: the answers have ended; nothing is written\n")
    assert list(folder.iterdir()) == []

"""What is made from the parser: completion for shells, and the manual page."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.process import finish, run
from support.tmux import terminal
from tcpbalance.cli import main
from tcpbalance.cli.description import described_program
from tcpbalance.cli.parser import COMMANDS


@pytest.fixture(params=["bash", "fish", "zsh"])
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def script(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    return script_of(shell, tmp_path, capsys)


def script_of(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    file = folder / f"completion.{shell}"
    file.write_text(capsys.readouterr().out)
    return file


def test_every_command_and_option_is_in_it(shell: str, script: Path) -> None:
    text = script.read_text()
    _, commands = described_program()
    assert [command.name for command in commands] == list(COMMANDS)
    for command in commands:
        assert command.name in text
        for option in command.options:
            for flag in option.flags:
                assert (flag.strip("-") if shell == "fish" else flag) in text


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tcpbalance sta", ["status"]),
        ("tcpbalance --v", ["--version"]),
        ("tcpbalance status --wa", ["--watch"]),
        ("tcpbalance completion b", ["bash"]),
        ("tcpbalance check tcpb", ["tcpbalance.toml"]),
        ("tcpbalance status --config tcpb", ["tcpbalance.toml"]),
    ],
)
class TestWords:
    @pytest.mark.requires("bash")
    def test_in_bash(
        self, line: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "tcpbalance.toml").touch()
        script = script_of("bash", tmp_path, capsys)
        code = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _tcpbalance; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        assert run(["bash", "--norc", "-c", code], cwd=tmp_path).split() == words

    @pytest.mark.requires("fish")
    def test_in_fish(
        self, line: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "tcpbalance.toml").touch()
        script = script_of("fish", tmp_path, capsys)
        code = f"source {script}; complete -C '{line}'"
        shown = run(["fish", "--no-config", "-c", code], cwd=tmp_path)
        assert [found.split("\t")[0] for found in shown.splitlines()] == words

    @pytest.mark.requires("zsh", "tmux")
    def test_in_zsh(
        self, line: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "tcpbalance.toml").touch()
        script = script_of("zsh", tmp_path, capsys)
        with terminal(["zsh", "-f"], tmp_path / "tmux", 100) as window:
            window.type(f"cd {tmp_path}; autoload -U compinit; compinit -D -u; source {script}; echo rea''dy")
            window.press("Enter")
            window.wait_for("ready")
            window.type(line)
            window.press("Tab")
            window.wait_for(f"{line.rpartition(' ')[0]} {words[0]}")


@pytest.mark.requires("bash")
def test_nothing_is_proposed_where_a_value_is_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = script_of("bash", tmp_path, capsys)
    line = "COMP_WORDS=(tcpbalance run --reactor ''); COMP_CWORD=3"
    code = f"source {script}; {line}; _tcpbalance; echo ${{#COMPREPLY[@]}}"
    assert run(["bash", "--norc", "-c", code]) == "0\n"


@pytest.mark.requires("groff")
def test_the_manual_page_can_be_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["man"]) == 0
    page = tmp_path / "tcpbalance.1"
    page.write_text(capsys.readouterr().out)
    done = finish(["groff", "-man", "-Tascii", "-ww", "-P-cbou", page])
    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert f"tcpbalance {command} [options]" in done.stdout
    assert "--watch [SECONDS]" in done.stdout
    # Once, not with each command.
    assert done.stdout.count("--token-file FILE\n") == 1

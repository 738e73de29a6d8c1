"""The files of tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tcpbalance.admission.token_files import TokenFileError
from tcpbalance.config.admin import AdminConfig
from tcpbalance.config.paths import FilePath
from tcpbalance.control.tokens import Tokens

TOKEN = "0123456789abcdef0123456789abcdef"


def config(folder: Path, *, read_only: str | None = None, **content: str) -> AdminConfig:
    for name, text in content.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    return AdminConfig(
        listen="127.0.0.1:0",
        token_file=FilePath(folder / "full"),
        read_only_token_file=None if read_only is None else FilePath(folder / read_only),
    )


def test_a_token_is_the_one_line_of_its_file(tmp_path: Path) -> None:
    tokens = Tokens(config(tmp_path, full=f"{TOKEN}\n"))
    assert (tokens.full, tokens.read_only) == (TOKEN.encode(), None)
    assert tokens.files == (str(tmp_path / "full"),)
    assert not tokens.warnings


def test_without_files_there_is_no_token() -> None:
    tokens = Tokens(AdminConfig(listen="127.0.0.1:0"))
    assert (tokens.full, tokens.files) == (None, ())


@pytest.mark.parametrize(
    "text", ["", "short", "two words of a token here", f"{TOKEN}\n{TOKEN}", "ä" * 20, "x" * 5000]
)
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(TokenFileError, match="must have one line"):
        Tokens(config(tmp_path, full=text))


def test_a_file_that_is_not_there_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match=r"full: the token cannot be read: no such file"):
        Tokens(config(tmp_path))


def test_both_tokens_must_differ(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="must have another token than"):
        Tokens(config(tmp_path, full=TOKEN, other=TOKEN, read_only="other"))


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    tokens = Tokens(config(tmp_path, full=TOKEN))
    (tmp_path / "full").write_text("another-0123456789abcdef")
    commit = tokens.prepare()
    assert tokens.full == TOKEN.encode()
    commit()
    assert tokens.full == b"another-0123456789abcdef"


def test_a_file_that_others_may_read_is_warned_of(tmp_path: Path) -> None:
    tokens = Tokens(config(tmp_path, full=TOKEN))
    (tmp_path / "full").chmod(0o644)
    path = tmp_path / "full"
    assert tokens.warnings == (
        f"{path} can be read or written by all users of this machine: chmod 0600 {path}",
    )
    path.unlink()
    assert not tokens.warnings

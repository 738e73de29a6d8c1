"""Files of users and the hashes of their passwords."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.users import HASH, PASSWORD, hashed, users_file
from tcpbalance.admission.users_file import (
    MAX_USERS_FILE,
    Users,
    UsersFile,
    UsersFileError,
    mistakes_in_users_file,
    read_users,
)
from tcpbalance.config.connect import ConnectConfig


def refused(path: Path) -> str:
    with pytest.raises(UsersFileError) as caught:
        read_users(str(path))
    return str(caught.value)


def test_users_are_those_of_the_file(tmp_path: Path) -> None:
    users = read_users(str(users_file(tmp_path, "# people\n\nalice:{hash}\r\nb\u00f6b:{hash}\n")))
    assert b"alice" in users
    assert "b\u00f6b".encode() in users
    assert b"carol" not in users
    assert users.has(b"alice", PASSWORD)
    assert not users.has(b"alice", b"another")
    assert not users.has(b"carol", PASSWORD)
    assert not users.has(b"", b"")


def test_a_password_is_all_of_it() -> None:
    long = b"x" * 72
    users = Users({b"alice": hashed(long)})
    assert users.has(b"alice", long)
    assert not users.has(b"alice", long + b"x")
    assert not users.has(b"alice", long[:71])
    assert not users.has(b"alice", b"\0" + long)


@pytest.mark.parametrize("prefix", [b"$2a$", b"$2b$", b"$2y$"])
def test_all_prefixes_of_bcrypt_are_taken(prefix: bytes) -> None:
    assert Users({b"alice": HASH.replace(b"$2b$", prefix)}).has(b"alice", PASSWORD)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("alice", "must be a name, a colon and a hash by bcrypt"),
        (":{hash}", "must be a name, a colon and a hash by bcrypt"),
        ("alice:secret", "must be a name, a colon and a hash by bcrypt"),
        ("alice:$apr1$abcdefgh$0123456789012345678901", "as htpasswd -B writes it"),
        ("alice:{hash}:more", "must be a name"),
        ("bob:{hash}\nalice:{hash}\nalice:{hash}", ":3: the user stands above already"),
        ("alice:$2b$31$" + "a" * 53, "the cost of a hash must be 4 to 14, got 31"),
        ("alice:$2b$03$" + "a" * 53, "the cost of a hash must be 4 to 14, got 3"),
        ("# nobody", "has no user, add one: htpasswd -B "),
    ],
)
def test_a_line_that_is_none_is_named_and_not_shown(tmp_path: Path, line: str, what: str) -> None:
    message = refused(users_file(tmp_path, line))
    assert what in message
    assert "secret" not in message
    assert "$2b$31$" not in message


def test_files_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none")
    assert "is a directory" in refused(tmp_path)
    large = tmp_path / "large"
    large.write_bytes(b"#" * (MAX_USERS_FILE + 1))
    assert "is larger than 1 MiB" in refused(large)


def test_without_bcrypt_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    assert "pip install 'tcpbalance[passwords]'" in refused(users_file(tmp_path))


def test_a_file_is_read_again(tmp_path: Path) -> None:
    path = users_file(tmp_path)
    file = UsersFile(str(path))
    before = file.users
    path.write_bytes(b"bob:%b\n" % HASH)
    commit = file.prepare()
    assert file.users is before
    commit()
    assert b"bob" in file.users
    path.write_text("nonsense")
    with pytest.raises(UsersFileError):
        file.prepare()
    assert (b"bob" in file.users, file.is_outdated(), file.files) == (True, False, (str(path),))


def test_the_mistake_stands_at_the_key(tmp_path: Path) -> None:
    allow = ("www.example.com:443",)
    assert not list(mistakes_in_users_file((), ConnectConfig(allow=allow)))
    good = ConnectConfig(allow=allow, users_file=str(users_file(tmp_path)))
    assert not list(mistakes_in_users_file((), good))
    bad = ConnectConfig(allow=allow, users_file=str(tmp_path / "none"))
    (mistake,) = mistakes_in_users_file(("frontends", "web", "connect"), bad)
    assert mistake.path == ("frontends", "web", "connect", "users_file")


@given(st.binary(max_size=200))
def test_any_bytes_are_users_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(content)
    try:
        read_users(str(path))
    except UsersFileError as error:
        message = str(error)
    else:
        message = ""
    assert "\n" not in message

"""What the command line makes of the answers of an admin side, and of none."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from support.http_answers import CLOSE, http_answer, http_answers
from tcpbalance.cli.admin_address import parse_admin
from tcpbalance.cli.admin_client import AdminClient
from tcpbalance.cli.command_error import REFUSED, UNREACHABLE, CommandError

TOKEN = "0123456789abcdef"


def client(address: str, token_file: Path | None = None) -> AdminClient:
    return AdminClient(parse_admin(address, "--admin")._replace(token_file=token_file))


@pytest.mark.parametrize("unix", [False, True], ids=["TCP", "unix"])
def test_an_answer_is_read(tmp_path: Path, unix: bool) -> None:
    with http_answers(
        http_answer("200 OK", {"a": [1]}), path=tmp_path / "admin.sock" if unix else None
    ) as server:
        assert client(server.address).get("pools", "unix:/run/a b", limit=5, after=None) == {"a": [1]}
        (asked,) = server.asked
        assert asked.startswith("GET /api/v1/pools/unix%3A%2Frun%2Fa%20b?limit=5 HTTP/1.1\r\n")
        assert f"Host: {'localhost' if unix else server.address}\r\n" in asked
        assert "Authorization" not in asked


def test_a_change_has_a_body_of_json_and_the_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with http_answers(http_answer("200 OK", {})) as server:
        client(server.address, tmp_path / "token").change("PATCH", "x", content={"state": "drain"})
        (asked,) = server.asked
    assert asked.startswith("PATCH /api/v1/x HTTP/1.1\r\n")
    assert f"Authorization: Bearer {TOKEN}\r\n" in asked
    assert "Content-Type: application/json\r\n" in asked
    assert asked.endswith('\r\n\r\n{"state": "drain"}')


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        (
            http_answer("404 Not Found", {"error": {"code": "x", "message": "no pool is named\nx"}}),
            REFUSED,
            "no pool is named; x",
        ),
        (
            http_answer("401 Unauthorized", {"error": {"code": "x", "message": "a token is needed"}}),
            REFUSED,
            "a token is needed; see --token-file and TCPBALANCE_TOKEN_FILE",
        ),
        (http_answer("502 Bad Gateway", "<html>"), REFUSED, "it answered 502 Bad Gateway"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n<a>",
            UNREACHABLE,
            "cannot ask the admin side at {}: what answers there is not a balancer's admin side",
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{",
            UNREACHABLE,
            "cannot ask the admin side at {}: the answer was cut short",
        ),
        (
            CLOSE,
            UNREACHABLE,
            "cannot ask the admin side at {}: it has closed the connection without an answer",
        ),
        (
            b"SSH-2.0-x\r\n\r\n",
            UNREACHABLE,
            r"cannot ask the admin side at {}: it has not answered as HTTP does: SSH-2.0-x\r\n",
        ),
    ],
    ids=["refused", "token", "other refusal", "no JSON", "cut short", "closed", "no HTTP"],
)
def test_an_answer_that_is_none(answer: bytes, status: int, message: str) -> None:
    with http_answers(answer) as server:
        with pytest.raises(CommandError) as caught:
            client(server.address).get("pools")
        assert str(caught.value) == message.format(server.address)
        assert caught.value.status == status


@pytest.mark.parametrize(
    "answer",
    [{}, [], 5, {"pools": {}}, {"pools": 5}, {"pools": [5]}, {"pools": [{"backends": [{"name": 5}]}]}],
)
def test_an_answer_without_what_is_asked_for(answer: object) -> None:
    with http_answers(http_answer("200 OK", answer)) as server:
        with pytest.raises(CommandError) as caught:
            client(server.address).get("pools")["pools"]["web"]
        cause = "what answers there is not a balancer's admin side"
        assert str(caught.value) == f"cannot ask the admin side at {server.address}: {cause}"
        assert caught.value.status == UNREACHABLE


def test_an_admin_side_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(
            CommandError, match=f"^cannot ask the admin side at {address}: connection refused$"
        ):
            client(address).get("pools")
    with pytest.raises(CommandError, match=r"x.sock: no such file or directory$") as caught:
        client(f"{tmp_path}/x.sock").get("pools")
    assert caught.value.status == UNREACHABLE


def test_one_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        address = parse_admin(f"127.0.0.1:{sock.getsockname()[1]}", "--admin")
        silent = AdminClient(address, silent_for=0.1)
        with pytest.raises(CommandError, match=r"no answer in time$"):
            silent.get("pools")


def test_a_token_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(
        CommandError, match=r"^cannot read the token: .*/a: no such file or directory$"
    ) as caught:
        client("127.0.0.1:1", tmp_path / "a")
    assert caught.value.status == REFUSED
    (tmp_path / "a").write_text("a\nb")
    with pytest.raises(CommandError, match=r"must be one line of ASCII$"):
        client("127.0.0.1:1", tmp_path / "a")


def test_server_sent_events_are_read() -> None:
    text = b'retry: 1000\n\n:\n\nid: 1\ndata: {"a": 1}\n\nevent: missed\ndata: {}\n\ndata: {"a": 2}\n\n'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    found: list[tuple[str, object]] = []
    with http_answers(head + text) as server:
        with pytest.raises(CommandError, match=r"the stream has ended$") as caught:
            found.extend(client(server.address).stream("events", since=5))
        assert caught.value.status == UNREACHABLE
        (asked,) = server.asked
    assert asked.startswith("GET /api/v1/events?since=5 HTTP/1.1\r\n")
    assert "Accept: text/event-stream\r\n" in asked
    assert found == [("", {"a": 1}), ("missed", {}), ("", {"a": 2})]


def test_an_answer_that_is_too_deep() -> None:
    deep = b"[" * 100_000
    with (
        http_answers(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(deep), deep)) as server,
        pytest.raises(CommandError, match=r"is not a balancer's admin side$"),
    ):
        client(server.address).get("pools")


@pytest.mark.parametrize("data", [b"x", b"5", b'{"kind": 5}', b"[" * 100_000])
def test_events_that_are_none(data: bytes) -> None:
    with (
        http_answers(b"HTTP/1.1 200 OK\r\n\r\ndata: %b\n\n" % data) as server,
        pytest.raises(CommandError, match=r"is not a balancer's admin side$"),
    ):
        next(client(server.address).stream("events"))

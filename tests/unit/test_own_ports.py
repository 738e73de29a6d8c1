"""From which ports the kernel takes ours."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tcpbalance.net import own_ports as module
from tcpbalance.net.own_ports import has_reached_itself, own_ports


def range_from(text: str | None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> range:
    file = folder / "range"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(module, "_RANGE", file)
    return own_ports.__wrapped__()


def test_as_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert range_from("32768\t60999\n", tmp_path, monkeypatch) == range(32768, 61000)


@pytest.mark.parametrize("text", [None, "", "any\n"])
def test_any_where_it_does_not_say(text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert range_from(text, tmp_path, monkeypatch) == range(1024, 65536)


def test_two_ends_are_not_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as client:
            assert not has_reached_itself(client, client.family, address, range(1, 65536))


def test_the_same_port_on_another_address_is_another_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", port)) as client:
            assert not has_reached_itself(client, client.family, ("127.0.0.1", port), range(1, 65536))


def test_one_end_is_itself() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        assert has_reached_itself(sock, sock.family, sock.getsockname(), range(1, 65536))

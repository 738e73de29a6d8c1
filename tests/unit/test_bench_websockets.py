"""The clients and the server of the benchmark's WebSockets understand each other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

from bench.errors import Failed
from bench.process import run
from bench.web import connect, get
from bench.websockets import echoes
from support.http_backend import http_backend


def client(*ports: int) -> list[str]:
    return [sys.executable, "-m", "bench.clients.websockets", "0.2", *map(str, ports)]


def test_messages_come_back_through_each_port(tmp_path: Path) -> None:
    with echoes(tmp_path, 20) as (port,):
        # A proxy is asked for a page before it is used.
        with connect(port) as sock:
            assert get(sock, "/") == 3
        rates = [float(rate) for rate in run(client(port, port), 20).split()]
    assert len(rates) == 2
    assert min(rates) > 100


def test_a_server_without_websockets_is_a_failure() -> None:
    with http_backend() as backend, pytest.raises(Failed, match="not a WebSocket"):
        run(client(backend.server_port), 20)

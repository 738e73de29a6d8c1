"""What /proc says of a process, as the benchmark reads it."""

from __future__ import annotations

import pytest

pytest.importorskip("bench", reason="bench/ is in the tree, not in the wheel")

import os
import socket
import subprocess
import sys
from pathlib import Path

from bench import web
from bench.errors import Failed
from bench.process import Child
from bench.usage import listens, memory, memory_alone
from support.http_backend import http_backend


def test_memory_of_one_process_and_its_own_part() -> None:
    held = bytearray(b"x" * (8 << 20))
    resident, own = memory_alone(os.getpid())
    assert len(held) < own < resident <= memory(os.getpid())


def test_a_process_that_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    with pytest.raises(Failed, match="the process is gone"):
        memory_alone(child.pid)


def test_who_listens_on_a_port() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child,
    ):
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            assert not listens(os.getpid(), client.getsockname()[1])
        assert listens(os.getpid(), port)
        assert not listens(child.pid, port)
        child.communicate(b"\n")
    assert not listens(os.getpid(), port)
    assert not listens(child.pid, port)


def test_an_answer_of_another_process_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_STARTS_WITHIN", 0.3)
    with (
        http_backend() as other,
        Child([sys.executable, "-c", "input()"], tmp_path / "output.log", tmp_path) as child,
        pytest.raises(Failed, match="an answer: not within"),
    ):
        web.wait_for_answer(other.server_port, child)

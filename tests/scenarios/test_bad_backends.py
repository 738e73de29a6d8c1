"""Backends that refuse, do not answer, break off or stop half-way: what the client and the log see."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from support import peers
from support.clients import ask, connect, read_all, reset
from support.daemon import Daemon
from support.ports import free_port
from support.waiting import until

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = "127.0.0.1:0"
pool = "web"

[pools.web]
backends = [{backends}]
connect_timeout = "300ms"
{more}
"""

RETRY_ON_RESET = 'retry_on = ["connect_failed", "reset_before_answer"]'

Record = dict[str, Any]


def config(*addresses: str, more: str = "") -> str:
    """Give a configuration over some backends."""
    return CONFIG.format(backends=", ".join(f'"{address}"' for address in addresses), more=more)


def the_record(daemon: Daemon) -> Record:
    """Give the only record there is."""
    (record,) = daemon.wait_for_records(1)
    return record


def test_a_backend_that_refuses_is_passed_over(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    with peers.named("good") as (good,), Daemon(config(nobody, good.address), tmp_path) as daemon:
        assert ask(daemon.port) == b"good"
        record = the_record(daemon)
    assert (record["backend"], record["attempts"]) == (good.address, 2)
    assert record["cause"] == "refused"


def test_a_backend_that_does_not_answer_is_passed_over_after_connect_timeout(tmp_path: Path) -> None:
    with (
        peers.unanswering() as silent,
        peers.named("good") as (good,),
        Daemon(config(silent, good.address), tmp_path) as daemon,
    ):
        assert ask(daemon.port) == b"good"
        record = the_record(daemon)
    assert (record["backend"], record["attempts"]) == (good.address, 2)
    assert "timed out" in record["cause"]
    assert 300 <= record["wait_ms"] < 3000


def test_when_every_backend_refuses_the_client_is_closed_at_once(tmp_path: Path) -> None:
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    with Daemon(config(*addresses), tmp_path) as daemon:
        with connect(daemon.port) as client:
            assert client.recv(1) == b""
        record = the_record(daemon)
        # The balancer goes on: the next client is served as soon as there is someone to serve it.
        with _listening_at(addresses[0]):
            until(lambda: ask(daemon.port) == b"late", "the backend that came late")
    assert (record["reason"], record["closed_by"]) == ("connect_failed", "balancer")
    assert (record["backend"], record["attempts"], record["connect_ms"]) == (None, 3, None)
    assert record["cause"] == "refused"


def _listening_at(address: str) -> Any:
    return peers.peer(peers.says(b"late"), port=int(address.rpartition(":")[2]))


def test_when_no_backend_is_up_the_client_is_closed_at_once(tmp_path: Path) -> None:
    checked = '[pools.web.health]\ninterval = "100ms"\nfall = 1'
    nobody = f"127.0.0.1:{free_port()}"
    with Daemon(config(nobody, more=checked), tmp_path) as daemon:
        with connect(daemon.port) as client:
            assert client.recv(1) == b""
        record = the_record(daemon)
        with _listening_at(nobody):
            daemon.wait_for_log(f"backend {nobody} is up")
            assert ask(daemon.port) == b"late"
    assert (record["reason"], record["attempts"], record["backend"]) == ("no_backend", 0, None)


def test_a_backend_that_breaks_off_before_its_first_byte_ends_the_session(tmp_path: Path) -> None:
    """It may have worked on the question, which is put to nobody else."""
    with (
        peers.peer(_crashes_over_it) as bad,
        peers.peer(peers.echo) as good,
        Daemon(config(bad.address, good.address), tmp_path) as daemon,
    ):
        # Which call meets the reset depends on how soon it comes; and it is met once.
        with pytest.raises(ConnectionError):
            ask(daemon.port, b"question", finish=False)
        record = the_record(daemon)
        assert good.accepted == 0
    assert (record["reason"], record["backend"], record["attempts"]) == ("backend_reset", bad.address, 1)
    assert record["cause"] == "reset"


def _crashes_over_it(sock: socket.socket) -> None:
    """Read the question, and break off."""
    sock.recv(1)
    reset(sock)


def test_one_that_breaks_off_is_passed_over_where_the_pool_says_so(tmp_path: Path) -> None:
    with (
        peers.peer(peers.reset_at_once) as bad,
        peers.peer(peers.echo) as good,
        Daemon(config(bad.address, good.address, more=RETRY_ON_RESET), tmp_path) as daemon,
    ):
        assert ask(daemon.port, b"question") == b"question"
        record = the_record(daemon)
    assert (record["backend"], record["attempts"], record["cause"]) == (good.address, 2, "reset")


@pytest.mark.parametrize("kept", [1, 30_000])
def test_a_question_is_kept_for_the_backend_that_answers(tmp_path: Path, kept: int) -> None:
    question = b"?" * kept
    with (
        peers.peer(peers.reset_at_once) as bad,
        peers.peer(peers.hash_after_end) as good,
        peers.peer(peers.hash_after_end) as direct,
        Daemon(config(bad.address, good.address, more=RETRY_ON_RESET), tmp_path) as daemon,
    ):
        assert ask(daemon.port, question) == ask(direct.port, question)
        assert the_record(daemon)["client_bytes"] == kept


def test_one_that_has_answered_and_breaks_off_is_not_passed_over(tmp_path: Path) -> None:
    """Answer and break may be there at once: the question was worked on, and is put to nobody else."""
    with (
        peers.peer(peers.answer_unread(b"too large")) as bad,
        peers.named("good") as (good,),
        Daemon(config(bad.address, good.address, more='balance = "round_robin"'), tmp_path) as daemon,
    ):
        for _ in range(10):
            with connect(daemon.port) as client, contextlib.suppress(ConnectionResetError):
                client.sendall(b"?" * 1000)
                read_all(client)
        records = daemon.wait_for_records(10)
        assert (bad.accepted, good.accepted) == (5, 5)
    assert [record["attempts"] for record in records] == [1] * 10
    assert {record["backend_bytes"] for record in records} == {len("too large"), len("good")}


def test_a_dial_ends_after_dial_timeout_whatever_is_left_to_try(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    more = 'dial_timeout = "900ms"\nretries = 1000'
    with (
        peers.unanswering() as silent,
        Daemon(config(nobody, silent, more=more), tmp_path) as daemon,
        connect(daemon.port) as client,
    ):
        client.sendall(b"question")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
        record = the_record(daemon)
    assert (record["reason"], record["closed_by"], record["backend"]) == ("dial_timeout", "balancer", None)
    assert 900 <= record["total_ms"] < 10_000
    assert record["tried"][0] == {"backend": nobody, "cause": "refused"}
    assert record["tried"][1] == {"backend": silent, "cause": "timed out after 0.3 s"}
    assert len(record["tried"]) == record["attempts"]


def test_a_client_that_leaves_without_a_word_is_not_dialled_for_any_longer(tmp_path: Path) -> None:
    more = 'dial_timeout = "1h"\nretries = 1000'
    with peers.unanswering() as silent, Daemon(config(silent, more=more), tmp_path) as daemon:
        connect(daemon.port).close()
        record = the_record(daemon)
    assert (record["reason"], record["closed_by"]) == ("client_closed", "client")
    assert record["total_ms"] < 10_000


def test_a_backend_that_breaks_off_in_mid_stream_is_broken_off_for_the_client(tmp_path: Path) -> None:
    with (
        peers.peer(peers.reset_after(b"half")) as bad,
        peers.named("good") as (good,),
        Daemon(config(bad.address, good.address), tmp_path) as daemon,
    ):
        with connect(daemon.port) as client:
            client.sendall(b"?")
            assert client.recv(100) == b"half"
            client.sendall(b"!")
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        record = the_record(daemon)
        assert good.accepted == 0
    assert (record["reason"], record["closed_by"]) == ("backend_reset", "backend")
    assert (record["attempts"], record["client_bytes"], record["backend_bytes"]) == (1, 2, 4)


def test_a_backend_that_closes_in_mid_stream_is_closed_for_the_client(tmp_path: Path) -> None:
    with peers.peer(peers.close_after(b"half")) as bad, Daemon(config(bad.address), tmp_path) as daemon:
        with connect(daemon.port) as client:
            client.sendall(b"?")
            assert read_all(client) == b"half"
        record = the_record(daemon)
    assert (record["reason"], record["closed_by"], record["attempts"]) == ("backend_closed", "backend", 1)


def test_a_client_that_breaks_off_is_broken_off_for_the_backend(tmp_path: Path) -> None:
    with peers.peer(peers.hang) as backend, Daemon(config(backend.address), tmp_path) as daemon:
        client = connect(daemon.port)
        until(lambda: backend.open_connections == 1, "the backend's connection")
        reset(client)
        until(lambda: backend.open_connections == 0, "the end of the backend's connection")
        record = the_record(daemon)
        assert backend.broken == 1
    assert (record["reason"], record["closed_by"]) == ("client_reset", "client")

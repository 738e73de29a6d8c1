"""The peers do what the scenarios take for granted, asked directly, with no balancer between."""

from __future__ import annotations

import hashlib
import socket
import time

import pytest

from support import databases, peers
from support.clients import ask, connect, read_all, reset
from support.nginx import nginx
from support.ports import accepts, free_port
from support.process import run
from support.programs import require
from support.waiting import until


@pytest.mark.requires("nginx", "curl")
def test_nginx_says_its_name_and_comes_back_on_the_same_port() -> None:
    (curl,) = require("curl")
    with nginx("a", "b") as servers:
        answers = [run([curl, "-sS", f"http://{server.address}/"]) for server in servers]
        assert answers == ["a\n", "b\n"]
        servers[0].kill()
        assert not accepts(servers[0].port)
        servers[0].start()
        assert run([curl, "-sS", f"http://{servers[0].address}/health"]) == "ok a\n"
    assert not accepts(servers[0].port)


@pytest.mark.requires("postgres", "initdb", "psql")
def test_postgresql_answers_with_a_password() -> None:
    (psql,) = require("psql")
    with databases.postgresql() as server:
        url = f"postgresql://app@127.0.0.1:{server.port}/app"
        assert run([psql, "-tAc", "SELECT 6 * 7", url], env=databases.with_password()) == "42\n"


@pytest.mark.requires("mariadbd", "mariadb-install-db", "mariadb")
def test_mariadb_answers_with_a_password() -> None:
    (client,) = require("mariadb")
    with databases.mariadb() as server:
        who = ["-h127.0.0.1", f"-P{server.port}", "-uapp", f"-p{databases.PASSWORD}"]
        assert run([client, "--no-defaults", *who, "-BNe", "SELECT 6 * 7"]) == "42\n"


@pytest.mark.requires("redis-server", "redis-cli")
def test_redis_keeps_what_it_is_told() -> None:
    (client,) = require("redis-cli")
    with databases.redis() as server:
        assert run([client, "-p", str(server.port), "SET", "k", "v"]) == "OK\n"
        assert run([client, "-p", str(server.port), "GET", "k"]) == "v\n"


def test_a_named_peer_says_its_name_and_ends() -> None:
    with peers.named("a", "b") as (a, b):
        assert [ask(a.port), ask(b.port), ask(a.port)] == [b"a", b"b", b"a"]
        assert (a.accepted, b.accepted) == (2, 1)


def test_a_hash_comes_after_the_end_and_not_before() -> None:
    with peers.peer(peers.hash_after_end) as server, connect(server.port) as sock:
        sock.sendall(b"question")
        sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.settimeout(10)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).decode() == hashlib.sha256(b"question").hexdigest()


def test_an_echo_gives_back_what_it_gets() -> None:
    with peers.peer(peers.echo) as server:
        assert ask(server.port, b"hello") == b"hello"


def test_a_peer_that_breaks_off_is_told_from_one_that_closes() -> None:
    with peers.peer(peers.reset_after(b"half")) as server, connect(server.port) as sock:
        sock.sendall(b"?")
        assert sock.recv(100) == b"half"
        sock.sendall(b"!")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    with peers.peer(peers.close_after(b"half")) as server, connect(server.port) as sock:
        sock.sendall(b"?")
        assert read_all(sock) == b"half"


def test_a_client_that_breaks_off_is_noticed() -> None:
    with peers.peer(peers.hang) as server:
        sock = connect(server.port)
        until(lambda: server.open_connections == 1, "the connection")
        reset(sock)
        until(lambda: server.open_connections == 0, "the reset")


def test_a_peer_ends_while_connections_are_open() -> None:
    with peers.peer(peers.hang) as server:
        sock = connect(server.port)
        until(lambda: server.open_connections == 1, "the connection")
    with sock:
        assert read_all(sock) == b""


def test_an_address_that_does_not_answer_lets_a_connection_wait() -> None:
    with peers.unanswering() as address:
        host, port = address.split(":")
        before = time.monotonic()
        with pytest.raises(TimeoutError):
            socket.create_connection((host, int(port)), timeout=0.5)
        assert time.monotonic() - before >= 0.5


def test_no_port_is_given_twice() -> None:
    assert len({free_port() for _ in range(100)}) == 100

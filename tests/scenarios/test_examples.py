"""Each configuration in `examples/` does what its comments say, with the real servers behind it."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from support import databases
from support.clients import ask
from support.daemon import Daemon
from support.databases import PASSWORD, with_password
from support.examples import EXAMPLES, example
from support.nginx import nginx
from support.process import run
from support.programs import require
from support.waiting import until

AS_APP = ["--no-defaults", "--host=127.0.0.1", "--user=app", f"--password={PASSWORD}", "-BN"]


def test_every_configuration_is_run_by_a_test_here() -> None:
    tested = {"http.toml", "mysql.toml", "postgresql.toml", "redis.toml"}
    assert {path.name for path in EXAMPLES.glob("*.toml")} == tested


@pytest.mark.requires("postgres", "psql", "pg_isready")
def test_postgresql_serves_from_both_replicas_and_keeps_a_client_at_its_own(tmp_path: Path) -> None:
    with databases.postgresql() as one, databases.postgresql() as two:
        addresses = {"10.0.0.11:5432": one.address, "10.0.0.12:5432": two.address}
        text = example("postgresql.toml", {"0.0.0.0:5432": "127.0.0.1:0", "5s": "500ms", **addresses})
        with Daemon(text, tmp_path) as daemon:
            first = _postgresql_port(daemon)
            assert first in {one.port, two.port}
            # One client address: the affinity that lets a client cancel its query.
            assert [_postgresql_port(daemon) for _ in range(4)] == [first] * 4
            gone, left = (one, two) if first == one.port else (two, one)
            gone.process.stop(signal.SIGINT)
            assert _postgresql_port(daemon) == left.port
            daemon.wait_for_log(r"backend replica\d .*is down")


def _postgresql_port(daemon: Daemon) -> int:
    (psql,) = require("psql")
    url = f"postgresql://app@127.0.0.1:{daemon.port}/app"
    return int(run([psql, "-tAc", "SHOW port", url], env=with_password()))


@pytest.mark.requires("mariadbd", "mariadb-install-db", "mariadb", "mysqladmin")
def test_mysql_turns_to_the_second_server_when_the_first_is_gone(tmp_path: Path) -> None:
    with databases.mariadb() as first, databases.mariadb() as second:
        addresses = {"10.0.0.21:3306": first.address, "10.0.0.22:3306": second.address}
        text = example("mysql.toml", {"0.0.0.0:3306": "127.0.0.1:0", "5s": "500ms", **addresses})
        with Daemon(text, tmp_path) as daemon:
            assert [_mysql_port(daemon) for _ in range(4)] == [first.port] * 4
            # The checks have not been counted against us as connections broken off.
            assert _aborted_connects(first) == 0
            first.process.stop(signal.SIGKILL)
            assert _mysql_port(daemon) == second.port
            daemon.wait_for_log("backend first .*is down")
            assert _mysql_port(daemon) == second.port


def _mysql_port(daemon: Daemon) -> int:
    (client,) = require("mariadb")
    return int(run([client, *AS_APP, f"--port={daemon.port}", "-e", "SELECT @@port"]))


def _aborted_connects(server: databases.Database) -> int:
    (client,) = require("mariadb")
    show = "SHOW STATUS LIKE 'Aborted_connects_preauth'"
    return int(run([client, *AS_APP, f"--port={server.port}", "-e", show]).split()[1])


@pytest.mark.requires("redis-server", "redis-cli")
def test_redis_follows_the_master(tmp_path: Path) -> None:
    with databases.redis() as one, databases.redis() as two:
        _redis(two.port, "REPLICAOF", "127.0.0.1", str(one.port))
        addresses = {"10.0.0.31:6379": one.address, "10.0.0.32:6379": two.address}
        text = example("redis.toml", {"0.0.0.0:6379": "127.0.0.1:0", **addresses})
        with Daemon(text, tmp_path) as daemon:
            assert [_redis_port(daemon) for _ in range(4)] == [one.port] * 4
            _redis(two.port, "REPLICAOF", "NO", "ONE")
            _redis(one.port, "REPLICAOF", "127.0.0.1", str(two.port))
            daemon.wait_for_log("backend redis1 .*is down")
            daemon.wait_for_log("backend redis2 .*is up")
            assert [_redis_port(daemon) for _ in range(4)] == [two.port] * 4


def _redis(port: int, *command: str) -> str:
    (client,) = require("redis-cli")
    return run([client, "-p", str(port), *command])


def _redis_port(daemon: Daemon) -> int:
    return int(_redis(daemon.port, "CONFIG", "GET", "port").splitlines()[1])


@pytest.mark.requires("nginx")
def test_http_shares_the_work_and_says_sorry_when_all_are_gone(tmp_path: Path) -> None:
    with nginx("big", "small", "sorry") as (big, small, sorry):
        addresses = {
            "10.0.0.41:8080": big.address,
            "10.0.0.42:8080": small.address,
            "10.0.0.49:8080": sorry.address,
        }
        listen = {"0.0.0.0:80": "127.0.0.1:0", "[::]:80": "[::1]:0" if _has_ipv6() else "127.0.0.2:0"}
        log = {"/var/log/tcpbalance/http.log": "access.log"}
        with Daemon(example("http.toml", {**addresses, **listen, **log}), tmp_path) as daemon:
            served = Counter(_page(daemon) for _ in range(200))
            # By the weights 133 and 67 on idle servers; 100 each when every client comes so soon after one
            # before it that the server of that one is still busy. Half of the lesser share is certain.
            assert set(served) == {"big\n", "small\n"}
            assert min(served.values()) > 33
            assert len(daemon.addresses["http"]) == 2
            big.kill()
            assert {_page(daemon) for _ in range(5)} == {"small\n"}
            small.kill()
            assert _page(daemon) == "sorry\n"
            big.start()
            until(lambda: _page(daemon) == "big\n", "the big one again")
            records = daemon.wait_for_records(207)
    assert {record["frontend"] for record in records} == {"http"}


def _has_ipv6() -> bool:
    return Path("/proc/net/if_inet6").exists() and Path("/proc/net/if_inet6").read_text() != ""


def _page(daemon: Daemon) -> str:
    answer = ask(daemon.port, b"GET / HTTP/1.0\r\n\r\n", finish=False)
    return answer.decode().partition("\r\n\r\n")[2]

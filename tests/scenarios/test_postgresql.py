"""PostgreSQL through the balancer: psql and pgbench do not notice it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import frozen

from support import databases
from support.daemon import Daemon
from support.databases import Database, with_password
from support.process import run
from support.programs import require
from tcpbalance.net.data_path import DataPathName

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.db]
listen = ["127.0.0.1:0", "unix:.s.PGSQL.5432"]
pool = "db"

[pools.db]
backends = ["{backend}"]

[pools.db.health]
check = "tcp"
interval = "200ms"
"""

pytestmark = pytest.mark.requires("postgres", "initdb", "psql", "pgbench")


@frozen
class Setup:
    """A server with a balancer in front of it."""

    server: Database
    daemon: Daemon

    def query(self, sql: str, port: int | None = None) -> str:
        """Ask through the balancer, or the server itself when `port` is its own."""
        (psql,) = require("psql")
        url = f"postgresql://app@127.0.0.1:{port or self.daemon.port}/app"
        return run([psql, "-v", "ON_ERROR_STOP=1", "-tAqc", sql, url], env=with_password())

    def pgbench(self, *options: str) -> str:
        """Run pgbench through the balancer."""
        (pgbench,) = require("pgbench")
        where = ["-h", "127.0.0.1", "-p", str(self.daemon.port), "-U", "app"]
        return run([pgbench, *where, *options, "app"], env=with_password())


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    """Run one server behind the balancers of both data paths."""
    with databases.postgresql() as server:
        yield server


@pytest.fixture(scope="module")
def setup(
    tmp_path_factory: pytest.TempPathFactory, server: Database, data_path: DataPathName
) -> Iterator[Setup]:
    """Run a balancer in front of it."""
    folder = tmp_path_factory.mktemp("daemon")
    with Daemon(CONFIG.format(backend=server.address), folder) as daemon:
        yield Setup(server, daemon)


def test_pgbench_loses_no_transaction(setup: Setup) -> None:
    setup.pgbench("--initialize", "--quiet", "--scale=1")
    before = len(setup.daemon.wait_for_records(1))
    kept = setup.pgbench("--client=8", "--transactions=50", "--no-vacuum")
    # And with a connection for each transaction.
    anew = setup.pgbench("--client=8", "--transactions=25", "--no-vacuum", "--connect")
    assert _transactions(kept) == (400, 0)
    assert _transactions(anew) == (200, 0)
    # What the server has written is what the clients were told.
    balances = "SELECT sum(abalance) FROM pgbench_accounts"
    assert setup.query(f"SELECT count(*), sum(delta) = ({balances}) FROM pgbench_history") == "600|t\n"
    # 8 connections kept, 200 anew, one more in each run to look at the tables, and that of the query.
    records = setup.daemon.wait_for_records(before + 211)[before:]
    assert len(records) == 211
    # The client says close_notify and closes; the server closes when it hears the close_notify. Either may
    # come first.
    assert {record["reason"] for record in records} <= {"client_closed", "backend_closed"}


def _transactions(output: str) -> tuple[int, int]:
    """Give how many pgbench says were processed, and how many failed."""
    processed = re.search(r"actually processed: (\d+)", output)
    failed = re.search(r"failed transactions: (\d+)", output)
    assert processed is not None
    assert failed is not None, output
    return int(processed[1]), int(failed[1])


def test_a_large_result_is_the_same_as_without_the_balancer(setup: Setup) -> None:
    sql = "SELECT n, md5(n::text), repeat('x', n % 300) FROM generate_series(1, 300000) n"
    through, direct = setup.query(sql), setup.query(sql, setup.server.port)
    assert len(through) > 50_000_000
    assert _hash(through) == _hash(direct)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_copy_in_and_out_round_trips(setup: Setup, tmp_path: Path) -> None:
    (psql,) = require("psql")
    rows = "".join(f"{n}\t{'y' * (n % 500)}\n" for n in range(100_000))
    (tmp_path / "rows").write_text(rows)
    setup.query("DROP TABLE IF EXISTS t; CREATE TABLE t (n int, s text)")
    url = f"postgresql://app@127.0.0.1:{setup.daemon.port}/app"
    run([psql, "-qc", f"\\copy t FROM '{tmp_path}/rows'", url], env=with_password())
    run([psql, "-qc", f"\\copy (SELECT * FROM t ORDER BY n) TO '{tmp_path}/back'", url], env=with_password())
    assert (tmp_path / "back").read_text() == rows


def test_psql_over_a_unix_socket_of_the_balancer(setup: Setup) -> None:
    (psql,) = require("psql")
    where = ["-h", str(setup.daemon.folder), "-p", "5432", "-U", "app"]
    assert run([psql, *where, "-tAc", "SELECT 6 * 7", "app"], env=with_password()) == "42\n"


def test_an_error_and_a_lost_login_reach_the_client_as_they_are(setup: Setup) -> None:
    with pytest.raises(AssertionError, match='relation "nothing" does not exist'):
        setup.query("SELECT * FROM nothing")
    (psql,) = require("psql")
    url = f"postgresql://app:wrong@127.0.0.1:{setup.daemon.port}/app"
    with pytest.raises(AssertionError, match='password authentication failed for user "app"'):
        run([psql, "-c", "SELECT 1", url])

"""MariaDB through the balancer: its client does not notice it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from attrs import frozen

from support import databases
from support.daemon import Daemon
from support.databases import PASSWORD, Database
from support.process import run
from support.programs import require
from tcpbalance.net.data_path import DataPathName

CONFIG = """
[access_log]
path = "access.log"
format = "json"

[frontends.mysql]
listen = "127.0.0.1:0"
pool = "mysql"

[pools.mysql]
backends = ["{backend}"]
"""

pytestmark = pytest.mark.requires("mariadbd", "mariadb-install-db", "mariadb")


@frozen
class Setup:
    """A server with a balancer in front of it."""

    server: Database
    daemon: Daemon

    def sql(self, statements: str, port: int | None = None) -> str:
        """Carry out statements through the balancer, or at the server itself when `port` is its own."""
        (client,) = require("mariadb")
        who = ["--no-defaults", "-h127.0.0.1", f"-P{port or self.daemon.port}", "-uapp", f"-p{PASSWORD}"]
        return run([client, *who, "-BN"], input=statements)


@pytest.fixture(scope="module")
def server() -> Iterator[Database]:
    """Run one server behind the balancers of both data paths."""
    with databases.mariadb() as server:
        yield server


@pytest.fixture(scope="module")
def setup(
    tmp_path_factory: pytest.TempPathFactory, server: Database, data_path: DataPathName
) -> Iterator[Setup]:
    """Run a balancer in front of it."""
    folder = tmp_path_factory.mktemp("daemon")
    with Daemon(CONFIG.format(backend=server.address), folder) as daemon:
        yield Setup(server, daemon)


def test_what_is_written_through_the_balancer_is_what_is_there(setup: Setup) -> None:
    rows = ",".join(f"({n}, REPEAT(MD5({n}), {n % 20}))" for n in range(20_000))
    setup.sql("CREATE OR REPLACE DATABASE app; CREATE TABLE app.t (n INT PRIMARY KEY, s TEXT);")
    setup.sql(f"INSERT INTO app.t VALUES {rows};")
    everything = "SELECT n, s FROM app.t ORDER BY n;"
    through, direct = setup.sql(everything), setup.sql(everything, setup.server.port)
    assert through.count("\n") == 20_000
    assert through == direct


def test_a_large_value_comes_back_whole(setup: Setup) -> None:
    assert (
        setup.sql(
            "SELECT LENGTH(x), MD5(x) = MD5(REPEAT('abcd', 3000000)) "
            "FROM (SELECT REPEAT('abcd', 3000000) AS x) AS q;"
        )
        == "12000000\t1\n"
    )
    assert setup.sql("SELECT REPEAT('abcd', 3000000);") == "abcd" * 3_000_000 + "\n"


def test_many_connections_each_get_their_answer(setup: Setup) -> None:
    answers = [setup.sql(f"SELECT {n} * 2, CONNECTION_ID();").split() for n in range(30)]
    assert [int(answer[0]) for answer in answers] == [n * 2 for n in range(30)]
    assert len({answer[1] for answer in answers}) == 30
    records = setup.daemon.wait_for_records(30)
    assert {record["attempts"] for record in records} == {1}
    # The client says close_notify and closes; the server closes when it hears the close_notify. Either may
    # come first.
    assert {record["reason"] for record in records} <= {"client_closed", "backend_closed"}

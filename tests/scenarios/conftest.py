"""On which data paths, by which commands, and how started the scenarios run: the one place that decides it.

Scenarios whose subject is bytes, ends, resets, back-pressure, descriptors, shutdown or a protocol of real
servers run twice, because the two data paths are different code there. The others run once, on the default
data path: the configuration, the distribution of connections, the log, the bound sockets and the lookups do
not depend on it, and the tests of peers alone run no balancer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from support.admin import Stage
from support.daemon import Daemon, Starter
from support.forker import Forker
from support.peers import echo, named, peer
from support.process import forking
from tcpbalance.net.data_path import DataPathName
from tcpbalance.workers.shared_counts import can_count

ON_BOTH_DATA_PATHS = {
    "test_addresses",
    "test_answers_during_uploads",
    "test_bad_backends",
    "test_bulk_transfer",
    "test_clock_steps",
    "test_cut_bodies",
    "test_ending",
    "test_forward_proxy",
    "test_half_close",
    "test_http_early_ends",
    "test_http_web_servers",
    "test_http_wrong_protocol",
    "test_local_ports",
    "test_mariadb",
    "test_nginx_under_wrk",
    "test_out_of_descriptors",
    "test_postgresql",
    "test_proxy_protocol",
    "test_redis",
    "test_slow_reader",
    "test_tls_backend_half_close",
    "test_tls_handshakes",
    "test_tls_transfers",
}
"""Modules."""

BY_BOTH_COMMANDS = {
    "test_first_process",
    "test_refused_to_start",
    "test_signals_early",
}
"""Modules about what happens before clients are served, where ``twistd`` and ``tcpbalance run`` differ; the
others use ``twistd``."""

BY_THE_PROGRAM = {
    "test_first_process",
    "test_http",
    "test_local_ports",  # Their network is their own.
    "test_nginx_under_wrk",
    "test_postgresql",
    "test_reload",
    "test_run",
    "test_signals_early",
    "test_tls_termination",
    "test_upgrade",
    "test_workers_behind_proxies",
    "test_workers_limits",  # Their network is their own.
}
"""Modules whose balancers are started as users start them, at least one for each thing that users do. Those
of the others are forked: most of a start are imports, which hundreds of tests need not repeat."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test its data paths and its commands."""
    module = _name_of(metafunc.module)
    if module in BY_BOTH_COMMANDS:
        metafunc.parametrize("starter", ["twistd", "tcpbalance run"], indirect=True, scope="module")
    if module in ON_BOTH_DATA_PATHS:
        metafunc.parametrize("data_path", ["auto", "portable"], indirect=True, scope="module")


IMPORTED = (
    "twisted.scripts.twistd",
    "twisted.scripts._twistd_unix",
    "twisted.internet.epollreactor",
    "tcpbalance.daemon",
    "tcpbalance.workers.supervisor",
    "tcpbalance.control.admin_http",
)
"""What those import that are forked."""


def _name_of(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


@pytest.fixture(autouse=True, scope="module")
def data_path(request: pytest.FixtureRequest) -> Iterator[DataPathName | None]:
    """Put every balancer of the tests on their data path.

    A fixture of a whole module that runs a balancer asks for this one, so that each data path gets its own.
    """
    chosen: DataPathName | None = getattr(request, "param", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Daemon, "data_path_name", chosen)
        yield chosen


@pytest.fixture(autouse=True, scope="module")
def starter(request: pytest.FixtureRequest) -> Iterator[Starter]:
    """Start every balancer of the tests by their command."""
    chosen: Starter = getattr(request, "param", "twistd")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Daemon, "starter", chosen)
        yield chosen


@pytest.fixture(scope="session")
def forker() -> Iterator[Forker]:
    """What starts balancers by forks."""
    with forking(*IMPORTED) as forker:
        yield forker


@pytest.fixture(autouse=True, scope="module")
def forked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fork balancers of modules that need not run the program."""
    with pytest.MonkeyPatch.context() as patch:
        if _name_of(request.module) not in BY_THE_PROGRAM:
            patch.setattr(Daemon, "forker", request.getfixturevalue("forker"))
        yield


WORKERS = [1, pytest.param(2, marks=pytest.mark.skipif(not can_count(), reason="needs Linux on x86-64"))]


@pytest.fixture(params=WORKERS)
def workers(request: pytest.FixtureRequest) -> int:
    """How many processes serve."""
    number: int = request.param
    return number


@pytest.fixture
def stage(tmp_path: Path, workers: int) -> Iterator[Stage]:
    """Two backends that answer with their names, and balancers with an admin side in front of them."""
    with named("a", "b") as (a, b):
        yield Stage(tmp_path, workers, a, b)


@pytest.fixture
def echo_stage(tmp_path: Path, workers: int) -> Iterator[Stage]:
    """The same with backends that echo, as visitors want them."""
    with peer(echo) as a, peer(echo) as b:
        yield Stage(tmp_path, workers, a, b)

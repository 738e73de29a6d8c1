"""Answers of `/metrics` of a balancer with many backends, and the processor time that each takes."""

from __future__ import annotations

import sys
from http.client import HTTPConnection
from pathlib import Path

from attrs import frozen

from bench.echo import addresses
from bench.errors import Failed
from bench.ports import free_port
from bench.process import TREE, Child
from bench.replacements import workers_of
from bench.usage import cpu_alone
from bench.web import HOST, connect, get, wait_for_answer

FRONTENDS, BACKENDS = 50, 1000
"""Of the configuration; each frontend has a pool of its own with an equal share of the backends."""

CONNECTIONS = 2000
"""Before the first answer: each backend has had some, and has counters of their ends, too."""

ANSWERS = 20
"""Whose mean is taken, behind one that is not counted."""

SOURCES = 8
"""Addresses of clients, by which they are spread over the workers."""

_CONFIG = """
workers = {workers}
shutdown_grace = "1s"
[admin]
listen = "{host}:{admin}"
"""

_FRONTEND = """
[frontends.f{number}]
listen = "{host}:{port}"
pool = "p{number}"
[pools.p{number}]
balance = "round_robin"
backends = [{backends}]
"""

_COUNTED = b"tcpbalance_backend_connections_total{"


@frozen
class Scrapes:
    """What an answer takes, in milliseconds of processor time.

    :param serving: of the process that gives it: the supervisor where there are workers.
    :param worker: of the worker that it takes most of; 0 where there is one process.
    :param size: of the answer in bytes.
    """

    serving: float
    worker: float
    size: int


def config(workers: int, admin: int, ports: tuple[int, ...], backend: int) -> str:
    """Write a configuration.

    :param admin: the port of the admin side.
    :param ports: those of the frontends.
    :param backend: the port of the backends, each of which has an address of its own.
    """
    named = [
        f'{{ name = "b{number}", address = "{address}:{backend}" }}'
        for number, address in enumerate(addresses(BACKENDS))
    ]
    share = BACKENDS // len(ports)
    pieces = [", ".join(named[begin : begin + share]) for begin in range(0, BACKENDS, share)]
    return _CONFIG.format(workers=workers, host=HOST, admin=admin) + "".join(
        _FRONTEND.format(number=number, host=HOST, port=port, backends=backends)
        for number, (port, backends) in enumerate(zip(ports, pieces, strict=True))
    )


def scrape_often(folder: Path, workers: int, patience: float) -> Scrapes:
    """Ask a balancer for its metrics again and again, while it has nothing else to do.

    :param folder: for its files.
    :param workers: how many processes serve.
    :param patience: how long each step may take, in seconds.
    :raises Failed: when a connection is not served, or an answer is not whole.
    """
    ports, admin, backend = tuple(free_port() for _ in range(FRONTENDS)), free_port(), free_port()
    file = folder / "tcpbalance.toml"
    file.write_text(config(workers, admin, ports, backend))
    echo = [sys.executable, "-m", "bench.echo", f"{backend}", f"{BACKENDS}"]
    command = [sys.executable, "-m", "tcpbalance", "run", f"{file}"]
    with Child(echo, folder / "echo.log", TREE) as backends:
        backends.wait_for("ready", patience)
        with Child(command, folder / "output.log", folder) as child:
            wait_for_answer(ports[-1], child)
            for number in range(CONNECTIONS):
                with connect(
                    ports[number % FRONTENDS], f"127.0.1.{number // FRONTENDS % SOURCES + 1}"
                ) as sock:
                    get(sock, "/")
            pids = [child.pid, *(workers_of(child.pid) if workers > 1 else [])]
            size = _scrape(admin)
            before = [cpu_alone(pid) for pid in pids]
            for _ in range(ANSWERS):
                _scrape(admin)
            took = [(cpu_alone(pid) - its) / 1e6 / ANSWERS for pid, its in zip(pids, before, strict=True)]
    return Scrapes(took[0], max(took[1:], default=0.0), size)


def _scrape(port: int) -> int:
    """Ask once, and give the size of the answer in bytes.

    :raises Failed: when it does not have all backends, or not all of their connections.
    """
    connection = HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    answer = response.read()
    if response.status != 200:
        raise Failed(f"the admin side has answered {response.status}: {answer[:200]!r}")
    lines = [
        line for line in answer.splitlines() if line.startswith(b"tcpbalance_backend_connections_total{")
    ]
    served = sum(int(line.rpartition(b" ")[2]) for line in lines)
    if len(lines) != BACKENDS or served < CONNECTIONS:
        raise Failed(f"{len(lines)} of {BACKENDS} backends are there, with {served} connections")
    return len(answer)

"""A balancer with an admin side, and clients that keep sessions open at it and are quiet."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.ports import free_port
from bench.process import TREE, Child
from bench.web import HOST, wait_for_answer

_FIRST = 200
"""Of the sessions, that the client opens first."""

_CONFIG = """
workers = {workers}
shutdown_grace = "1s"
[admin]
listen = "{host}:{admin}"
[frontends.web]
listen = "{host}:{port}"
pool = "web"
[pools.web]
balance = "round_robin"
backends = [{backends}]
"""


@contextmanager
def quiet_sessions(
    folder: Path, backends: tuple[int, ...], count: int, workers: int, patience: float
) -> Iterator[tuple[int, int]]:
    """Run the balancer, and open the sessions.

    :param folder: for its files and those of the client.
    :param backends: the ports of the backends.
    :param count: how many sessions are open.
    :param workers: how many processes serve.
    :param patience: how long each step may take, in seconds.
    :returns: its port, and that of its admin side.
    """
    port, admin = free_port(), free_port()
    file = folder / "tcpbalance.toml"
    addresses = ", ".join(f'"{HOST}:{backend}"' for backend in backends)
    file.write_text(_CONFIG.format(workers=workers, host=HOST, admin=admin, port=port, backends=addresses))
    command = [sys.executable, "-m", "tcpbalance", "run", f"{file}"]
    holds = [sys.executable, "-m", "bench.clients.idle", f"{port}", f"{_FIRST}", f"{count - _FIRST}"]
    with Child(command, folder / "output.log", folder) as child:
        wait_for_answer(port, child)
        with Child(holds, folder / "idle.log", TREE) as holder:
            holder.wait_for("few", patience)
            holder.tell("go on")
            holder.wait_for("many", patience)
            yield port, admin

"""Messages a second over WebSockets through a proxy that serves requests, and through one that serves
connections."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen

from bench.arena import Arena
from bench.contestants.proxy import Proxy
from bench.ports import free_port
from bench.process import TREE, Child, run


@frozen
class Chats:
    """What was found.

    :param http: messages a second where requests are served.
    :param tcp: the same where connections are.
    """

    http: float
    tcp: float


def chat_through(proxy: Proxy, folder: Path, seconds: int, patience: float) -> Chats:
    """Let clients chat through it both ways, by turns.

    :param seconds: of each way.
    :param patience: how long anything may take, in seconds.
    :raises Failed: when it does not start, or a message does not come back.
    """
    with ExitStack() as stack:
        backends = stack.enter_context(echoes(folder, patience))
        ports = []
        for kind in ("http", "tcp"):
            (folder / kind).mkdir()
            arena = Arena(folder / kind, backends, http=kind == "http")
            ports.append(f"{stack.enter_context(arena.fresh(proxy)).port}")
        client = [sys.executable, "-m", "bench.clients.websockets", f"{2 * seconds}", *ports]
        http, tcp = run(client, 2 * seconds + patience).split()
    return Chats(float(http), float(tcp))


@contextmanager
def echoes(folder: Path, patience: float) -> Iterator[tuple[int, ...]]:
    """Run the server behind all, and give the ports that it listens on."""
    port = free_port()
    with Child([sys.executable, "-m", "bench.echo", f"{port}"], folder / "echo.log", TREE) as child:
        child.wait_for("ready", patience)
        yield (port,)

"""Workers that are killed, and how long their clients wait for those that replace them."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from statistics import median

from bench.errors import Failed
from bench.usage import memory_alone
from bench.web import HOST

KILLS = 7

APART = 2.0
"""Seconds from one to the next: a worker that ends soon after its start is not replaced at once."""

SOURCES = 8
"""Addresses of clients, by which they are spread over the workers."""

MIB = 1 << 20

_PATIENCE = 20.0
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


def kill_often(supervisor: int, port: int) -> float:
    """Kill one worker after the other, and give the milliseconds until clients of all are served again.

    :param supervisor: the process id of their supervisor.
    :param port: where they listen.
    :returns: the median.
    :raises Failed: there is no worker, or a client gets no answer.
    """
    taken = []
    for number in range(KILLS):
        time.sleep(APART)
        workers = workers_of(supervisor)
        began = time.monotonic()
        os.kill(workers[number % len(workers)], signal.SIGKILL)
        _serve_all(port)
        taken.append((time.monotonic() - began) * 1e3)
    return median(taken)


def weigh(supervisor: int, port: int) -> tuple[float, float]:
    """Give what a worker that has served a few clients takes, in MiB: resident, and not shared with others.

    :returns: of the worker that has most.
    :raises Failed: see ``kill_often``.
    """
    _serve_all(port)
    resident, own = zip(*map(memory_alone, workers_of(supervisor)), strict=True)
    return max(resident) / MIB, max(own) / MIB


def workers_of(supervisor: int) -> list[int]:
    """Give the process ids of the workers: all children but the oldest, which forks them."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    workers = sorted(map(int, children), key=_start)[1:]
    if not workers:
        raise Failed("there is no worker")
    return workers


def _start(pid: int) -> int:
    """Give when a process began, in ticks since the machine did: proc_pid_stat(5)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def _serve_all(port: int) -> None:
    clients = [
        socket.create_connection((HOST, port), _PATIENCE, (f"127.0.1.{number}", 0))
        for number in range(1, SOURCES + 1)
    ]
    try:
        for client in clients:
            client.sendall(_REQUEST)
        for client in clients:
            if not client.recv(1):
                raise Failed("a client was not served")
    except OSError as error:
        raise Failed(f"a client was not served: {error}") from error
    finally:
        for client in clients:
            client.close()

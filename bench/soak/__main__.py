"""Run streams through the balancer while faults are made, and look at every byte: `make soak`."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Coroutine, Sequence
from pathlib import Path
from random import Random
from typing import Any

from attrs import frozen

from bench.errors import Failed
from bench.soak.balancer import LIMIT, Balancer
from bench.soak.crowd import CROWD, MAX_CONNECTIONS, Crowd
from bench.soak.faults import Faults
from bench.soak.peers import Backend, Client, Holder, echo
from bench.soak.verdict import Account

BACKENDS = 4

SHOWN = 20
"""Mistakes that are printed at most."""


SETTLES_WITHIN = 30.0
"""Seconds after the last fault within which all is as it was."""


@frozen
class Options:
    """What is to be done.

    :param seconds: for which faults are made.
    :param seed: of all that is drawn; the times at which processes come to it are not.
    :param workers: of the balancer.
    :param clients: that come at the same time.
    """

    seconds: float
    seed: int
    workers: int
    clients: int


def read_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; a mistake in it ends the process."""
    parser = ArgumentParser(
        "soak", description="Make faults at random while streams run, and look at every byte."
    )
    add = parser.add_argument
    add("--seconds", type=float, default=600.0, help="for which faults are made (default 600)")
    add("--seed", type=int, default=None, help="of what is drawn (default: another one each time)")
    add("--workers", type=int, default=3, help="of the balancer (default 3)")
    add("--clients", type=int, default=30, help="that come at the same time (default 30)")
    given = parser.parse_args(arguments)
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    return Options(given.seconds, seed, given.workers, given.clients)


async def soak(options: Options, folder: Path) -> list[str]:
    """Make faults, and report.

    :param folder: for the files of the balancer.
    :returns: what must not be.
    :raises Failed: the balancer cannot be tried.
    """
    account = Account()
    backends = [Backend(number, account) for number in range(BACKENDS)]
    for backend in backends:
        await backend.start()
    echoing = await asyncio.start_server(echo, "127.0.0.1", 0)
    crowd = Crowd(options.workers, account)
    crowded = await asyncio.start_server(crowd.serve, "127.0.0.1", 0)
    echo_port, crowd_port = (it.sockets[0].getsockname()[1] for it in (echoing, crowded))
    ports = [backend.port for backend in backends]
    with Balancer(folder, options.workers, ports, echo=echo_port, crowd=crowd_port) as balancer:
        holder = Holder(await balancer.port("held"), LIMIT)
        faults = Faults(balancer, backends, account, Random(options.seed))
        port, busy = await balancer.port("streams"), await balancer.port("crowd")
        clients = [
            Client(port, options.workers, account, Random(options.seed + number))
            for number in range(1, options.clients + 1)
        ]
        over = asyncio.Event()
        running = [asyncio.ensure_future(client.come(over)) for client in clients]
        running.append(asyncio.ensure_future(holder.come(over, Random(options.seed))))
        crowding = [
            asyncio.ensure_future(crowd.come(busy, over, Random(options.seed + number)))
            for number in range(CROWD)
        ]
        faulty = asyncio.Event()
        running.append(asyncio.ensure_future(faults.run(faulty)))
        running += crowding
        await _wait(options.seconds, running, account)
        faulty.set()
        mistakes = await _look_at_crowd(crowd)
        over.set()
        await asyncio.gather(*running)
        mistakes += [*account.mistakes(), *holder.mistakes]
        mistakes += await _settle(balancer, clients[0], holder, options.workers)
    for backend in backends:
        await backend.stop()
    echoing.close()
    crowded.close()
    _report(account, holder, faults)
    return mistakes


async def _wait(seconds: float, running: Sequence[asyncio.Future[None]], account: Account) -> None:
    """Let it run; end early where something has failed or is wrong."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        done, _ = await asyncio.wait(running, timeout=min(1.0, left), return_when=asyncio.FIRST_COMPLETED)
        for one in done:
            one.result()
        if account.strange:
            return


async def _look_at_crowd(crowd: Crowd) -> list[str]:
    """Look whether a backend with a limit comes to have as many connections as it may."""
    crowd.highest = 0
    deadline = time.monotonic() + SETTLES_WITHIN
    while crowd.highest < MAX_CONNECTIONS and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    if crowd.highest < MAX_CONNECTIONS:
        return [f"a backend that may have {MAX_CONNECTIONS} connections comes to {crowd.highest}"]
    return []


async def _settle(balancer: Balancer, client: Client, holder: Holder, workers: int) -> list[str]:
    """Look whether all is as it was when the faults are over."""
    mistakes: list[str] = []
    served: set[int] = set()
    deadline = time.monotonic() + SETTLES_WITHIN
    while len(served) < workers and time.monotonic() < deadline:
        session = await client.session()
        if session.is_whole:
            served.add(session.place)
    if len(served) < workers:
        mistakes.append(f"only the workers {sorted(served)} serve when the faults are over")
    full = holder.full
    while holder.full == full and time.monotonic() < deadline:
        await holder.try_more(1)
    if holder.full == full:
        mistakes.append(f"a client with a limit of {LIMIT} does not come to so many connections any more")
    holder.close()
    return mistakes + await _end(balancer)


async def _end(balancer: Balancer) -> list[str]:
    """Have the balancer end, and look what it leaves."""
    mistakes: list[str] = []
    children = balancer.children
    status = await balancer.end()
    if status:
        mistakes.append(f"the balancer has ended with status {status}")
    left = [pid for pid in children if Path(f"/proc/{pid}").exists()]
    if left:
        mistakes.append(f"processes are left: {left}")
    log = balancer.log
    if "Traceback" in log:
        mistakes.append(f"an exception is in the log: {log[log.index('Traceback') :][:2000]}")
    return mistakes


def _report(account: Account, holder: Holder, faults: Faults) -> None:
    print("faults:", ", ".join(f"{what}: {count}" for what, count in sorted(faults.made.items())))
    counts = account.counts()
    print(
        f"sessions: {counts.total()}:", ", ".join(f"{what}: {count}" for what, count in counts.most_common())
    )
    received = sum(it.client_side.received + it.backend_side.received for it in account.sessions.values())
    print(f"bytes received and compared: {received:,}")
    print(f"a client with a limit of {LIMIT}: tried {holder.tries} times, had so many {holder.full} times")


async def _quietly(soaking: Coroutine[Any, Any, list[str]]) -> list[str]:
    """Where it fails, leave out what becomes of all connections by that."""
    try:
        return await soaking
    except Failed:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and give the exit status."""
    options = read_options(arguments)
    print(f"seed {options.seed}, {options.seconds:g} s, {options.workers} workers", flush=True)
    with tempfile.TemporaryDirectory(prefix="tcpbalance-soak-") as folder:
        try:
            mistakes = asyncio.run(_quietly(soak(options, Path(folder))))
        except Failed as error:
            mistakes = [str(error)]
        if mistakes:
            kept = shutil.copytree(
                folder, tempfile.mkdtemp(prefix="tcpbalance-soak-failed-"), dirs_exist_ok=True
            )
            print(f"files and logs of the balancer: {kept}")
    for mistake in mistakes[:SHOWN]:
        print(f"MISTAKE: {mistake}")
    print(f"{len(mistakes)} mistakes; again with --seed {options.seed}" if mistakes else "no mistakes")
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main())

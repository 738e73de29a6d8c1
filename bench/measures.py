"""What is measured: each measure puts one contestant under one kind of load and gives its figures."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import frozen

from bench import offer, wrk
from bench.arena import Arena, Running
from bench.certificates import ECDSA, RSA
from bench.clients.flooder import IDLE
from bench.contestants import PROXIES
from bench.errors import Failed
from bench.flood import unleash
from bench.flooded_lists import list_during_floods
from bench.process import TREE, Child, run
from bench.reloads import reload_often
from bench.replacements import kill_often, weigh
from bench.scrapes import scrape_often
from bench.session_lists import list_often
from bench.websockets import chat_through
from bench.wrk import Load

IDLE_FEW, IDLE_MANY = 200, 4000
"""Connections that are open before memory is looked at, for what is made once; and those opened then."""

CONNECTIONS_EACH, REQUESTS_EACH = 400, 1500
"""A second, that each worker gets: so many that clients and backends have time for on the same CPUs."""

PLAIN = "plain"
"""The arena where everyone passes on what comes; others are called after their certificates."""

HTTP = "http"
"""The arena where everyone serves requests."""

_PATIENCE = 120.0
"""How long a client of ours may take, in seconds."""


@frozen
class Turn:
    """One contestant's turn.

    :param arena: where it runs.
    :param contestant: its key.
    :param seconds: how long wrk runs.
    """

    arena: Arena
    contestant: str
    seconds: int

    @property
    def running(self) -> Running:
        """The contestant."""
        return self.arena.running[self.contestant]

    @property
    def environment(self) -> dict[str, str] | None:
        """What clients need to speak TLS; None where it is not spoken."""
        return offer.environment(self.arena.folder) if self.arena.tls else None

    def client(self, name: str, *arguments: int) -> list[str]:
        """Give the command of a client of ours."""
        words = [f"{argument}" for argument in arguments]
        return [sys.executable, "-m", f"bench.clients.{name}", *words, *(["tls"] if self.arena.tls else [])]


Figures = dict[str, float]


@frozen
class Measure:
    """One kind of load.

    :param take: puts one contestant under it, and gives the figures.
    :param arena: the name of where it is taken: `PLAIN`, or the kind of the certificate that is needed.
    :param of_proxy: whether it exists only where there is a proxy.
    :param contestants: who has what is measured; None for all.
    """

    take: Callable[[Turn], Figures]
    arena: str = PLAIN
    of_proxy: bool = False
    contestants: tuple[str, ...] | None = None


def connections(turn: Turn) -> Figures:
    """Measure requests that have a connection each."""
    return _under_wrk("connections", turn, close=True)


def requests(turn: Turn) -> Figures:
    """Measure requests on connections that stay open."""
    return _under_wrk("requests", turn, close=False)


def tls_requests(turn: Turn) -> Figures:
    """Measure the same over TLS."""
    return _under_wrk("tls_requests", turn, close=False)


def http_requests(turn: Turn) -> Figures:
    """Measure small requests that are routed, balanced, counted and logged one by one."""
    return _under_wrk("http_requests", turn, close=False)


def http_browser(turn: Turn) -> Figures:
    """Measure the same with the fields that a browser sends."""
    return _under_wrk("http_browser", turn, close=False, fields=wrk.BROWSER)


def _under_wrk(name: str, turn: Turn, *, close: bool, fields: Iterable[str] = ()) -> Figures:
    cpu = turn.running.cpu()
    port, environment = turn.running.port, turn.environment
    load = wrk.load(port, turn.seconds, close=close, fields=fields, environment=environment)
    return _of_load(name, load, turn.running.cpu() - cpu)


def handshakes_ecdsa(turn: Turn) -> Figures:
    """Measure connections that begin with a full handshake of TLS, with a certificate on P-256."""
    return _handshakes("handshakes_ecdsa", turn)


def handshakes_rsa(turn: Turn) -> Figures:
    """Measure the same with one of RSA."""
    return _handshakes("handshakes_rsa", turn)


def _handshakes(name: str, turn: Turn) -> Figures:
    cpu = turn.running.cpu()
    # wrk would not do: it takes up its earlier sessions again.
    client = [sys.executable, "-m", "bench.clients.handshakes", f"{turn.running.port}", f"{turn.seconds}"]
    count, seconds, p50, p99 = run(client, turn.seconds + _PATIENCE).split()
    load = Load(int(count), int(count) / float(seconds), float(p50), float(p99))
    return _of_load(name, load, turn.running.cpu() - cpu)


def _of_load(name: str, load: Load, cpu: int) -> Figures:
    return {
        f"{name}_rate": load.rate,
        f"{name}_p50": load.p50,
        f"{name}_p99": load.p99,
        f"{name}_cpu": cpu / 1e3 / load.requests,
    }


def download(turn: Turn) -> Figures:
    """Measure a download of a GiB."""
    return _downloads("download", turn, 1)


def downloads(turn: Turn) -> Figures:
    """Measure four of them at once."""
    return _downloads("downloads", turn, 4)


def http_download(turn: Turn) -> Figures:
    """Measure a download of a GiB as the body of an answer."""
    return _downloads("http_download", turn, 1)


def http_upload(turn: Turn) -> Figures:
    """Measure an upload of a GiB as the body of a request."""
    cpu = turn.running.cpu()
    size, seconds = run(turn.client("upload", turn.running.port), _PATIENCE).split()
    milliseconds = (turn.running.cpu() - cpu) / 1e6
    return {"http_upload_rate": _gigabits(size, seconds), "http_upload_cpu": milliseconds}


def tls_download(turn: Turn) -> Figures:
    """Measure a download of a GiB over TLS."""
    return _downloads("tls_download", turn, 1)


def _downloads(name: str, turn: Turn, count: int) -> Figures:
    cpu = turn.running.cpu()
    client = turn.client("download", turn.running.port, count)
    size, seconds = run(client, _PATIENCE, turn.environment).split()
    milliseconds = (turn.running.cpu() - cpu) / 1e6
    return {f"{name}_rate": _gigabits(size, seconds), f"{name}_cpu": milliseconds / count}


def idle(turn: Turn) -> Figures:
    """Measure what thousands of quiet connections keep in memory."""
    return {"idle_memory": _idle(turn)}


def tls_idle(turn: Turn) -> Figures:
    """Measure the same where each has made its handshake."""
    return {"tls_idle_memory": _idle(turn)}


def _idle(turn: Turn) -> float:
    """Give the memory that each connection keeps, in bytes.

    The process is a new one each time, because memory that was given back by earlier connections would be
    taken again without being seen.
    """
    with turn.arena.fresh(PROXIES[turn.contestant]) as running:
        client = turn.client("idle", running.port, IDLE_FEW, IDLE_MANY)
        with Child(client, turn.arena.folder / "idle.log", TREE, turn.environment) as child:
            child.wait_for("few", _PATIENCE)
            memory = running.memory()
            child.tell("go on")
            child.wait_for("many", _PATIENCE)
            return (running.memory() - memory) / IDLE_MANY


def beside(turn: Turn) -> Figures:
    """Measure requests on open connections, first alone and then with a bulk download beside them."""
    return _beside("beside", turn)


def http_beside(turn: Turn) -> Figures:
    """Measure the same where requests are served, and the download is the body of an answer."""
    return _beside("http_beside", turn)


def http_websocket(turn: Turn) -> Figures:
    """Measure messages of WebSockets, and how many more they are than where connections are served."""
    folder = Path(tempfile.mkdtemp(dir=turn.arena.folder))
    found = chat_through(PROXIES[turn.contestant], folder, turn.seconds, _PATIENCE)
    return {"http_websocket_rate": found.http, "http_websocket_ratio": found.http / found.tcp}


def _beside(name: str, turn: Turn) -> Figures:
    port = turn.running.port
    alone = wrk.load(port, turn.seconds)
    with Child(turn.client("bulk", port), turn.arena.folder / "bulk.log", TREE) as child:
        child.wait_for("flowing", _PATIENCE)
        child.tell("count")
        crowded = wrk.load(port, turn.seconds)
        child.tell("enough")
        size, seconds = child.wait_for("counted", _PATIENCE)
    return {
        f"{name}_p99": crowded.p99,
        f"{name}_ratio": crowded.p99 / alone.p99,
        f"{name}_rate": crowded.rate,
        f"{name}_bulk": _gigabits(size, seconds),
    }


def flood(turn: Turn) -> Figures:
    """Measure how long visitors wait before, and during, a flood from one address that is admitted up to its
    limits."""
    # A new process each time: what is grown once in the first flood would not be seen in others.
    with turn.arena.fresh(PROXIES[turn.contestant], limits=True) as running:
        found = unleash(running.port, turn.arena.folder, _PATIENCE)
    if found.stayed != IDLE:
        raise Failed(f"{found.stayed} of {IDLE} connections of the flood stayed")
    return {"flood_p99": found.flooded, "flood_ratio": found.flooded / found.calm}


def reloads(turn: Turn) -> Figures:
    """Measure reloads of a large configuration, and how long visitors wait before them and during them."""
    folder = Path(tempfile.mkdtemp(dir=turn.arena.folder))
    found = reload_often(folder, turn.arena.backends, _PATIENCE)
    return {
        "reload_time": found.taken,
        "reload_ratio": found.reloading / found.calm,
        "reload_longest": found.longest,
    }


def sessions(turn: Turn) -> Figures:
    """Measure how long the admin side takes to list thousands of live sessions, and how long visitors wait
    meanwhile; of one process, and of two workers."""
    figures: Figures = {}
    for count, name in ((1, "sessions"), (2, "workers_sessions")):
        folder = Path(tempfile.mkdtemp(dir=turn.arena.folder))
        found = list_often(folder, turn.arena.backends, count, _PATIENCE)
        figures |= {f"{name}_time": found.taken, f"{name}_ratio": found.ratio}
    return figures


def flooded_lists(turn: Turn) -> Figures:
    """Measure how long the admin side takes for a page of ten thousand live sessions during a flood, and how
    long visitors wait meanwhile."""
    folder = Path(tempfile.mkdtemp(dir=turn.arena.folder))
    found = list_during_floods(folder, turn.arena.backends, _PATIENCE)
    return {
        "flooded_lists_time": found.taken,
        "flooded_lists_longest": found.longest,
        "flooded_lists_refused": found.refused,
        "flooded_lists_p99": found.p99,
        "flooded_lists_ratio": found.ratio,
    }


def scrapes(turn: Turn) -> Figures:
    """Measure what an answer of `/metrics` with a thousand backends takes of one process, and of a supervisor
    and its workers."""
    one, two = (
        scrape_often(Path(tempfile.mkdtemp(dir=turn.arena.folder)), workers, _PATIENCE) for workers in (1, 2)
    )
    return {"scrape_cpu": one.serving, "supervisor_scrape_cpu": two.serving, "worker_scrape_cpu": two.worker}


def slots(_: Turn) -> Figures:
    """Measure what a slot of a shared maximum costs, taken and given back."""
    return {"slot_cost": float(run([sys.executable, "-m", "bench.slots"], _PATIENCE))}


def counting(_: Turn) -> Figures:
    """Measure what the statements that count a connection take."""
    return {"counting_cost": float(run([sys.executable, "-m", "bench.counting"], _PATIENCE))}


def workers(turn: Turn) -> Figures:
    """Measure what a connection and a request cost two workers, and how much more that is than what they cost
    one where each has as many of them.

    The clients have many addresses, by which they are spread.
    """
    one, two = (_steady(turn, count) for count in (1, 2))
    return {
        "workers_connection_cpu": two[0],
        "workers_connection_ratio": two[0] / one[0],
        "workers_request_cpu": two[1],
        "workers_request_ratio": two[1] / one[1],
    }


def _steady(turn: Turn, count: int) -> tuple[float, float]:
    """Give the processor time of a connection and of a request, in microseconds.

    :param count: of workers.
    """
    with turn.arena.fresh(PROXIES[turn.contestant], workers=count) as running:
        costs = []
        for kind, rate in (("connections", CONNECTIONS_EACH), ("requests", REQUESTS_EACH)):
            client = [sys.executable, "-m", "bench.clients.steady", kind, f"{running.port}"]
            run([*client, f"{rate * count}", "1"], _PATIENCE)  # What is made once is made now.
            cpu = running.cpu()
            done = run([*client, f"{rate * count}", f"{turn.seconds}"], _PATIENCE)
            costs.append((running.cpu() - cpu) / 1e3 / int(done))
        return costs[0], costs[1]


def replacements(turn: Turn) -> Figures:
    """Measure what a worker takes, and how long clients of one that is killed wait for the next."""
    with turn.arena.fresh(PROXIES[turn.contestant], workers=2) as running:
        assert running.pid is not None
        resident, own = weigh(running.pid, running.port)
        return {
            "worker_memory": resident,
            "worker_own_memory": own,
            "replacement_time": kill_often(running.pid, running.port),
        }


def admission(_: Turn) -> Figures:
    """Measure how long admission control with all its rules takes to let a connection in, and out again."""
    known, new = run([sys.executable, "-m", "bench.admission"], _PATIENCE).split()
    return {"admission_known": float(known), "admission_new": float(new)}


def _gigabits(size: str, seconds: str) -> float:
    return int(size) * 8 / 1e9 / float(seconds)


MEASURES: dict[str, Measure] = {
    "connections": Measure(connections),
    "requests": Measure(requests),
    "download": Measure(download),
    "downloads": Measure(downloads),
    "idle": Measure(idle, of_proxy=True),
    "beside": Measure(beside),
    "flood": Measure(flood, contestants=("tcpbalance", "portable", "haproxy")),
    "workers": Measure(workers, contestants=("tcpbalance", "haproxy", "nginx")),
    "replacements": Measure(replacements, contestants=("tcpbalance",)),
    "admission": Measure(admission, contestants=("tcpbalance",)),
    "reloads": Measure(reloads, contestants=("tcpbalance",)),
    "sessions": Measure(sessions, contestants=("tcpbalance",)),
    "flooded_lists": Measure(flooded_lists, contestants=("tcpbalance",)),
    "scrapes": Measure(scrapes, contestants=("tcpbalance",)),
    "counting": Measure(counting, contestants=("tcpbalance",)),
    "slots": Measure(slots, contestants=("tcpbalance",)),
    "handshakes_ecdsa": Measure(handshakes_ecdsa, ECDSA),
    "handshakes_rsa": Measure(handshakes_rsa, RSA),
    "tls_requests": Measure(tls_requests, ECDSA),
    "tls_download": Measure(tls_download, ECDSA),
    "tls_idle": Measure(tls_idle, ECDSA),
    "http_requests": Measure(http_requests, HTTP),
    "http_browser": Measure(http_browser, HTTP),
    "http_download": Measure(http_download, HTTP),
    "http_upload": Measure(http_upload, HTTP),
    "http_beside": Measure(http_beside, HTTP),
    "http_websocket": Measure(http_websocket, HTTP, contestants=("tcpbalance",)),
}


def arenas_of(measures: Iterable[str]) -> list[str]:
    """Give the names of the arenas that these measures need, each once."""
    return list(dict.fromkeys(MEASURES[name].arena for name in measures))

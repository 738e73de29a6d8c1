"""A frontend of mode "http", its pool and backends in the memory network, ready for a script."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from support.memory_dial import Behaviour, MemoryBackend
from support.network import MemoryDataPathName, Network, no_logged_failure
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.frontends import TimeoutsConfig
from tcpbalance.config.http import PoolHttpConfig
from tcpbalance.config.routes import HttpRouteConfig
from tcpbalance.http.factory import HttpFrontendFactory
from tcpbalance.http.record import RequestRecord
from tcpbalance.http.routes import Route, Routes
from tcpbalance.http.settings import HttpSettings
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.record import SessionRecord
from tcpbalance.stats import add_up
from tcpbalance.threads import InThread

ONE, TWO, THREE = (f"10.0.0.{number}:80" for number in (1, 2, 3))
"""Addresses for backends; round robin tries them in this order."""

GET = b"GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

MakeRoutes = Callable[[Pool], Sequence[tuple[HttpRouteConfig, Route]]]


def only_for(**conditions: Any) -> HttpRouteConfig:
    """Give what a route is made of, as far as it says which requests take it."""
    return HttpRouteConfig(**{"answer": {"status": 200}, **conditions})


class HttpScene:
    """One frontend before one pool, on the portable data path.

    :param backends: addresses with what a dial there meets; or addresses alone, which accept.
    :param http: keys of ``[frontends.NAME.http]``, and other settings.
    :param pool_http: keys of ``[pools.NAME.http]``.
    :param timeouts: of the frontend.
    :param limits: of the frontend.
    :param routes: makes routes, of the pool.
    :param has_default: whether the pool serves what no route takes.
    :param members: the pool's backends where they need more than an address.
    :param network: arguments of ``Network``.
    :param preread: what clients have to send first.
    :param admission: makes what admits clients, of a clock.
    :param in_thread: calls what works for long.
    :param pool: further arguments of ``Pool``.
    """

    data_path: ClassVar[MemoryDataPathName] = "portable"

    def __init__(
        self,
        backends: Mapping[str, Behaviour] | Sequence[str] = (ONE,),
        *,
        http: Mapping[str, Any] | None = None,
        pool_http: Mapping[str, Any] | None = None,
        timeouts: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
        routes: MakeRoutes | None = None,
        has_default: bool = True,
        body_size: int | None = None,
        members: Sequence[Backend] | None = None,
        network: Mapping[str, Any] | None = None,
        preread: PrereadSettings | None = None,
        admission: Callable[[Callable[[], float]], AdmissionControl] | None = None,
        in_thread: InThread | None = None,
        **pool: Any,
    ) -> None:
        self.network = Network(data_path=self.data_path, **(network or {}))
        self.records: list[SessionRecord] = []
        self.clients: list[Any] = []
        outcomes = backends if isinstance(backends, Mapping) else dict.fromkeys(backends, "accepts")
        self.backends: dict[str, MemoryBackend] = {
            address: self.network.backend(address, outcome)  # type: ignore[arg-type]
            for address, outcome in outcomes.items()
        }
        seconds = self.network.clock.seconds
        self.pool = Pool(
            "pool",
            members or [Backend(address) for address in self.backends],
            clock=seconds,
            rng=random.Random(1),
            http=PoolHttpConfig(**(pool_http or {})),
            **{"balance": RoundRobin, **pool},
        )
        self.admission = admission(seconds) if admission else None
        otherwise = Route(pool=self.pool, body_size=body_size) if has_default else None
        made = [] if routes is None else routes(self.pool)
        self.frontend = HttpFrontendFactory(
            self.network.reactor,
            self.pool if has_default else None,
            http=HttpSettings(**(http or {})),
            routes=Routes(made, otherwise),
            name="frontend",
            preread=preread,
            admission=self.admission,
            timeouts=TimeoutsConfig(**(timeouts or {})),
            limits=LimitsConfig(**(limits or {})),
            on_record=self.records.append,
            connector=self.network.connector,
            in_thread=in_thread,
            clock=seconds,
            wall_clock=seconds,
        )

    def connect(self, data: bytes = b"", **how: Any) -> Any:
        """A client comes, and sends *data* at once; see ``Network.connect_client``."""
        client = self.network.connect_client(self.frontend, early=data, **how)
        self.clients.append(client)
        self.run()
        return client

    def send(self, peer: Any, data: bytes) -> None:
        """A client or a backend sends, and all happens that follows from it."""
        peer.send(data)
        self.run()

    @property
    def connections(self) -> list[Any]:
        """Those that the backends have accepted, the oldest first of each."""
        return [peer for backend in self.backends.values() for peer in backend.connections]

    @property
    def connection(self) -> Any:
        """The one connection that the backends have accepted."""
        (only,) = self.connections
        return only

    def run(self) -> None:
        """See ``Network.run``."""
        self.network.run()

    def advance(self, seconds: float) -> None:
        """See ``Network.advance``."""
        self.network.advance(seconds)

    @property
    def requests(self) -> list[RequestRecord]:
        """The records of requests."""
        return [record for record in self.records if isinstance(record, RequestRecord)]

    @property
    def request(self) -> RequestRecord:
        """The record of the one request that has ended."""
        (only,) = self.requests
        return only

    @property
    def ends(self) -> list[str]:
        """The words for why the requests have ended, with the status that the client got."""
        return [f"{record.reason.word} {record.status}" for record in self.requests]

    @property
    def active(self) -> list[int]:
        """The requests that each backend of the pool is thought to have."""
        return [backend.active for backend in self.pool.backends]

    @property
    def kept(self) -> int:
        """Bytes kept now, by transports and for backends that are not there yet."""
        kept: int = sum(transport.kept for transport in self.network.transports if transport.is_open)
        for session in self.frontend.registry.sessions:
            exchange: Any = session._exchange  # type: ignore[attr-defined]
            kept += len(session._waiting)  # type: ignore[attr-defined]
            if exchange is not None and exchange.upload is not None:
                kept += exchange.upload.kept_size
        return kept

    def leave(self) -> None:
        """Everybody outside goes away, and all that is bounded by time comes to its end."""
        for client in self.clients:
            client.reset()
        for connection in self.connections:
            connection.reset()
        self.run()
        timeouts = self.frontend.context.timeouts
        self.advance(2 * timeouts.half_close_timeout + self.pool.http.idle + 20)

    def leftovers(self) -> list[str]:
        """What was not given back."""
        return [
            *self.network.leftovers(),
            *(f"session: {session}" for session in self.frontend.registry.sessions),
            *(
                f"slots: {backend.name}: {backend.active}"
                for pool in self.frontend.context.pools
                for backend in pool.backends
                if backend.active
            ),
            *self.disagreeing_counts(),
        ]

    def disagreeing_counts(self) -> list[str]:
        """Counters that differ from what records say."""
        frontend = self.frontend.stats.snapshot()
        pool = add_up(pool.snapshot() for pool in self.frontend.context.pools)
        requests = self.requests
        reasons = Counter(f"requests_ended.{record.reason.word}" for record in requests)
        expected = {
            "connections_total": len(self.clients),
            "connections_active": 0,
            "requests_total": len(requests),
            "bytes_in": sum(record.client_bytes for record in self.records),
            "bytes_out": sum(record.backend_bytes for record in self.records),
            **reasons,
            **Counter(f"responses.{record.status // 100}xx" for record in requests if record.status),
        }
        served = [record for record in requests if record.backend is not None]
        upstream = {
            "connections_active": 0,
            "reused_connections": sum(record.reused for record in served),
        }
        return [
            *(
                f"frontend: {name} is {frontend.get(name, 0)} and not {count}"
                for name, count in expected.items()
                if frontend.get(name, 0) != count
            ),
            *(
                f"pool: {name} is {pool.get(name, 0)} and not {count}"
                for name, count in upstream.items()
                if pool.get(name, 0) < count
            ),
        ]


class CopyingHttpScene(HttpScene):
    """The same on the native data path, where there are no pipes to be had."""

    data_path = "copying"


class SplicingHttpScene(HttpScene):
    """The same on the native data path, with pipes."""

    data_path = "splicing"


HTTP_SCENES: list[type[HttpScene]] = [HttpScene, CopyingHttpScene, SplicingHttpScene]
"""Each way to carry the bytes; every script has to come out the same on all of them."""


@contextmanager
def http_scenes(kind: type[HttpScene]) -> Iterator[Callable[..., HttpScene]]:
    """Make scenes; afterwards, everything must have been given back and nothing logged as a failure."""
    scenes: list[HttpScene] = []

    def make(*args: Any, **kw: Any) -> HttpScene:
        scenes.append(kind(*args, **kw))
        return scenes[-1]

    with no_logged_failure():
        yield make
        for scene in scenes:
            scene.leave()
    for scene in scenes:
        assert scene.leftovers() == []

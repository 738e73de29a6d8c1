"""A frontend, its pool and backends in the memory network, ready for a script."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from support.memory_dial import Behaviour, MemoryBackend
from support.network import MemoryDataPathName, Network
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.config.admission import LimitsConfig
from tcpbalance.config.converter import key_names
from tcpbalance.config.frontends import TimeoutsConfig
from tcpbalance.net.tls_attempt import TLS_CAUSE
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.policies.round_robin import RoundRobin
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.proxy.record import SessionRecord

ONE, TWO, THREE, FOUR = (f"10.0.0.{number}:80" for number in (1, 2, 3, 4))
"""Addresses for backends; round robin tries them in this order."""

RETRY_ON_RESET: dict[str, Any] = {"retry_on": ("connect_failed", "reset_before_answer")}
"""Argument of a pool that tries another backend when one breaks off before its first byte."""

FAILURES = "tls_handshake_failures"
"""The counter of them, by their cause."""

HALF_CLOSE_TIMEOUT = 30.0
"""Seconds; the default of ``TimeoutsConfig``."""


class Scene:
    """One frontend before one pool, on the portable data path.

    :param backends: addresses with what a dial there meets; or addresses alone, which accept.
    :param settings: timeouts and limits, by their keys in a configuration.
    :param members: the pool's backends where they need more than an address.
    :param tls_backends: whether the backends speak (null) TLS.
    :param network: arguments of ``Network``: where it takes place.
    :param entrance: makes what clients have to say first, of the pool.
    :param gate: makes the gate, of a clock.
    :param program: makes each client; see ``Network.connect_client``.
    :param has_default: whether the pool serves the frontend, or only whom a route leads to it.
    :param pool: further arguments of ``Pool``.
    """

    data_path: ClassVar[MemoryDataPathName] = "portable"

    begins_bare: ClassVar[bool] = False
    """Whether sessions begin bare, and leave in the kernel what cannot be passed on yet."""

    def __init__(
        self,
        backends: Mapping[str, Behaviour] | Sequence[str] = (ONE,),
        *,
        settings: Mapping[str, Any] | None = None,
        members: Sequence[Backend] | None = None,
        tls_backends: bool = False,
        network: Mapping[str, Any] | None = None,
        preread: Callable[[Pool], PrereadSettings] | None = None,
        admission: Callable[[Callable[[], float]], AdmissionControl] | None = None,
        has_default: bool = True,
        program: Callable[[Any], Any] | None = None,
        **pool: Any,
    ) -> None:
        self.network = Network(data_path=self.data_path, **(network or {}))
        self._how = {} if program is None else {"program": program}
        self.records: list[SessionRecord] = []
        self.clients: list[Any] = []
        outcomes = backends if isinstance(backends, Mapping) else dict.fromkeys(backends, "accepts")
        self.backends: dict[str, MemoryBackend] = {
            address: self.network.backend(address, outcome, tls=tls_backends)  # type: ignore[arg-type]
            for address, outcome in outcomes.items()
        }
        seconds = self.network.clock.seconds
        self.pool = Pool(
            "pool",
            members or [Backend(address) for address in self.backends],
            clock=seconds,
            rng=random.Random(1),
            **{"balance": RoundRobin, **pool},
        )
        self.admission = admission(seconds) if admission else None
        self.refused: list[Any] = []
        given = settings or {}
        timeouts = {key: value for key, value in given.items() if key in key_names(TimeoutsConfig)}
        limits = {key: value for key, value in given.items() if key not in timeouts}
        self.frontend = FrontendFactory(
            self.network.reactor,
            self.pool if has_default else None,
            name="frontend",
            preread=preread(self.pool) if preread else None,
            admission=self.admission,
            timeouts=TimeoutsConfig(**timeouts),
            limits=LimitsConfig(**limits),
            on_record=self.records.append,
            connector=self.network.connector,
            clock=seconds,
            wall_clock=seconds,
        )

    def connect(self, **how: Any) -> Any:
        """A client comes; see ``Network.connect_client``."""
        client = self.network.connect_client(self.frontend, **{**self._how, **how})
        self.clients.append(client)
        return client

    def turned_away(self, **how: Any) -> Any:
        """A client comes, and gets neither a session nor a record."""
        sessions = len(self.frontend.registry.sessions)
        client = self.network.connect_client(self.frontend, **how)
        self.refused.append(client)
        assert len(self.frontend.registry.sessions) == sessions
        return client

    def joined(self, **how: Any) -> tuple[Any, Any]:
        """A client and the backend that it reached, at the one backend there is."""
        client = self.connect(**how)
        self.network.run()
        (backend,) = self.backends.values()
        return client, backend.connections[-1]

    def run(self) -> None:
        """See ``Network.run``."""
        self.network.run()

    def advance(self, seconds: float) -> None:
        """See ``Network.advance``."""
        self.network.advance(seconds)

    @property
    def record(self) -> SessionRecord:
        """The record of the one session that has ended."""
        (only,) = self.records
        return only

    @property
    def ended(self) -> str:
        """The word for why the one session ended."""
        return self.record.reason.word

    @property
    def decided(self) -> bool:
        """Whether no session is left whose end has not been decided yet."""
        return all(session.ending for session in self.frontend.registry.sessions)

    @property
    def active(self) -> list[int]:
        """The connections that each backend of the pool is thought to have."""
        return [backend.active for backend in self.pool.backends]

    @property
    def inside(self) -> int:
        """Clients of whom the gate thinks that they have a connection."""
        return 0 if self.admission is None else len(self.admission.clients) - self.admission.clients.idle

    @property
    def kept(self) -> int:
        """Bytes kept now for all sessions: by transports, and for backends that are not there yet."""
        kept: int = sum(transport.kept for transport in self.network.transports if transport.is_open)
        return kept + self._early

    @property
    def _early(self) -> int:
        return sum(_early_bytes(session) for session in self.frontend.registry.sessions)

    def leave(self) -> None:
        """Everybody outside goes away, and all that is bounded by time comes to its end."""
        for client in (*self.clients, *self.refused):
            client.reset()
        for backend in self.backends.values():
            for connection in backend.connections:
                connection.reset()
        self.run()
        timeouts = self.frontend.context.timeouts
        self.advance(timeouts.idle_timeout + 2 * timeouts.half_close_timeout + 10)

    def leftovers(self) -> list[str]:
        """What was not given back: see ``Network.leftovers``; sessions, slots, records."""
        return [
            *self.network.leftovers(),
            *(f"session: {session}" for session in self.frontend.registry.sessions),
            *(f"slots: {backend.name}: {backend.active}" for backend in self.pool.backends if backend.active),
            *([f"gate: {self.inside} clients inside"] * bool(self.inside)),
            *([f"{len(self.clients)} clients, {len(self.records)} records"] * (not self._recorded)),
            *self.disagreeing_counts(),
        ]

    def disagreeing_counts(self) -> list[str]:
        """Counters that differ from each other, or from what sessions and their records say."""
        frontend, pool = self.frontend.stats.snapshot(), self.pool.snapshot()
        open_now = len(self.frontend.registry.sessions)
        reasons = Counter(f"ended.{record.reason.word}" for record in self.records)
        expected = {
            "connections_total": open_now + len(self.records),
            "connections_active": open_now,
            "bytes_in": sum(record.client_bytes for record in self.records),
            "bytes_out": sum(record.backend_bytes for record in self.records),
            **reasons,
            **{name: reasons[name] for name in frontend if name.startswith("ended.")},
            **_failures(
                frontend, (it.cause for it in self.records if it.reason is EndReason.HANDSHAKE_FAILED)
            ),
        }
        found = [_compare("frontend", frontend, expected)]
        if self.frontend.context.preread is None:
            # All sessions are those of the one pool.
            found.append(_compare("pool", pool, {**reasons, **_only_bytes(expected)}))
        if not open_now and self.frontend.context.preread is None:
            failures = [cause for record in self.records for _, cause in record.failures]
            tried = {
                "connect_attempts": sum(record.attempts for record in self.records),
                "connections_active": 0,
                "retries": sum(max(0, record.attempts - 1) for record in self.records),
            }
            found.append(_compare("pool", pool, tried))
            failed = pool["connect_failures"] + pool["local_failures"] + pool["resets_before_answer"]
            noted = sum(cause not in {"given up", "internal error"} for cause in failures)
            found.append([f"pool: {failed} failures, in records {noted}"] * (failed != noted))
            of_tls = (cause.removeprefix(TLS_CAUSE) for cause in failures if cause.startswith(TLS_CAUSE))
            found.append(_compare("pool", pool, _failures(pool, of_tls)))
        return [line for lines in found for line in lines]

    @property
    def _recorded(self) -> bool:
        return len(self.clients) == len(self.records) == sum(self.frontend.stats.ended.values())


class CopyingScene(Scene):
    """The same on the native data path, where there are no pipes to be had."""

    data_path = "copying"


class SplicingScene(Scene):
    """The same on the native data path, with pipes."""

    data_path = "splicing"


class BareScene(Scene):
    """The same on the native data path, with sessions that begin bare wherever they can."""

    data_path = "bare"
    begins_bare = True


class WholeScene(Scene):
    """The same, with sessions that have all made from the first byte."""

    data_path = "whole"


def _failures(snapshot: Mapping[str, int], causes: Iterable[str]) -> dict[str, int]:
    """Give what a snapshot should have of failed TLS handshakes."""
    counted = Counter(f"{FAILURES}.{cause}" for cause in causes)
    return {**counted, **{name: counted[name] for name in snapshot if name.startswith(FAILURES)}}


def _compare(where: str, counts: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    wrong = [name for name, count in expected.items() if counts.get(name, 0) != count]
    return [f"{where}: {name} is {counts.get(name, 0)} and not {expected[name]}" for name in wrong]


def _only_bytes(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if name.startswith("bytes_")}


def _early_bytes(session: Any) -> int:
    if getattr(session, "is_bare", False):
        return 0  # They are in the kernel.
    if session._preread is not None and session._preread.kept:
        return len(session._preread.kept)
    return sum(map(len, session._replay.chunks)) if session._replay is not None else 0

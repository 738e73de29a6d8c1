"""Counters of what has happened to the connections and requests of each frontend, pool and backend.

They are plain integers that only grow, and each is changed in one place of the code. They live as long as
the object that they are about, which is known by name: a reload keeps them. They are read as a
``snapshot``. The doc of each field is its entry in the reference.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Protocol, TypeAlias

import attrs
from attrs import define, field, frozen


class Label(Protocol):
    """What a counter is divided by: an end reason, a refusal, a limit."""

    @property
    def word(self) -> str:
        """The name in logs and counters."""
        ...


# Not collections.Counter, whose __delitem__ makes each addition take twice as long.
class Counts(dict[Label, int]):
    """Counters by label, each 0 until it is first counted."""

    __slots__ = ()

    def __missing__(self, label: Label) -> int:
        return 0

    def total(self) -> int:
        """Give the sum over all labels."""
        return sum(self.values())


CONNECT_BOUNDS = (0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0)
"""Seconds, of what connecting to a backend takes, and waiting for one."""

SESSION_BOUNDS = (0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0)
"""Seconds, of what sessions take."""

ABOVE = "inf"
"""How snapshots call the durations above the last bound."""


class Durations:
    """How many durations there were up to each of some bounds, and their sum.

    :param bounds: seconds, in their order.
    :ivar counts: those up to each bound and above the one before it, and at the end those above all.
    :ivar seconds: the sum.
    """

    __slots__ = ("bounds", "counts", "seconds")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.seconds = 0.0

    def note(self, seconds: float) -> None:
        """Take one up."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.seconds += seconds

    def snapshot(self, name: str) -> dict[str, int]:
        """Give the counts as ``name.bound``, and the sum in microseconds as ``name_us``."""
        counts = dict(zip(_names_of_durations(name, self.bounds), self.counts, strict=True))
        counts[f"{name}_us"] = round(self.seconds * 1e6)
        return counts


@lru_cache
def _names_of_durations(name: str, bounds: tuple[float, ...]) -> tuple[str, ...]:
    """Give the names in a snapshot: of thousands of backends, they are the same."""
    return tuple(f"{name}.{bound}" for bound in (*(f"{bound:g}" for bound in bounds), ABOVE))


@frozen
class TlsVersion:
    """A version of TLS, as the label of a counter."""

    word: str


TLS_VERSIONS = {"TLSv1.2": TlsVersion("1.2"), "TLSv1.3": TlsVersion("1.3")}
"""Those that clients may use, by OpenSSL's names."""


@frozen
class TlsFailure:
    """Why a TLS handshake has failed, as the label of a counter."""

    word: str


MAX_CAUSES = 30
"""Causes that are counted apart, for each frontend and backend: peers have a part in how many there are."""

OTHER_CAUSES = TlsFailure("other")


def count_cause(failures: Counts, cause: str) -> None:
    """Count a TLS handshake that has failed.

    :param failures: the counter.
    :param cause: why, as the access log has it; with too many others, it is counted with the rest.
    """
    label: Label = TlsFailure(cause)
    if label not in failures and len(failures) >= MAX_CAUSES:
        label = OTHER_CAUSES
    failures[label] += 1


ResponseCounts: TypeAlias = list[int]
"""Counters of responses by the class of their status, its first digit: ``counts[status // 100] += 1``. In
place 0 are the requests that got no response, which no snapshot shows."""

NO_RESPONSES: ResponseCounts = [0] * 10


def _by_class(doc: str, like: str = "") -> ResponseCounts:
    """Make the field of a counter for each class of statuses."""
    return field(factory=NO_RESPONSES.copy, metadata={"doc": doc, "like": like})


REQUEST_COUNTERS = frozenset(
    {
        "requests_total",
        "requests_ended",
        "responses",
        "reused_connections",
        "connect_refused",
        "mirrored",
        "mirrored_left_out",
    }
)
"""The counters of requests: frontends without ``mode = "http"`` and their backends have none. A snapshot has
none of them before the first request."""


def _number(doc: str, like: str = "") -> int:
    """Make the field of a counter.

    :param doc: what it counts, in Markdown.
    :param like: how HAProxy or Envoy call it.
    """
    return field(default=0, metadata={"doc": doc, "like": like})


def _by_label(doc: str, like: str = "") -> Counts:
    """Make the field of a counter for each label, which come when they are first counted."""
    return field(factory=Counts, metadata={"doc": doc, "like": like})


def _durations(bounds: tuple[float, ...], doc: str, like: str = "") -> Durations:
    """Make the field of durations."""
    return field(factory=lambda: Durations(bounds), metadata={"doc": doc, "like": like})


@lru_cache
def _names_of_counters(kind: type[SessionStats]) -> tuple[str, ...]:
    return tuple(key.name for key in attrs.fields(kind))


@define(eq=False)
class SessionStats:
    """How sessions have ended; written by ``SessionRegistry.remove``."""

    ended: Counts = _by_label("sessions that have ended, by their end reason")
    bytes_in: int = _number("bytes received from clients, added when a session ends", "HAProxy `bin`")
    bytes_out: int = _number("bytes received from backends, added when a session ends", "HAProxy `bout`")

    def snapshot(self) -> dict[str, int]:
        """Give all counters by name; those of a label are ``name.label``, and left out while they are 0."""
        counts: dict[str, int] = {}
        for name in _names_of_counters(type(self)):  # type: ignore[arg-type]  # a class can be hashed
            value = getattr(self, name)
            if isinstance(value, int):
                if value or name not in REQUEST_COUNTERS:
                    counts[name] = value
            elif isinstance(value, Counts):
                for label, count in value.items():
                    counts[f"{name}.{label.word}"] = count
            elif isinstance(value, Durations):
                counts.update(value.snapshot(name))
            elif value != NO_RESPONSES:
                counts.update((f"{name}.{digit}xx", n) for digit, n in enumerate(value) if digit and n)
        return counts


@define(eq=False)
class FrontendStats(SessionStats):
    """What has happened to the clients of one frontend."""

    connections_total: int = _number(
        "clients that were accepted and not refused at once: each has a session",
        "HAProxy `stot`, Envoy `downstream_cx_total`",
    )
    refused: Counts = _by_label(
        "clients that access lists or limits have refused, by the rule; one that a PROXY header named had "
        "a session by then, which counts as `ended.refused`, too",
        "HAProxy `dcon`",
    )
    would_refuse: Counts = _by_label(
        "clients that would have been refused, were it not for `dry_run`, by the rule",
    )
    would_limit: Counts = _by_label(
        "sessions that a limit would have acted on, were it not for `dry_run`, by the limit's key; each "
        "session once",
    )
    connections_shed: int = _number(
        "clients that were reset before they had a session: no descriptor was left, or the port of an "
        "endpoint cannot be paused. What an overload ends later counts as `ended.overload`",
        "Envoy `downstream_cx_overload_reject`",
    )
    setup_failures: int = _number(
        "clients that were reset because their transport or session could not be made; the log has the cause",
    )

    session_time: Durations = _durations(
        SESSION_BOUNDS, "how long sessions took, from accepting the client to the end", "HAProxy `ttime`"
    )
    tls_handshakes: Counts = _by_label("TLS handshakes with clients that have succeeded, by the version")
    tls_resumptions: int = _number(
        "of `tls_handshakes`, those that resumed an earlier TLS session", "HAProxy `ssl_reused_sess`"
    )

    tls_handshake_failures: Counts = _by_label(
        "sessions that have ended with `handshake_failed`, by the cause that the access log has",
        "Envoy `ssl.connection_error`",
    )
    requests_total: int = _number("requests that have come", "HAProxy `req_tot`, Envoy `downstream_rq_total`")
    requests_ended: Counts = _by_label("requests that have ended, by their end reason")
    responses: ResponseCounts = _by_class(
        "requests that got a response, by the class of its status, such as `2xx`; those of `1xx` became "
        "another protocol",
        "HAProxy `hrsp_2xx`, Envoy `downstream_rq_2xx`",
    )

    connect_refused: Counts = _by_label(
        "requests with CONNECT that were refused, by the cause that the access log has; each is in "
        "`requests_ended.tunnel_refused`, too"
    )

    mirrored: Counts = _by_label(
        "copies of requests that were sent to the pool of `mirror`, by their end reason",
    )
    mirrored_left_out: int = _number(
        "requests that were not copied: their body was larger than 64 KiB, or did not come whole, or 100 "
        "copies were under way",
    )

    def note_handshake(self, version: str, is_resumed: bool) -> None:
        """Count a TLS handshake that has succeeded.

        :param version: as OpenSSL calls it.
        :param is_resumed: whether it resumed an earlier session.
        """
        self.tls_handshakes[TLS_VERSIONS.get(version) or TlsVersion(version)] += 1
        self.tls_resumptions += is_resumed

    @property
    def connections_active(self) -> int:
        """sessions that are open now: those of `connections_total` that have not ended"""
        return self.connections_total - self.ended.total()

    @property
    def requests_active(self) -> int:
        """requests that are under way now: those of `requests_total` that have not ended"""
        return self.requests_total - self.requests_ended.total()

    def snapshot(self) -> dict[str, int]:
        """Give all counters by name, and the open sessions as ``connections_active``; where there have been
        requests, those under way as ``requests_active``."""
        counts = {**super().snapshot(), "connections_active": self.connections_active}
        if self.requests_total:
            counts["requests_active"] = self.requests_active
        return counts


@define(eq=False)
class BackendStats(SessionStats):
    """What has happened to the connections to one backend."""

    connect_attempts: int = _number(
        "connections that were tried",
        "HAProxy `connect`, Envoy `upstream_cx_total`",
    )
    connections_total: int = _number("connections that the backend has accepted")
    connect_failures: int = _number(
        "connections that failed and count against the backend",
        "HAProxy `econ`, Envoy `upstream_cx_connect_fail`",
    )
    local_failures: int = _number(
        "connections that failed for want of a name, port, descriptor or memory on this machine",
    )
    resets_before_answer: int = _number(
        "connections that the backend reset before its first byte",
        "HAProxy `eresp`",
    )
    retries: int = _number(
        "connections tried for a session that had failed to reach a backend before",
        "HAProxy `wretr`, Envoy `upstream_rq_retry`",
    )
    redispatches: int = _number(
        "of `retries`, those whose last failure was at another backend",
        "HAProxy `wredis`",
    )
    tls_handshake_failures: Counts = _by_label(
        "of `connect_failures` and `local_failures`, those of TLS handshakes, by the cause that the access "
        "log has behind `TLS:`",
        "Envoy `ssl.connection_error`",
    )
    requests_total: int = _number(
        "requests that were sent to it; each is a session in `ended`, too", "Envoy `upstream_rq_total`"
    )
    responses: ResponseCounts = _by_class(
        "responses by the class of their status, such as `2xx`",
        "HAProxy `hrsp_2xx`, Envoy `upstream_rq_2xx`",
    )
    reused_connections: int = _number(
        "of `requests_total`, those on a connection that had served a request before", "HAProxy `reuse`"
    )
    cooldowns: int = _number("times that the backend was passed over for a while after a failed connection")
    ejections: int = _number(
        "times that outlier detection has ejected it",
        "Envoy `outlier_detection.ejections_enforced_total`",
    )
    down_transitions: int = _number("times that it went down", "HAProxy `chkdown`")
    up_transitions: int = _number("times that it came up after it was down")
    connect_time: Durations = _durations(
        CONNECT_BOUNDS, "how long connections took that the backend has accepted", "HAProxy `ctime`"
    )


@define(eq=False)
class PoolStats(SessionStats):
    """What has happened in one pool apart from its backends."""

    queue_total: int = _number(
        "connections that have waited in the queue",
        "Envoy `upstream_rq_pending_total`",
    )
    queue_overflows: int = _number(
        "connections that found the queue full",
        "Envoy `upstream_rq_pending_overflow`",
    )
    queue_displacements: int = _number(
        "connections that lost their place in the full queue to another client's",
    )
    queue_timeouts: int = _number("times that a connection has waited in the queue for `queue_timeout`")
    queue_time: Durations = _durations(
        CONNECT_BOUNDS, "how long connections waited in the queue until it was their turn", "HAProxy `qtime`"
    )
    affinity_hits: int = _number(
        "connections, and requests on connections that were open already, that went to a backend which "
        "affinity by address knew for their client",
    )
    affinity_evictions: int = _number(
        "clients that affinity by address has forgotten before their `ttl` was over, because there were more "
        "than `max_entries`",
    )


def add_up(snapshots: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Add the counters of the same name."""
    total: dict[str, int] = {}
    for snapshot in snapshots:
        for name, count in snapshot.items():
            total[name] = total.get(name, 0) + count
    return total

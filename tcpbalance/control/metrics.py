"""The metrics of a balancer: names after Prometheus' conventions, values of the view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, TypeAlias, TypeVar

import attrs
from attrs import frozen
from twisted.internet.defer import Deferred

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.exposition import (
    OPENMETRICS_TEXT,
    PROMETHEUS_TEXT,
    Metric,
    expose,
    label_end,
    label_text,
    wants_openmetrics,
)
from tcpbalance.control.report import EVERYTHING, LOOP_LAG
from tcpbalance.control.routes import ApiRoute
from tcpbalance.control.shared_views import SharedViews
from tcpbalance.control.view import View
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.stats import (
    ABOVE,
    REQUEST_COUNTERS,
    BackendStats,
    FrontendStats,
    PoolStats,
    SessionStats,
    add_up,
)

SERIES_A_PIECE = 20
"""Backends whose labels are written before others are served: some 50 microseconds."""

LINES_A_PIECE = 100
"""Samples that are written before others are served: some 50 microseconds."""

BACKEND_STATES = ("up", "down", "ejected", "draining", "maintenance")
"""As the `state` of a backend of a pool may be."""


@frozen
class _Named:
    """How a counter is called here.

    :param name: without a prefix and ``_total``.
    :param label: of what divides it; empty where nothing does.
    """

    name: str
    label: str = ""


_NAMES = {
    "ended": _Named("sessions_ended", "reason"),
    "bytes_in": _Named("received_bytes"),
    "bytes_out": _Named("sent_bytes"),
    "connections_total": _Named("connections"),
    "connections_shed": _Named("shed"),
    "queue_total": _Named("queued"),
    "refused": _Named("refused", "rule"),
    "would_refuse": _Named("would_refuse", "rule"),
    "would_limit": _Named("would_limit", "limit"),
    "requests_total": _Named("requests"),
    "requests_ended": _Named("requests_ended", "reason"),
    "responses": _Named("responses", "code"),
    "mirrored": _Named("mirrored", "reason"),
    "connect_refused": _Named("connect_refused", "cause"),
    "tls_handshakes": _Named("tls_handshakes", "version"),
    "tls_handshake_failures": _Named("tls_handshake_failures", "cause"),
}
"""The counters whose names differ from those of ``stats``, or that are divided."""


_CLOSERS = {reason.word: reason.closer for reason in EndReason}
"""The party that closed, by the words of the reasons; the access log has the same as ``closed_by``."""


class MetricsHandler:
    """Serves ``/metrics``.

    :param views: of the state.
    :param about: see ``Handlers``.
    """

    def __init__(self, views: SharedViews, about: Mapping[str, Any]) -> None:
        self._views = views
        self._about = about

    def routes(self) -> list[ApiRoute]:
        """Give the operation."""
        return [ApiRoute("GET", "/metrics", self._metrics)]

    def _metrics(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        openmetrics = wants_openmetrics(request.headers.get("accept", ""))
        kind = OPENMETRICS_TEXT if openmetrics else PROMETHEUS_TEXT
        return self._views.answer(
            EVERYTHING, lambda view: expose(metrics_of(view, self._about), openmetrics=openmetrics), kind
        )


def metrics_of(view: View, about: Mapping[str, Any]) -> Iterator[Metric | None]:
    """Give all metrics, and None where others may be served.

    :param about: see ``Handlers``.
    """
    version = label_text({"version": about["version"]})
    yield _gauge("tcpbalance_build_info", "The version, which is 1.", [(version, 1)])
    started = "When the program started, in seconds since the epoch."
    yield _gauge("tcpbalance_start_time_seconds", started, [("", about["started"])])
    yield from _processes(view)
    yield from _workers(view)
    yield from _frontends(view)
    yield from _pools(view)
    yield from _backends(view)


def _processes(view: View) -> Iterator[Metric]:
    # A worker has several processes while those drain that were replaced.
    by_worker: dict[str, list[Mapping[str, Any]]] = {}
    for process in view["processes"]:
        by_worker.setdefault(_worker_of(process), []).append(process)
    for key, name, together, text in (
        (
            "memory",
            "resident_memory_bytes",
            sum,
            "Resident memory of the processes of a worker, or of the supervisor.",
        ),
        (
            "descriptors",
            "open_fds",
            sum,
            "Open descriptors of the processes of a worker, or of the supervisor.",
        ),
        ("max_descriptors", "max_fds", max, "Descriptors that one process may have."),
    ):
        values = [
            (label_text({"worker": worker}), together(process[key] for process in processes))
            for worker, processes in by_worker.items()
        ]
        yield _gauge(f"tcpbalance_process_{name}", text, values)
    lags: dict[str, list[Mapping[str, int]]] = {}
    for process in [*view["processes"], *view["ended_processes"]]:
        lags.setdefault(_worker_of(process), []).append(process["counters"])
    late = [_series({"worker": worker}, add_up(counters)) for worker, counters in lags.items()]
    text = "How late the event loops of a worker, or the supervisor, come to what is due, 4 times a second."
    samples = partial(_cumulative, LOOP_LAG, late)
    yield Metric("tcpbalance_process_loop_lag_seconds", "histogram", text, samples)


def _workers(view: View) -> Iterator[Metric]:
    workers = view["workers"]
    serving = "Workers that accept clients; 1 where there is one process."
    yield _gauge("tcpbalance_workers_serving", serving, [("", workers["serving"])])
    ended = [(label_text({"by": by}), number) for by, number in workers["ended"].items()]
    text = "Workers that have ended without being asked to."
    yield Metric("tcpbalance_workers_ended", "counter", text, partial(_values, ended))


def _worker_of(process: Mapping[str, Any]) -> str:
    """Give the label of a process."""
    return "supervisor" if "supervisor" in process else str(process.get("worker", 0))


def _frontends(view: View) -> Iterator[Metric]:
    series = [_series({"frontend": it["name"]}, it["counters"]) for it in view["frontends"]]
    http = [it for it, frontend in zip(series, view["frontends"], strict=True) if frontend["mode"] == "http"]
    yield from _counters("tcpbalance_frontend", FrontendStats, series, http)
    yield _now("tcpbalance_frontend_requests_open", "Requests that are under way.", http, "requests_active")
    yield _now("tcpbalance_frontend_sessions", "Sessions that are open.", series, "connections_active")


def _pools(view: View) -> Iterator[Metric]:
    series = [_series({"pool": it["name"]}, it["counters"]) for it in view["pools"]]
    yield from _counters("tcpbalance_pool", PoolStats, series, ())
    yield _now("tcpbalance_pool_queue", "Connections that wait in the queue.", series, "queue_active")
    entries = [(label_text({"pool": it["name"]}), it["affinity"]) for it in view["pools"]]
    text = "Clients that affinity by address remembers."
    yield _gauge("tcpbalance_pool_affinity_entries", text, [it for it in entries if it[1] is not None])


def _backends(view: View) -> Iterator[Metric | None]:
    series: list[_Series] = []
    http: list[_Series] = []
    of_http = {name for it in view["frontends"] if it["mode"] == "http" for name in it["pools"]}
    weights: list[tuple[str, int]] = []
    states: list[tuple[str, str]] = []
    for pool in view["pools"]:
        for backend in pool["backends"]:
            one = _series({"pool": pool["name"], "backend": backend["name"]}, backend["counters"])
            series.append(one)
            if pool["name"] in of_http:
                http.append(one)
            weights.append((one[0], backend["weight"]))
            states.append((one[0], backend["state"]))
            if len(series) % SERIES_A_PIECE == 0:
                yield None
    yield from _counters("tcpbalance_backend", BackendStats, series, http)
    yield _now(
        "tcpbalance_backend_connections_open",
        "Connections that are open or being opened.",
        series,
        "connections_active",
    )
    yield _gauge("tcpbalance_backend_weight", "Share against the other backends.", weights)
    text = "1 for the state that it is in, 0 for others."
    yield Metric("tcpbalance_backend_state", "gauge", text, partial(_one_of_states, states))


_Series: TypeAlias = tuple[str, Mapping[str, int], Mapping[str, Sequence[tuple[str, str]]]]
"""Labels of what counters are about, those counters, and see ``_divided_by``."""


def _series(labels: Mapping[str, str], counters: Mapping[str, int]) -> _Series:
    return label_text(labels), counters, _divided_by(tuple(counters))


@lru_cache(maxsize=1024)
def _divided_by(names: tuple[str, ...]) -> Mapping[str, Sequence[tuple[str, str]]]:
    """Give for each counter that is divided the end of the labels of each part, and the name of the part.

    :param names: of counters; of thousands of backends, they are the same.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        key, is_part, part = name.partition(".")
        if is_part:
            found.setdefault(key, []).append((label_end(_labels_of(key, part)), name))
    return found


def _labels_of(key: str, part: str) -> dict[str, str]:
    """Give the labels of a part of a counter that is divided."""
    if key not in _NAMES:
        return {"le": "+Inf" if part == ABOVE else part}
    label = _NAMES[key].label
    return {label: part, "closed_by": _CLOSERS[part]} if label == "reason" else {label: part}


def _counters(
    prefix: str, kind: type[SessionStats], everything: Sequence[_Series], http: Sequence[_Series]
) -> Iterator[Metric]:
    """Give a metric for each counter of a class of ``stats``.

    :param http: those of them that have counters of requests: others would have zeros alone.
    """
    for key in attrs.fields(kind):
        series = http if key.name in REQUEST_COUNTERS else everything
        help_text = _sentence(key.metadata["doc"])
        if key.type == "Durations":
            samples = partial(_cumulative, key.name, series)
            yield Metric(f"{prefix}_{key.name}_seconds", "histogram", help_text, samples)
            continue
        named = _NAMES.get(key.name, _Named(key.name))
        samples = partial(_divided if named.label else _plain, key.name, series)
        yield Metric(f"{prefix}_{named.name}", "counter", help_text, samples)


def _now(name: str, text: str, series: Sequence[_Series], key: str) -> Metric:
    return Metric(name, "gauge", text, partial(_plain, key, series))


def _gauge(name: str, text: str, values: Sequence[tuple[str, float]]) -> Metric:
    return Metric(name, "gauge", text, partial(_values, values))


# The lines of samples, of some series in each text.


def _plain(key: str, series: Sequence[_Series], name: str) -> Iterator[str]:
    for some in _pieces(series, 1):
        yield "".join([f"{name}{labels} {counters.get(key, 0)}\n" for labels, counters, _ in some])


def _values(values: Sequence[tuple[str, float]], name: str) -> Iterator[str]:
    for some in _pieces(values, 1):
        yield "".join([f"{name}{labels} {value}\n" for labels, value in some])


def _divided(key: str, series: Sequence[_Series], name: str) -> Iterator[str]:
    for some in _pieces(series, 5):
        yield "".join(
            [
                f"{name}{labels[:-1]}{end} {counters[part]}\n"
                for labels, counters, divided in some
                for end, part in divided.get(key, ())
            ]
        )


def _cumulative(key: str, series: Sequence[_Series], name: str) -> Iterator[str]:
    for some in _pieces(series, 10):
        lines: list[str] = []
        for labels, counters, divided in some:
            begin, total = f"{name}_bucket{labels[:-1]}", 0
            for end, part in divided.get(key, ()):
                total += counters[part]
                lines.append(f"{begin}{end} {total}\n")
            seconds = counters.get(f"{key}_us", 0) / 1e6
            lines.append(f"{name}_sum{labels} {seconds}\n{name}_count{labels} {total}\n")
        yield "".join(lines)


def _one_of_states(states: Sequence[tuple[str, str]], name: str) -> Iterator[str]:
    ends = {state: label_end({"state": state}) for state in BACKEND_STATES}
    # What follows the labels of the backend in all lines, by the state that it is in.
    follow = {its: ["", *(f"{end} {int(its == state)}\n" for state, end in ends.items())] for its in ends}
    for some in _pieces(states, len(ends)):
        yield "".join([f"{name}{labels[:-1]}".join(follow[its]) for labels, its in some])


T = TypeVar("T")


def _pieces(series: Sequence[T], lines: int) -> Iterator[Sequence[T]]:
    """Cut series into pieces.

    :param lines: of each of them, about.
    """
    size = LINES_A_PIECE // lines
    for begin in range(0, len(series), size):
        yield series[begin : begin + size]


def _sentence(doc: str) -> str:
    """Make a sentence of the doc of a counter, which is written for the reference."""
    return f"{doc[0].upper()}{doc[1:]}.".replace("`", "")

"""The metrics of a balancer: names after Prometheus' conventions, values of the view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
from attrs import frozen
from twisted.internet.defer import Deferred

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.exposition import (
    OPENMETRICS_TEXT,
    PROMETHEUS_TEXT,
    Metric,
    expose,
    label_text,
    wants_openmetrics,
    with_label,
)
from tcpbalance.control.report import EVERYTHING, LOOP_LAG
from tcpbalance.control.routes import ApiRoute
from tcpbalance.control.shared_views import SharedViews
from tcpbalance.control.view import View
from tcpbalance.stats import (
    ABOVE,
    REQUEST_COUNTERS,
    BackendStats,
    FrontendStats,
    PoolStats,
    SessionStats,
    add_up,
)

LABELS_A_PIECE = 200
"""Backends whose labels are written before others are served: half a millisecond's work."""

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
    "tls_handshakes": _Named("tls_handshakes", "version"),
    "tls_handshake_failures": _Named("tls_handshake_failures", "cause"),
}
"""The counters whose names differ from those of ``stats``, or that are divided."""


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
    yield Metric("tcpbalance_build_info", "gauge", "The version, which is 1.", [(version, 1)])
    started = "When the program started, in seconds since the epoch."
    yield Metric("tcpbalance_start_time_seconds", "gauge", started, [("", about["started"])])
    yield from _processes(view)
    yield from _frontends(view)
    yield from _pools(view)
    yield from _backends(view)


def _processes(view: View) -> Iterator[Metric]:
    # A worker has several processes while those drain that were replaced.
    by_worker: dict[int, list[Mapping[str, Any]]] = {}
    for process in view["processes"]:
        by_worker.setdefault(process.get("worker", 0), []).append(process)
    for key, name, together, text in (
        ("memory", "resident_memory_bytes", sum, "Resident memory of the processes of a worker."),
        ("descriptors", "open_fds", sum, "Open descriptors of the processes of a worker."),
        ("max_descriptors", "max_fds", max, "Descriptors that one process may have."),
    ):
        samples = [
            (label_text({"worker": str(worker)}), together(process[key] for process in processes))
            for worker, processes in by_worker.items()
        ]
        yield Metric(f"tcpbalance_process_{name}", "gauge", text, samples)
    lags: dict[int, list[Mapping[str, int]]] = {}
    for process in [*view["processes"], *view["ended_processes"]]:
        lags.setdefault(process.get("worker", 0), []).append(process["counters"])
    late = [(label_text({"worker": str(worker)}), add_up(counters)) for worker, counters in lags.items()]
    text = "How late the event loops of a worker come to what is due, four times a second."
    yield Metric("tcpbalance_process_loop_lag_seconds", "histogram", text, _cumulative(LOOP_LAG, late))


def _frontends(view: View) -> Iterator[Metric]:
    labelled = [(label_text({"frontend": it["name"]}), it["counters"]) for it in view["frontends"]]
    http = [
        it for it, frontend in zip(labelled, view["frontends"], strict=True) if frontend["mode"] == "http"
    ]
    yield from _counters("tcpbalance_frontend", FrontendStats, labelled, http)
    yield _gauge("tcpbalance_frontend_requests_open", "Requests that are under way.", http, "requests_active")
    yield _gauge("tcpbalance_frontend_sessions", "Sessions that are open.", labelled, "connections_active")


def _pools(view: View) -> Iterator[Metric]:
    labelled = [(label_text({"pool": it["name"]}), it["counters"]) for it in view["pools"]]
    yield from _counters("tcpbalance_pool", PoolStats, labelled, ())
    yield _gauge("tcpbalance_pool_queue", "Connections that wait in the queue.", labelled, "queue_active")


def _backends(view: View) -> Iterator[Metric | None]:
    there: list[tuple[str, Mapping[str, Any]]] = []
    http: list[tuple[str, Mapping[str, int]]] = []
    of_http = {name for it in view["frontends"] if it["mode"] == "http" for name in it["pools"]}
    for pool in view["pools"]:
        for backend in pool["backends"]:
            there.append((label_text({"pool": pool["name"], "backend": backend["name"]}), backend))
            if len(there) % LABELS_A_PIECE == 0:
                yield None
            if pool["name"] in of_http:
                http.append((there[-1][0], backend["counters"]))
    labelled = [(labels, it["counters"]) for labels, it in there]
    yield from _counters("tcpbalance_backend", BackendStats, labelled, http)
    yield _gauge(
        "tcpbalance_backend_connections_open",
        "Connections that are open or being opened.",
        labelled,
        "connections_active",
    )
    weights = [(labels, it["weight"]) for labels, it in there]
    yield Metric("tcpbalance_backend_weight", "gauge", "Share against the other backends.", weights)
    states = (
        (with_label(labels, "state", state), int(it["state"] == state))
        for labels, it in there
        for state in BACKEND_STATES
    )
    yield Metric("tcpbalance_backend_state", "gauge", "1 for the state that it is in, 0 for others.", states)


Labelled = Sequence[tuple[str, Mapping[str, int]]]
"""Counters, with the labels of what they are about."""


def _counters(
    prefix: str, kind: type[SessionStats], everything: Labelled, http: Labelled
) -> Iterator[Metric]:
    """Give a metric for each counter of a class of ``stats``.

    :param http: those of them that have counters of requests: others would have zeros alone.
    """
    for key in attrs.fields(kind):
        labelled = http if key.name in REQUEST_COUNTERS else everything
        if key.type == "Durations":
            yield _histogram(prefix, key, labelled)
            continue
        named = _NAMES.get(key.name, _Named(key.name))
        samples = _divided(key.name, named.label, labelled) if named.label else _plain(key.name, labelled)
        yield Metric(f"{prefix}_{named.name}", "counter", _sentence(key.metadata["doc"]), samples)


def _histogram(prefix: str, key: attrs.Attribute[Any], labelled: Labelled) -> Metric:
    samples = _cumulative(key.name, labelled)
    return Metric(f"{prefix}_{key.name}_seconds", "histogram", _sentence(key.metadata["doc"]), samples)


def _cumulative(key: str, labelled: Labelled) -> Iterator[tuple[str, float]]:
    for labels, counters in labelled:
        total = 0
        for name, count in counters.items():
            if name.startswith(f"{key}."):
                total += count
                bound = name.partition(".")[2]
                yield f"_bucket{with_label(labels, 'le', '+Inf' if bound == ABOVE else bound)}", total
        yield f"_sum{labels}", counters.get(f"{key}_us", 0) / 1e6
        yield f"_count{labels}", total


def _plain(key: str, labelled: Labelled) -> Iterator[tuple[str, int]]:
    for labels, counters in labelled:
        yield labels, counters.get(key, 0)


def _divided(key: str, label: str, labelled: Labelled) -> Iterator[tuple[str, int] | None]:
    for labels, counters in labelled:
        yield None
        for name, count in counters.items():
            if name.startswith(f"{key}."):
                yield with_label(labels, label, name.partition(".")[2]), count


def _gauge(name: str, text: str, labelled: Labelled, key: str) -> Metric:
    return Metric(name, "gauge", text, _plain(key, labelled))


def _sentence(doc: str) -> str:
    """Make a sentence of the doc of a counter, which is written for the reference."""
    return f"{doc[0].upper()}{doc[1:]}.".replace("`", "")

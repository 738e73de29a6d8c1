"""What tcpbalance is to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen

from bench.contestants import HTTP_PEERS, PEERS, TITLES
from bench.metrics import METRICS
from bench.results import Median, Medians

OURS = "tcpbalance"


@frozen
class Target:
    """A bound on one metric of tcpbalance: a lower one where higher is better, else an upper one.

    :param bound: of the metric itself, or of its ratio to the best of `others`.
    :param others: the contestants that it is compared with; none for the metric itself.
    """

    metric: str
    bound: float
    others: tuple[str, ...] = ()

    @property
    def higher(self) -> bool:
        """Whether higher is better."""
        return METRICS[self.metric].better == "higher"

    @property
    def title(self) -> str:
        """What it is about."""
        metric = METRICS[self.metric]
        if not self.others:
            return f"{metric.title}, {metric.unit}"
        best = TITLES[self.others[0]] if len(self.others) == 1 else f"the best of {len(self.others)} peers"
        return f"{metric.title}, to {best}"


TARGETS = (
    Target("connections_rate", 0.92, ("haproxy",)),
    Target("connections_rate", 1.4, ("envoy",)),
    Target("connections_rate", 1.8, ("portable",)),
    Target("connections_cpu", 1.1, ("haproxy",)),
    Target("connections_p50", 1.0, ("haproxy",)),
    Target("requests_rate", 0.95, ("haproxy",)),
    Target("requests_rate", 0.95, ("envoy",)),
    Target("download_cpu", 0.75, PEERS),
    Target("download_rate", 1.2, PEERS),
    Target("idle_memory", 6 * 1024),
    Target("beside_ratio", 4.0),
    Target("flood_ratio", 3.0),
    Target("admission_known", 5.0),
    Target("reload_time", 200.0),
    Target("reload_ratio", 2.0),
    Target("reload_longest", 20.0),
    Target("sessions_time", 200.0),
    Target("sessions_ratio", 2.0),
    Target("workers_sessions_time", 200.0),
    Target("workers_sessions_ratio", 2.0),
    Target("flooded_lists_ratio", 2.0),
    Target("scrape_cpu", 50.0),
    Target("supervisor_scrape_cpu", 50.0),
    Target("counting_cost", 1.5),
    Target("slot_cost", 1.0),
    Target("workers_connection_ratio", 1.05),
    Target("workers_request_ratio", 1.05),
    Target("worker_memory", 40.0),
    Target("worker_own_memory", 15.0),
    Target("replacement_time", 200.0),
    Target("handshakes_ecdsa_rate", 0.95, ("haproxy",)),
    Target("handshakes_rsa_rate", 0.95, ("haproxy",)),
    Target("tls_requests_rate", 0.95, ("haproxy",)),
    Target("tls_download_cpu", 1.3, ("haproxy",)),
    Target("tls_idle_memory", 40 * 1024),
    Target("http_requests_cpu", 2.0, ("haproxy",)),
    Target("http_browser_cpu", 2.0, ("haproxy",)),
    Target("http_requests_rate", 0.6, HTTP_PEERS),
    Target("http_browser_rate", 0.6, HTTP_PEERS),
    Target("http_download_cpu", 0.5, HTTP_PEERS),
    Target("http_upload_cpu", 0.5, HTTP_PEERS),
    Target("http_beside_ratio", 4.0),
    Target("http_websocket_ratio", 0.95),
)


@frozen
class Verdict:
    """Whether a target is reached.

    :param value: what is to be compared with the bound; None when figures are missing.
    :param missing: the contestants without a figure.
    :param turns: the fewest turns that a median in it is of.
    """

    target: Target
    value: float | None
    missing: tuple[str, ...]
    turns: int

    @property
    def met(self) -> bool | None:
        """Whether it is reached; None when that cannot be said."""
        if self.value is None:
            return None
        return self.value >= self.target.bound if self.target.higher else self.value <= self.target.bound


def judge(medians: Medians, targets: Iterable[Target] = TARGETS) -> list[Verdict]:
    """Compare the medians of one run with what is to be reached."""
    return [_verdict(target, medians.get(target.metric, {})) for target in targets]


def _verdict(target: Target, figures: dict[str, Median]) -> Verdict:
    needed = (OURS, *target.others)
    missing = tuple(contestant for contestant in needed if contestant not in figures)
    if missing:
        return Verdict(target, None, missing, 0)
    turns = min(figures[contestant].turns for contestant in needed)
    return Verdict(target, figures[OURS].value / _divisor(target, figures), (), turns)


def _divisor(target: Target, figures: dict[str, Median]) -> float:
    values = [figures[other].value for other in target.others]
    if not values:
        return 1.0
    return max(values) if target.higher else min(values)

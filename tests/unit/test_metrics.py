"""The metrics of a balancer: which there are, and what they say."""

from __future__ import annotations

import re
from typing import Any

import attrs
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock

from tcpbalance import Backend, FrontendFactory, Pool
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.models import Config
from tcpbalance.config.pools import BackendConfig, PoolConfig
from tcpbalance.control.exposition import expose
from tcpbalance.control.in_pieces import at_once
from tcpbalance.control.metrics import metrics_of
from tcpbalance.control.report import EVERYTHING, process_entry, report_of
from tcpbalance.control.view import shown_backend, shown_workers, view_of
from tcpbalance.overload.loop_lag import SAMPLED_EVERY, LoopLag
from tcpbalance.pool.backend import AdminState
from tcpbalance.proxy.reasons import EndReason
from tcpbalance.stats import BackendStats, FrontendStats, PoolStats, count_cause

ABOUT = {"version": "1.2", "started": 1e9}
CLIENT_CLOSED, CLOSED_BY_CLIENT = ("reason", "client_closed"), ("closed_by", "client")
ANSWERED, CLOSED_BY_BACKEND = ("reason", "answered"), ("closed_by", "backend")
WORKERS: Any = {"workers": shown_workers(1)}
NAME = re.compile(r"tcpbalance_[a-z]+(_[a-z]+)*")


def samples(mode: str = "tcp") -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What a balancer with two backends shows, by name and labels.

    :param mode: of its frontend.
    """
    reactor: Any = Clock()
    pool = Pool("web", [Backend("127.0.0.1:80", name="a"), Backend("127.0.0.1:81", name='"b"')])
    factory = FrontendFactory(reactor, pool, name="front")
    factory.stats.connections_total = 3
    factory.stats.ended[EndReason.CLIENT_CLOSED] = 2
    factory.stats.bytes_in = 17
    if mode == "http":
        factory.stats.requests_total = 5
        factory.stats.requests_ended[EndReason.ANSWERED] = 4
        factory.stats.responses[2] = 4
        pool.backends[0].stats.requests_total = 3
        pool.backends[0].stats.reused_connections = 2
        pool.backends[0].stats.responses[5] = 3
    count_cause(factory.stats.tls_handshake_failures, "no shared cipher")
    pool.backends[0].stats.connect_attempts = 4
    pool.backends[0].active = 1
    for seconds in (0.001, 0.002, 60.0):
        pool.backends[0].stats.connect_time.note(seconds)
    pool.set_admin_state(pool.backends[1], AdminState.DRAIN)
    config = Config(
        frontends={"front": FrontendConfig(listen="127.0.0.1:0", pool="web")},
        pools={"web": PoolConfig(backends=(BackendConfig(address="127.0.0.1:80"),))},
    )
    lag = LoopLag(reactor, reactor.seconds)
    lag.start()
    reactor.advance(SAMPLED_EVERY + 0.004)
    entries = [
        process_entry(lag),
        *at_once(report_of(EVERYTHING, {"front": factory}, [pool], [factory.registry])),
    ]
    view = at_once(
        view_of(
            config,
            [pool],
            dict(entries),
            EVERYTHING,
            lambda _, it: shown_backend(it, None, None),
            shown_workers(1),
        )
    )
    view["frontends"][0]["mode"] = mode
    return read(view)


def read(view: Any) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Give what Prometheus reads of a view, by name and labels."""
    text = b"".join(expose(metrics_of(view, ABOUT), openmetrics=False))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_counters_and_states_are_shown() -> None:
    found = samples()
    front, a, b = ("frontend", "front"), ("backend", "a"), ("backend", '"b"')
    web = ("pool", "web")
    assert found["tcpbalance_build_info", (("version", "1.2"),)] == 1
    assert found["tcpbalance_start_time_seconds", ()] == 1e9
    assert found["tcpbalance_frontend_connections_total", (front,)] == 3
    assert found["tcpbalance_frontend_sessions", (front,)] == 1
    assert found["tcpbalance_frontend_sessions_ended_total", (CLOSED_BY_CLIENT, front, CLIENT_CLOSED)] == 2
    assert found["tcpbalance_frontend_received_bytes_total", (front,)] == 17
    assert found["tcpbalance_backend_connect_attempts_total", (a, web)] == 4
    assert found["tcpbalance_backend_connections_open", (a, web)] == 1
    assert found["tcpbalance_backend_state", (a, web, ("state", "up"))] == 1
    assert found["tcpbalance_backend_state", (b, web, ("state", "up"))] == 0
    assert found["tcpbalance_backend_state", (b, web, ("state", "draining"))] == 1
    times = "tcpbalance_backend_connect_time_seconds"
    assert found[f"{times}_bucket", (a, ("le", "0.001"), web)] == 1
    assert found[f"{times}_bucket", (a, ("le", "0.005"), web)] == 2
    assert found[f"{times}_bucket", (a, ("le", "5"), web)] == 2
    assert found[f"{times}_bucket", (a, ("le", "+Inf"), web)] == found[f"{times}_count", (a, web)] == 3
    assert found[f"{times}_sum", (a, web)] == 60.003
    assert found["tcpbalance_pool_queue", (web,)] == 0
    worker = ("worker", "0")
    assert found["tcpbalance_process_open_fds", (worker,)] > 0
    lag = "tcpbalance_process_loop_lag_seconds"
    assert found[f"{lag}_bucket", (("le", "0.001"), worker)] == 0
    assert found[f"{lag}_bucket", (("le", "0.005"), worker)] == found[f"{lag}_count", (worker,)] == 1
    assert found[f"{lag}_sum", (worker,)] == 0.004
    failures = "tcpbalance_frontend_tls_handshake_failures_total"
    assert found[failures, (("cause", "no shared cipher"), front)] == 1


def test_each_reason_goes_with_who_closed() -> None:
    counters = {
        f"{key}.{reason.word}": 1 for key in ("ended", "requests_ended", "mirrored") for reason in EndReason
    }
    frontend = {"name": "front", "mode": "http", "pools": [], "counters": counters}
    view: Any = {"processes": [], "ended_processes": [], **WORKERS, "frontends": [frontend], "pools": []}
    closers = {reason.word: reason.closer for reason in EndReason}
    assert {*closers.values()} == {"client", "backend", "balancer"}
    found = [(name, dict(labels)) for name, labels in read(view)]
    for name in ("sessions_ended", "requests_ended", "mirrored"):
        shown = [labels for its, labels in found if its == f"tcpbalance_frontend_{name}_total"]
        assert len(shown) == len(closers)
        assert {labels["reason"]: labels["closed_by"] for labels in shown} == closers


OF_REQUESTS = re.compile(r"tcpbalance_(frontend|backend)_(requests|responses|reused)")


def test_requests_are_shown_where_there_may_be_any() -> None:
    front, a, b, web = ("frontend", "front"), ("backend", "a"), ("backend", '"b"'), ("pool", "web")
    found = {key: value for key, value in samples("http").items() if OF_REQUESTS.match(key[0])}
    assert found == {
        ("tcpbalance_frontend_requests_total", (front,)): 5,
        ("tcpbalance_frontend_requests_ended_total", (CLOSED_BY_BACKEND, front, ANSWERED)): 4,
        ("tcpbalance_frontend_requests_open", (front,)): 1,
        ("tcpbalance_frontend_responses_total", (("code", "2xx"), front)): 4,
        ("tcpbalance_backend_requests_total", (a, web)): 3,
        ("tcpbalance_backend_requests_total", (b, web)): 0,
        ("tcpbalance_backend_reused_connections_total", (a, web)): 2,
        ("tcpbalance_backend_reused_connections_total", (b, web)): 0,
        ("tcpbalance_backend_responses_total", (a, ("code", "5xx"), web)): 3,
    }
    assert not [key for key in samples("tcp") if OF_REQUESTS.match(key[0])]


def test_the_size_of_affinity_is_shown_where_there_is_any() -> None:
    pools: list[Any] = [
        {"name": name, "backends": [], "affinity": size, "counters": {"affinity_hits": 7}}
        for name, size in (("web", 3), ("new", 0), ("mail", None))
    ]
    view: Any = {"processes": [], "ended_processes": [], **WORKERS, "frontends": [], "pools": pools}
    found = read(view)
    entries = {key[1]: value for key, value in found.items() if key[0] == "tcpbalance_pool_affinity_entries"}
    assert entries == {(("pool", "web"),): 3, (("pool", "new"),): 0}
    assert found["tcpbalance_pool_affinity_hits_total", (("pool", "web"),)] == 7
    assert found["tcpbalance_pool_affinity_evictions_total", (("pool", "web"),)] == 0


def test_the_processes_of_a_worker_are_one_series() -> None:
    processes = [
        {
            "worker": worker,
            "pid": 1,
            "memory": 10,
            "descriptors": 5,
            "max_descriptors": limit,
            "counters": {"loop_lag.0.005": 3, "loop_lag.inf": 1, "loop_lag_us": 6_000_000},
        }
        for worker, limit in ((0, 100), (1, 100), (0, 200))
    ]
    supervisor = {**processes[0], "supervisor": True, "memory": 7}
    del supervisor["worker"]
    processes.append(supervisor)
    ended = [{"worker": 1, "counters": {"loop_lag.0.005": 10, "loop_lag_us": 1_000_000}}]
    view: Any = {"processes": processes, "ended_processes": ended, **WORKERS, "frontends": [], "pools": []}
    found = read(view)
    first, second = (("worker", "0"),), (("worker", "1"),)
    process = "tcpbalance_process"
    for name, values in (("resident_memory_bytes", (20, 10)), ("open_fds", (10, 5)), ("max_fds", (200, 100))):
        assert (found[f"{process}_{name}", first], found[f"{process}_{name}", second]) == values
    lag = f"{process}_loop_lag_seconds"
    assert (found[f"{lag}_count", first], found[f"{lag}_count", second]) == (8, 14)
    assert (found[f"{lag}_sum", first], found[f"{lag}_sum", second]) == (12.0, 7.0)
    third = (("worker", "supervisor"),)
    assert (found[f"{process}_resident_memory_bytes", third], found[f"{lag}_count", third]) == (7, 4)


def test_workers_that_serve_and_that_have_ended_are_counted() -> None:
    view: Any = {"processes": [], "ended_processes": [], "frontends": [], "pools": []}
    found = read({**view, "workers": shown_workers(3, {"signal": 2})})
    assert found["tcpbalance_workers_serving", ()] == 3
    ended = "tcpbalance_workers_ended_total"
    by = {dict(labels)["by"]: value for (name, labels), value in found.items() if name == ended}
    assert by == {"signal": 2, "exit": 0, "timeout": 0, "error": 0}


def test_each_counter_has_its_metric() -> None:
    view: Any = {"processes": [], "ended_processes": [], **WORKERS, "frontends": [], "pools": []}
    metrics = [metric for metric in metrics_of(view, ABOUT) if metric is not None]
    of_others = ("tcpbalance_process_", "tcpbalance_workers_")
    counters = [it for it in metrics if it.kind != "gauge" and not it.name.startswith(of_others)]
    assert len(counters) == sum(len(attrs.fields(kind)) for kind in (FrontendStats, PoolStats, BackendStats))
    assert len({metric.name for metric in metrics}) == len(metrics)
    for metric in metrics:
        assert NAME.fullmatch(metric.name), metric.name
        assert not metric.name.endswith("_total")
        assert re.fullmatch(r"[A-Z0-9][^`]*\.", metric.help), metric.help

"""The figures that measures give: what tables call them, in which order, and which way is better."""

from __future__ import annotations

from typing import Literal

from attrs import frozen


@frozen
class Metric:
    """One figure.

    :param title: what it is.
    :param unit: in what it is given.
    :param better: which way is better.
    :param of_proxy: whether it exists only where there is a proxy.
    """

    title: str
    unit: str
    better: Literal["higher", "lower"]
    of_proxy: bool = False


METRICS = {
    "connections_rate": Metric("new connections", "1/s", "higher"),
    "connections_p50": Metric("answer on a new connection, p50", "ms", "lower"),
    "connections_p99": Metric("answer on a new connection, p99", "ms", "lower"),
    "connections_cpu": Metric("CPU a connection", "µs", "lower", of_proxy=True),
    "requests_rate": Metric("requests on open connections", "1/s", "higher"),
    "requests_p50": Metric("answer on an open connection, p50", "ms", "lower"),
    "requests_p99": Metric("answer on an open connection, p99", "ms", "lower"),
    "requests_cpu": Metric("CPU a request", "µs", "lower", of_proxy=True),
    "download_rate": Metric("download of 1 GiB", "Gbit/s", "higher"),
    "download_cpu": Metric("CPU a GiB, one download", "ms", "lower", of_proxy=True),
    "downloads_rate": Metric("four downloads at once", "Gbit/s", "higher"),
    "downloads_cpu": Metric("CPU a GiB, four downloads", "ms", "lower", of_proxy=True),
    "idle_memory": Metric("memory an idle connection", "bytes", "lower", of_proxy=True),
    "beside_p99": Metric("p99 with a bulk download beside", "ms", "lower"),
    "beside_ratio": Metric("p99 with a bulk download beside, to p99 without", "times", "lower"),
    "beside_rate": Metric("requests with a bulk download beside", "1/s", "higher"),
    "beside_bulk": Metric("the bulk download meanwhile", "Gbit/s", "higher"),
    "flood_p99": Metric("p99 of others during a flood from one address", "ms", "lower"),
    "flood_ratio": Metric("p99 of others during a flood, to p99 before", "times", "lower"),
    "admission_known": Metric(
        "a known client's connection in admission control, admit and release", "µs", "lower"
    ),
    "admission_new": Metric(
        "a new client's connection in admission control, admit and release", "µs", "lower"
    ),
    "reload_time": Metric("reload of 1000 backends with one change", "ms", "lower"),
    "reload_ratio": Metric("p99 of visitors during such reloads, to p99 before", "times", "lower"),
    "reload_longest": Metric("the slowest visitor during such reloads", "ms", "lower"),
    "sessions_time": Metric("list of 5000 live sessions", "ms", "lower"),
    "sessions_ratio": Metric("p99 of visitors during such lists, to p99 before", "times", "lower"),
    "workers_sessions_time": Metric("list of 5000 live sessions of two workers", "ms", "lower"),
    "workers_sessions_ratio": Metric(
        "p99 of visitors during such lists, two workers, to p99 before", "times", "lower"
    ),
    "flooded_lists_time": Metric("page of 1000 of 10,000 live sessions during a flood", "ms", "lower"),
    "flooded_lists_longest": Metric("the slowest of such pages", "ms", "lower"),
    "flooded_lists_refused": Metric("such pages that are refused with the reason", "%", "lower"),
    "flooded_lists_p99": Metric("p99 of visitors during such lists and the flood", "ms", "lower"),
    "flooded_lists_ratio": Metric(
        "p99 of visitors during such lists and the flood, to p99 during the flood alone", "times", "lower"
    ),
    "scrape_cpu": Metric("CPU of an answer of /metrics with 1000 backends", "ms", "lower"),
    "supervisor_scrape_cpu": Metric(
        "CPU of an answer of /metrics with 1000 backends, supervisor of two workers", "ms", "lower"
    ),
    "worker_scrape_cpu": Metric("CPU of its part in that, each worker", "ms", "lower"),
    "counting_cost": Metric("counters of a connection", "µs", "lower"),
    "slot_cost": Metric("a slot of a maximum of four workers", "µs", "lower"),
    "workers_connection_cpu": Metric("CPU a connection, two workers", "µs", "lower", of_proxy=True),
    "workers_connection_ratio": Metric(
        "CPU a connection, two workers to one at the same rate each", "times", "lower", of_proxy=True
    ),
    "workers_request_cpu": Metric("CPU a request, two workers", "µs", "lower", of_proxy=True),
    "workers_request_ratio": Metric(
        "CPU a request, two workers to one at the same rate each", "times", "lower", of_proxy=True
    ),
    "worker_memory": Metric("resident memory of a further worker", "MiB", "lower"),
    "worker_own_memory": Metric("memory of a further worker that it shares with no other", "MiB", "lower"),
    "replacement_time": Metric("a killed worker's clients are served again", "ms", "lower"),
    "handshakes_ecdsa_rate": Metric("full TLS handshakes, ECDSA P-256", "1/s", "higher"),
    "handshakes_ecdsa_p50": Metric("answer after a full TLS handshake, ECDSA P-256, p50", "ms", "lower"),
    "handshakes_ecdsa_p99": Metric("answer after a full TLS handshake, ECDSA P-256, p99", "ms", "lower"),
    "handshakes_ecdsa_cpu": Metric("CPU a full TLS handshake, ECDSA P-256", "µs", "lower", of_proxy=True),
    "handshakes_rsa_rate": Metric("full TLS handshakes, RSA 2048", "1/s", "higher"),
    "handshakes_rsa_p50": Metric("answer after a full TLS handshake, RSA 2048, p50", "ms", "lower"),
    "handshakes_rsa_p99": Metric("answer after a full TLS handshake, RSA 2048, p99", "ms", "lower"),
    "handshakes_rsa_cpu": Metric("CPU a full TLS handshake, RSA 2048", "µs", "lower", of_proxy=True),
    "tls_requests_rate": Metric("requests on open TLS connections", "1/s", "higher"),
    "tls_requests_p50": Metric("answer on an open TLS connection, p50", "ms", "lower"),
    "tls_requests_p99": Metric("answer on an open TLS connection, p99", "ms", "lower"),
    "tls_requests_cpu": Metric("CPU a request over TLS", "µs", "lower", of_proxy=True),
    "tls_download_rate": Metric("download of 1 GiB over TLS", "Gbit/s", "higher"),
    "tls_download_cpu": Metric("CPU a GiB over TLS", "ms", "lower", of_proxy=True),
    "tls_idle_memory": Metric("memory an idle TLS connection", "bytes", "lower", of_proxy=True),
    "http_requests_rate": Metric("HTTP requests", "1/s", "higher"),
    "http_requests_p50": Metric("answer to an HTTP request, p50", "ms", "lower"),
    "http_requests_p99": Metric("answer to an HTTP request, p99", "ms", "lower"),
    "http_requests_cpu": Metric("CPU an HTTP request", "µs", "lower", of_proxy=True),
    "http_browser_rate": Metric("HTTP requests with a browser's fields", "1/s", "higher"),
    "http_browser_p50": Metric("answer to an HTTP request with a browser's fields, p50", "ms", "lower"),
    "http_browser_p99": Metric("answer to an HTTP request with a browser's fields, p99", "ms", "lower"),
    "http_browser_cpu": Metric("CPU an HTTP request with a browser's fields", "µs", "lower", of_proxy=True),
    "http_download_rate": Metric("HTTP download of 1 GiB", "Gbit/s", "higher"),
    "http_download_cpu": Metric("CPU a GiB, HTTP download", "ms", "lower", of_proxy=True),
    "http_upload_rate": Metric("HTTP upload of 1 GiB", "Gbit/s", "higher"),
    "http_upload_cpu": Metric("CPU a GiB, HTTP upload", "ms", "lower", of_proxy=True),
    "http_beside_p99": Metric("p99 of HTTP requests with a bulk download beside", "ms", "lower"),
    "http_beside_ratio": Metric(
        "p99 of HTTP requests with a bulk download beside, to p99 without", "times", "lower"
    ),
    "http_beside_rate": Metric("HTTP requests with a bulk download beside", "1/s", "higher"),
    "http_beside_bulk": Metric("the bulk HTTP download meanwhile", "Gbit/s", "higher"),
    "http_websocket_rate": Metric("WebSocket messages there and back", "1/s", "higher"),
    "http_websocket_ratio": Metric(
        'WebSocket messages there and back, to those with mode = "tcp"', "times", "higher"
    ),
}

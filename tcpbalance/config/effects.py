"""What a change of each key does to a balancer that runs."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from tcpbalance.config.admin import AdminConfig
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.config.connect import ConnectConfig
from tcpbalance.config.cookies import AffinityCookieConfig, CookieConfig
from tcpbalance.config.frontends import FrontendConfig, RouteConfig, SocketConfig
from tcpbalance.config.http import ForwardedConfig, HttpConfig, PoolHttpConfig
from tcpbalance.config.log import AccessLogConfig, LogConfig
from tcpbalance.config.models import Config
from tcpbalance.config.outlier import OutlierConfig
from tcpbalance.config.overload import OverloadConfig
from tcpbalance.config.pools import AffinityConfig, BackendConfig, HealthConfig, PoolConfig
from tcpbalance.config.rebalance import RebalanceConfig
from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.config.routes import (
    AnswerConfig,
    HttpRouteConfig,
    RedirectConfig,
    RequestHeadersConfig,
    ResponseHeadersConfig,
    RouteAccessConfig,
)
from tcpbalance.config.tls import CertificateConfig, FrontendTlsConfig, PoolTlsConfig


class Effect(enum.Enum):
    """When a new value counts."""

    IN_PLACE = "in place"
    """At once, for the sessions that are open as well where it concerns them."""
    NEW_CONNECTIONS = "for new connections"
    """For connections that begin after the change; those that are open keep the value they began with."""
    NEW_REQUESTS = "for new requests"
    """For requests that begin after the change, on open connections as well."""
    NEW_LISTENER = "new listener"
    """A new listening socket is opened before the old one closes."""
    RESTART = "needs a restart"
    """When the process starts again."""


_IN_PLACE, _NEW_CONNECTIONS, _NEW_REQUESTS = Effect.IN_PLACE, Effect.NEW_CONNECTIONS, Effect.NEW_REQUESTS
_NEW_LISTENER, _RESTART = Effect.NEW_LISTENER, Effect.RESTART

EFFECTS: Mapping[type, Mapping[str, Effect]] = {
    Config: {
        "data_path": _RESTART,
        "workers": _RESTART,
        "worker_timeout": _RESTART,
        "cpu_affinity": _RESTART,
        "user": _RESTART,
        "group": _RESTART,
        "shutdown_grace": _IN_PLACE,
        "resolver": _RESTART,
        "overload": _IN_PLACE,
        "log": _IN_PLACE,
        "access_log": _IN_PLACE,
        "debug_clients": _NEW_CONNECTIONS,
        "admin": _RESTART,
        "frontends": _NEW_LISTENER,
        "pools": _NEW_CONNECTIONS,
    },
    ResolverConfig: {
        "servers": _RESTART,
        "engine": _RESTART,
        "timeout": _RESTART,
        "min_ttl": _RESTART,
        "max_ttl": _RESTART,
        "hold": _RESTART,
        "hold_empty": _RESTART,
    },
    OverloadConfig: {
        "memory": _IN_PLACE,
        "descriptors": _IN_PLACE,
    },
    LogConfig: {
        "level": _IN_PLACE,
        "format": _IN_PLACE,
    },
    AccessLogConfig: {
        "path": _IN_PLACE,
        "format": _IN_PLACE,
    },
    AdminConfig: {
        "listen": _RESTART,
        "mode": _RESTART,
        "group": _RESTART,
        "token_file": _RESTART,
        "read_only_token_file": _RESTART,
        "hosts": _RESTART,
    },
    FrontendConfig: {
        "listen": _NEW_LISTENER,
        "listen_mode": _IN_PLACE,
        "listen_user": _IN_PLACE,
        "listen_group": _IN_PLACE,
        "mode": _NEW_CONNECTIONS,
        "pool": _NEW_CONNECTIONS,
        "accept_proxy_protocol": _NEW_CONNECTIONS,
        "preread_timeout": _NEW_CONNECTIONS,
        "tls": _NEW_CONNECTIONS,
        "sni_routes": _NEW_CONNECTIONS,
        "http": _NEW_REQUESTS,
        "forwarded": _NEW_REQUESTS,
        "routes": _NEW_REQUESTS,
        "connect": _NEW_REQUESTS,
        "error_pages": _NEW_REQUESTS,
        "backlog": _IN_PLACE,
        "access": _NEW_CONNECTIONS,
        "limits": _NEW_CONNECTIONS,
        "socket": _NEW_CONNECTIONS,
        "idle_timeout": _NEW_CONNECTIONS,
        "half_close_timeout": _NEW_CONNECTIONS,
        "max_connection_age": _NEW_CONNECTIONS,
    },
    SocketConfig: {
        "receive_buffer": _NEW_CONNECTIONS,
        "send_buffer": _NEW_CONNECTIONS,
        "max_segment": _NEW_CONNECTIONS,
        "window_clamp": _NEW_CONNECTIONS,
        "keepalive": _NEW_CONNECTIONS,
        "user_timeout": _NEW_CONNECTIONS,
        "fast_open": _NEW_CONNECTIONS,
        "congestion": _NEW_CONNECTIONS,
    },
    FrontendTlsConfig: {
        "certificates": _NEW_CONNECTIONS,
        "minimum_version": _NEW_CONNECTIONS,
        "alpn": _NEW_CONNECTIONS,
        "client_ca": _NEW_CONNECTIONS,
        "client_crl": _NEW_CONNECTIONS,
    },
    CertificateConfig: {
        "cert": _NEW_CONNECTIONS,
        "key": _NEW_CONNECTIONS,
    },
    RouteConfig: {
        "names": _NEW_CONNECTIONS,
        "pool": _NEW_CONNECTIONS,
    },
    HttpConfig: {
        "head_timeout": _NEW_REQUESTS,
        "body_timeout": _NEW_REQUESTS,
        "body_min_rate": _NEW_REQUESTS,
        "send_timeout": _NEW_REQUESTS,
        "send_min_rate": _NEW_REQUESTS,
        "keepalive_timeout": _NEW_REQUESTS,
        "keepalive_requests": _NEW_REQUESTS,
        "head_size": _NEW_REQUESTS,
        "head_lines": _NEW_REQUESTS,
        "body_size": _NEW_REQUESTS,
        "ambiguous_path": _NEW_REQUESTS,
        "server_header": _NEW_REQUESTS,
    },
    ForwardedConfig: {
        "trust": _NEW_REQUESTS,
        "read": _NEW_REQUESTS,
        "send": _NEW_REQUESTS,
    },
    ConnectConfig: {
        "allow": _NEW_REQUESTS,
        "private_networks": _NEW_REQUESTS,
        "clients": _NEW_REQUESTS,
        "users_file": _NEW_REQUESTS,
        "connect_timeout": _NEW_REQUESTS,
    },
    HttpRouteConfig: {
        "name": _NEW_REQUESTS,
        "hosts": _NEW_REQUESTS,
        "paths": _NEW_REQUESTS,
        "methods": _NEW_REQUESTS,
        "headers": _NEW_REQUESTS,
        "access": _NEW_REQUESTS,
        "pool": _NEW_REQUESTS,
        "pools": _NEW_REQUESTS,
        "pools_by": _NEW_REQUESTS,
        "pools_cookie": _NEW_REQUESTS,
        "mirror": _NEW_REQUESTS,
        "redirect": _NEW_REQUESTS,
        "answer": _NEW_REQUESTS,
        "strip_prefix": _NEW_REQUESTS,
        "request_headers": _NEW_REQUESTS,
        "response_headers": _NEW_REQUESTS,
        "response_timeout": _NEW_REQUESTS,
        "stall_timeout": _NEW_REQUESTS,
        "body_timeout": _NEW_REQUESTS,
        "body_min_rate": _NEW_REQUESTS,
        "body_size": _NEW_REQUESTS,
        "upgrade": _NEW_REQUESTS,
    },
    RouteAccessConfig: {
        "allow": _NEW_REQUESTS,
        "deny": _NEW_REQUESTS,
    },
    CookieConfig: {
        "name": _NEW_REQUESTS,
        "secure": _NEW_REQUESTS,
        "same_site": _NEW_REQUESTS,
        "ttl": _NEW_REQUESTS,
    },
    RedirectConfig: {
        "to": _NEW_REQUESTS,
        "status": _NEW_REQUESTS,
    },
    AnswerConfig: {
        "status": _NEW_REQUESTS,
        "file": _NEW_REQUESTS,
    },
    RequestHeadersConfig: {
        "set": _NEW_REQUESTS,
        "remove": _NEW_REQUESTS,
    },
    ResponseHeadersConfig: {
        "set": _NEW_REQUESTS,
        "remove": _NEW_REQUESTS,
    },
    AccessConfig: {
        "allow": _NEW_CONNECTIONS,
        "deny": _NEW_CONNECTIONS,
        "deny_file": _NEW_CONNECTIONS,
        "dry_run": _NEW_CONNECTIONS,
    },
    LimitsConfig: {
        "connections": _NEW_CONNECTIONS,
        "connections_per_client": _NEW_CONNECTIONS,
        "connect_rate_per_client": _NEW_CONNECTIONS,
        "burst_per_client": _NEW_CONNECTIONS,
        "max_requests": _NEW_REQUESTS,
        "requests_per_client": _NEW_REQUESTS,
        "request_burst_per_client": _NEW_REQUESTS,
        "bandwidth_per_connection": _NEW_CONNECTIONS,
        "min_rate": _NEW_CONNECTIONS,
        "ban_after": _NEW_CONNECTIONS,
        "ban_window": _NEW_CONNECTIONS,
        "ban_for": _NEW_CONNECTIONS,
        "dry_run": _NEW_CONNECTIONS,
    },
    PoolConfig: {
        "backends": _IN_PLACE,
        "balance": _IN_PLACE,
        "bounded_load": _IN_PLACE,
        "panic_threshold": _IN_PLACE,
        "connect_timeout": _NEW_CONNECTIONS,
        "dial_timeout": _NEW_CONNECTIONS,
        "retries": _NEW_CONNECTIONS,
        "retry_on": _NEW_CONNECTIONS,
        "queue": _IN_PLACE,
        "queue_timeout": _NEW_CONNECTIONS,
        "slow_start": _IN_PLACE,
        "drain_timeout": _IN_PLACE,
        "send_proxy_protocol": _NEW_CONNECTIONS,
        "pass_tlvs": _NEW_CONNECTIONS,
        "tls": _NEW_CONNECTIONS,
        "http": _NEW_REQUESTS,
        "affinity": _IN_PLACE,
        "health": _IN_PLACE,
        "outlier": _IN_PLACE,
        "rebalance": _IN_PLACE,
    },
    BackendConfig: {
        "address": _NEW_CONNECTIONS,
        "name": _NEW_CONNECTIONS,
        "weight": _IN_PLACE,
        "max_connections": _IN_PLACE,
        "backup": _IN_PLACE,
        "server_name": _IN_PLACE,
        "state": _IN_PLACE,
    },
    PoolTlsConfig: {
        "verify": _NEW_CONNECTIONS,
        "ca": _NEW_CONNECTIONS,
        "crl": _NEW_CONNECTIONS,
        "server_name": _NEW_CONNECTIONS,
        "certificate": _NEW_CONNECTIONS,
    },
    PoolHttpConfig: {
        "host": _NEW_REQUESTS,
        "idle": _NEW_REQUESTS,
        "idle_connections": _NEW_REQUESTS,
        "response_timeout": _NEW_REQUESTS,
        "stall_timeout": _NEW_REQUESTS,
        "response_head_size": _NEW_REQUESTS,
        "retry_on": _NEW_REQUESTS,
    },
    AffinityConfig: {
        "by": _IN_PLACE,
        "cookie": _IN_PLACE,
        "ttl": _IN_PLACE,
        "max_entries": _IN_PLACE,
        "ipv4_prefix": _IN_PLACE,
        "ipv6_prefix": _IN_PLACE,
        "state_file": _IN_PLACE,
    },
    AffinityCookieConfig: {
        "name": _NEW_REQUESTS,
        "secure": _NEW_REQUESTS,
        "same_site": _NEW_REQUESTS,
        "ttl": _NEW_REQUESTS,
        "secret": _NEW_REQUESTS,
    },
    HealthConfig: {
        "check": _IN_PLACE,
        "interval": _IN_PLACE,
        "timeout": _IN_PLACE,
        "rise": _IN_PLACE,
        "fall": _IN_PLACE,
        "initial": _IN_PLACE,
        "down_interval": _IN_PLACE,
        "on_down": _IN_PLACE,
        "port": _IN_PLACE,
        "address": _IN_PLACE,
        "send_proxy_protocol": _IN_PLACE,
        "probe": _IN_PLACE,
    },
    OutlierConfig: {
        "consecutive_failures": _IN_PLACE,
        "statuses": _IN_PLACE,
        "eject_for": _IN_PLACE,
        "max_ejected": _IN_PLACE,
        "slow_factor": _IN_PLACE,
    },
    RebalanceConfig: {
        "rate": _IN_PLACE,
        "idle_for": _IN_PLACE,
    },
}
"""By the class of a table, and the key. A table that is added or removed has the row of its own key in the
table above it; the keys of a probe have the row ``probe``."""

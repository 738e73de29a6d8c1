"""Who takes part: each proxy in a module of its own."""

from __future__ import annotations

from bench.contestants.envoy import Envoy
from bench.contestants.haproxy import HAProxy
from bench.contestants.nginx import Nginx
from bench.contestants.proxy import Proxy, Terminator
from bench.contestants.tcpbalance import Tcpbalance

DIRECT = "direct"
"""No proxy: what clients, backends and the machine could do at most."""

PROXIES: dict[str, Proxy] = {
    "tcpbalance": Tcpbalance("auto"),
    "portable": Tcpbalance("portable"),
    "haproxy": HAProxy(),
    "nginx": Nginx(),
    "envoy": Envoy(),
}

TERMINATORS: dict[str, Terminator] = {
    "tcpbalance": Tcpbalance("auto"),
    "haproxy": HAProxy(),
    "nginx": Nginx(),
}
"""Those that are measured when they terminate TLS, too."""

HTTP_PROXIES: dict[str, Proxy] = dict(TERMINATORS)
"""Those that are measured when they serve requests, too."""

HTTP_PEERS = ("haproxy", "nginx")
"""The others of them, that the targets speak of."""

PEERS = ("haproxy", "nginx", "envoy")
"""The others, that the targets speak of."""

TITLES = {
    "tcpbalance": "tcpbalance",
    "portable": "portable data path",
    "haproxy": "HAProxy",
    "nginx": "nginx",
    "envoy": "Envoy",
    DIRECT: "no proxy",
}
"""What tables call them, in the order of their turns."""

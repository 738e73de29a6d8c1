"""HAProxy, with one thread unless asked for more, with splice where it pays; TLS as it comes."""

from __future__ import annotations

import re

from attrs import frozen

from bench import programs
from bench.contestants.proxy import (
    BACKLOG,
    CONNECTIONS,
    CONNECTIONS_PER_CLIENT,
    CONNECTS_PER_CLIENT,
    CONNECTS_SECONDS,
    HEALTH_SECONDS,
    Place,
)

# Standard output goes to a file: HAProxy opens no log files itself.
_CONFIG = """
global
    nbthread {workers}
    maxconn {connections}
    log stdout format raw local0

defaults
    mode {mode}
    log global
    option {mode}log
    option splice-auto
    timeout connect 3s
    timeout client 1h
    timeout server 1h

frontend clients
    bind 127.0.0.1:{port} backlog {backlog}{ssl}
    default_backend web
{limits}
backend web
    balance random(2)
    stick-table type ip size 100k expire 30m
    stick on src
    option httpchk GET /health
    default-server check inter {health}s rise 2 fall 3
{backends}
"""

_LIMITS = f"""\
    stick-table type ip size 100k expire 1m store conn_cur,conn_rate({CONNECTS_SECONDS}s)
    tcp-request connection track-sc0 src
    tcp-request connection reject if {{ sc_conn_cur(0) gt {CONNECTIONS_PER_CLIENT} }}
    tcp-request connection reject if {{ sc_conn_rate(0) gt {CONNECTS_PER_CLIENT} }}
"""

_OPENSSL = re.compile(r"(?<=Running on OpenSSL version : )OpenSSL [\w.]+")


@frozen
class HAProxy:
    """One process of HAProxy."""

    def version(self) -> str:
        """Give the version that is installed."""
        return programs.version([programs.path_of("haproxy"), "-v"])

    def tls_library(self) -> str:
        """Give the version of OpenSSL that it runs on."""
        return programs.version([programs.path_of("haproxy"), "-vv"], _OPENSSL)

    def command(self, place: Place) -> list[str]:
        """Write its configuration and give its command."""
        backends = [f"    server b{port} 127.0.0.1:{port}" for port in place.backends]
        config = place.write(
            "haproxy.cfg",
            _CONFIG.format(
                mode="http" if place.http else "tcp",
                workers=place.workers,
                connections=CONNECTIONS,
                port=place.port,
                backlog=BACKLOG,
                ssl=f" ssl crt {place.certificate}" if place.certificate else "",
                limits=_LIMITS if place.limits else "",
                health=HEALTH_SECONDS,
                backends="\n".join(backends),
            ),
        )
        return [programs.path_of("haproxy"), "-db", "-f", f"{config}"]

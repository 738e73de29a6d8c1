"""tcpbalance as users run it: `twistd`, with affinity, health checks and an access log."""

from __future__ import annotations

import sysconfig
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from attrs import frozen
from OpenSSL import SSL

from bench.contestants.proxy import (
    BACKLOG,
    CONNECTIONS_PER_CLIENT,
    CONNECTS_PER_CLIENT,
    HEALTH_SECONDS,
    Place,
)

_CONFIG = """
data_path = "{data_path}"
shutdown_grace = "1s"
workers = {workers}

[access_log]
path = "{access_log}"

[frontends.web]
listen = "127.0.0.1:{port}"
mode = "{mode}"
pool = "web"
backlog = {backlog}
{tls}{limits}
[pools.web]
balance = "power_of_two_choices"
backends = [{backends}]

[pools.web.affinity]
by = "source_ip"

[pools.web.health]
check = "http"
path = "/health"
interval = "{health}s"
"""

_TLS = """
[frontends.web.tls]
certificates = [{{ cert = "{file}" }}]
"""

_LIMITS = f"""
[frontends.web.limits]
connections_per_client = {CONNECTIONS_PER_CLIENT}
connect_rate_per_client = "1/s"
burst_per_client = {CONNECTS_PER_CLIENT}
"""


@frozen
class Tcpbalance:
    """One process of tcpbalance.

    :param data_path: the data path.
    """

    data_path: Literal["auto", "portable"]

    def version(self) -> str:
        """Give the version that is installed beside us, with that of Twisted."""
        return f"{version('tcpbalance')} on Twisted {version('Twisted')}"

    def tls_library(self) -> str:
        """Give the version of OpenSSL that it runs on."""
        return " ".join(SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode().split()[:2])

    def command(self, place: Place) -> list[str]:
        """Write its configuration and give its command."""
        config = place.write(
            "tcpbalance.toml",
            _CONFIG.format(
                data_path=self.data_path,
                mode="http" if place.http else "tcp",
                workers=place.workers,
                access_log=place.access_log,
                port=place.port,
                backlog=BACKLOG,
                tls=_TLS.format(file=place.certificate) if place.certificate else "",
                limits=_LIMITS if place.limits else "",
                backends=", ".join(f'"127.0.0.1:{port}"' for port in place.backends),
                health=HEALTH_SECONDS,
            ),
        )
        twistd = Path(sysconfig.get_path("scripts")) / "twistd"
        return [f"{twistd}", "-n", "--pidfile=", "tcpbalance", "--config", f"{config}"]

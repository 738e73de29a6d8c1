"""Configurations to load, and probes to load them with that need no reactor."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from attrs import field, frozen
from attrs.validators import min_len

from tcpbalance.config.errors import ConfigError, Problem
from tcpbalance.config.loader import load
from tcpbalance.config.models import Config

POLICIES = ("round_robin", "least_connections", "power_of_two_choices", "peak_ewma", "random", "source_hash")

SMALLEST = """\
[frontends.db]
listen = "0.0.0.0:5432"
pool = "db"

[pools.db]
backends = ["10.0.0.11:5432", "10.0.0.12:5432"]
"""

WEB = """
[access_log]
path = "access.log"
format = "json"

[frontends.web]
listen = ["127.0.0.1:0", "unix:web.sock"]
pool = "web"

[pools.web]
backends = ["{backend}"]
"""
"""What scenarios run; `backend` is to be filled in."""

EVERYTHING = """\
data_path = "auto"
shutdown_grace = "30s"
log = { level = "warn", format = "json" }
[access_log]
path = "-"
format = "text"

[frontends.web]
listen = ["0.0.0.0:443", "[::]:443"]
mode = "tcp"
pool = "web"
accept_proxy_protocol = ["10.0.0.0/8", "2001:db8::/32"]
preread_timeout = "5s"
backlog = 4096
idle_timeout = "1h"
half_close_timeout = "30s"
max_connection_age = "12h"

[frontends.web.access]
allow = ["10.0.0.0/8", "2001:db8::/32"]
deny = ["10.9.9.0/24"]
deny_file = "banned.txt"
dry_run = true

[frontends.web.limits]
connections = 10000
connections_per_client = 100
connect_rate_per_client = "50/s"
burst_per_client = 100
bandwidth_per_connection = "10MiB/s"
min_rate = "100B/s"
ban_after = 20
ban_window = "10s"
ban_for = "10m"
dry_run = true

[[frontends.web.sni_routes]]
names = ["api.example.com", "*.static.example.com"]
pool = "web"

[frontends.secure]
listen = "0.0.0.0:8443"
pool = "web"

[frontends.secure.tls]
certificates = [{ cert = "web.pem", key = "web.key" }, { cert = "/etc/tcpbalance/both.pem" }]
minimum_version = "1.3"
alpn = ["h2", "http/1.1"]
client_ca = "clients.pem"
client_crl = "revoked.pem"

[frontends.web.socket]
receive_buffer = "256KiB"
send_buffer = "256KiB"
max_segment = 1400
window_clamp = "512KiB"
keepalive = "60s"
user_timeout = "30s"
fast_open = 256
congestion = "bbr"

[pools.web]
balance = "source_hash"
bounded_load = 1.25
panic_threshold = "0%"
connect_timeout = "3s"
dial_timeout = "15s"
retries = 2
retry_on = ["connect_failed", "reset_before_answer"]
send_proxy_protocol = "v2"
pass_tlvs = ["authority", 0xE4]
backends = [
  "10.0.0.11:443",
  { name = "b", address = "10.0.0.12:443", weight = 2, max_connections = 500, backup = false },
  { address = "10.0.0.13:443", server_name = "c.internal" },
]

[pools.web.tls]
verify = true
ca = "internal.pem"
crl = "internal-revoked.pem"
server_name = "web.internal"
certificate = { cert = "edge.pem", key = "edge.key" }

[pools.web.affinity]
by = "source_ip"
ttl = "30m"
max_entries = 100000
ipv4_prefix = 32
ipv6_prefix = 64
state_file = "web.affinity"

[pools.web.health]
check = "tcp"
interval = "2s"
timeout = "1s"
rise = 2
fall = 3
initial = "checked"
down_interval = "5s"
on_down = "keep"

[overload]
memory = "512MiB"
descriptors = "90%"
"""


def frontend(keys: str) -> str:
    """Give the smallest configuration with more keys in its frontend."""
    return SMALLEST.replace('pool = "db"\n', f'pool = "db"\n{keys}\n')


def pool(keys: str) -> str:
    """Give the smallest configuration with more keys in its pool."""
    return f"{SMALLEST}{keys}\n"


def backends(written: str) -> str:
    """Give the smallest configuration with other backends."""
    return SMALLEST.replace('["10.0.0.11:5432", "10.0.0.12:5432"]', written)


@frozen
class TcpProbe:
    """Has no keys."""


@frozen
class Port:
    """A type of a third party's that reads itself."""

    words: ClassVar[str] = "port"

    number: int

    @classmethod
    def parse(cls, value: object) -> Port:
        """Read a port written as `"port 5"`."""
        if not isinstance(value, str) or not value.startswith("port "):
            raise ValueError("must be a port such as 'port 5'")
        return cls(int(value.removeprefix("port ")))


@frozen
class Nested:
    """A table inside a probe's."""

    depth: int = 0


@frozen
class FullProbe:
    """Has a key of every type that can be read."""

    text: str = field(validator=min_len(1), metadata={"doc": "A text."})
    argv: tuple[str, ...] = ()
    number: int = 1
    real: float = 1.0
    flag: bool = False
    maybe: str | None = None
    choice: Literal["a", "b"] = "a"
    port: Port = Port(80)  # frozen
    nested: Nested = Nested()  # frozen


PROBES: dict[str, type] = {"tcp": TcpProbe, "full": FullProbe}


def load_text(folder: Path, text: str | bytes, probes: dict[str, type] | None = None) -> Config:
    """Load a configuration from a file made for it."""
    file = folder / "tcpbalance.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(file, policies=POLICIES, probes=PROBES if probes is None else probes)


def problems(folder: Path, text: str | bytes, probes: dict[str, type] | None = None) -> list[str]:
    """Give the lines that a configuration is refused with, without the name of the file."""
    prefix = f"{folder}/tcpbalance.toml:"
    lines = [str(problem) for problem in _refused(folder, text, probes)]
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix) for line in lines]


def _refused(folder: Path, text: str | bytes, probes: dict[str, type] | None) -> tuple[Problem, ...]:
    try:
        load_text(folder, text, probes)
    except ConfigError as error:
        return error.problems
    return ()

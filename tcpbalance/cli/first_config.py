"""The text of a first configuration, with comments, and whether a balancer takes it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tcpbalance.config.addresses import Address
from tcpbalance.config.errors import ConfigError, Problem
from tcpbalance.config_reader import read_config
from tcpbalance.errors import SettingError

_ADMIN_PORT = 9000

_ALL_IPV4 = "0.0.0.0"  # noqa: S104  # what `:443` usually means

_TEXT = """\
# A first configuration. `tcpbalance check FILE` finds mistakes in it, `tcpbalance run FILE` runs it.
# While it runs, `tcpbalance status --config FILE` shows its state, and SIGHUP has it read this file again.

# Where clients connect, and the servers that they get.
[frontends.main]
listen = {listen}
pool = "main"
# A session without a byte in either direction for so long is ended.
idle_timeout = "5m"
{tls}
# The servers.
[pools.main]
backends = [
{backends}]
# Which of them a new client gets: here the one with the fewest connections for its weight.
balance = "least_connections"
# How long a server may take to accept a connection; then another one is tried.
connect_timeout = "5s"

# Each server is checked; one that fails gets no clients until it works again.
[pools.main.health]
check = "tcp"
interval = "5s"

# The API behind `tcpbalance status`, `drain` and so on. All users of this machine may use it; with
# listen = "unix:/run/tcpbalance/admin.sock" only those with permission to write to that socket.
[admin]
listen = "127.0.0.1:{admin_port}"

# One line for each session.
# [access_log]
# path = "/var/log/tcpbalance/access.log"
"""

_TLS = """
# The balancer has the certificate; the servers get plain text.
[frontends.main.tls]
certificates = [{{ cert = {cert}, key = {key} }}]
"""


class FirstConfig(NamedTuple):
    """What is in it.

    :ivar listen: addresses.
    :ivar backends: addresses.
    :ivar tls: the files of the certificate and its key; empty for none.
    """

    listen: Sequence[str]
    backends: Sequence[str]
    tls: Sequence[str] = ()


def listen_address(text: str) -> str:
    """Read an address to listen on; without a host, all addresses of IPv4 are meant.

    :raises SettingError: it is none.
    """
    return _with_absolute_path(Address.parse(f"{_ALL_IPV4}{text}" if text.startswith(":") else text))


def backend_address(text: str) -> str:
    """Read an address to connect to.

    :raises SettingError: it is none.
    """
    if text.startswith(":"):
        text = f"127.0.0.1{text}"
    address = Address.parse(text)
    if address.port == 0:
        raise SettingError(f"a server has no port 0, got {text}")
    return _with_absolute_path(address)


def _with_absolute_path(address: Address) -> str:
    """Take a unix socket from the folder of now: the configuration may stand in another one."""
    return str(address.under(Path.cwd()))


def text_of(config: FirstConfig) -> str:
    """Write the configuration."""
    tls = ""
    if config.tls:
        cert, key = (_quoted(os.path.abspath(file)) for file in config.tls)
        tls = _TLS.format(cert=cert, key=key)
    listen = [_quoted(address) for address in config.listen]
    return _TEXT.format(
        listen=listen[0] if len(listen) == 1 else f"[{', '.join(listen)}]",
        tls=tls,
        backends="".join(f"  {_quoted(address)},\n" for address in config.backends),
        admin_port=_free_admin_port(config.listen),
    )


def _free_admin_port(listen: Iterable[str]) -> int:
    """Choose a port that no frontend has."""
    taken = {Address.parse(text).port for text in listen}
    return next(port for port in range(_ADMIN_PORT, _ADMIN_PORT + len(taken) + 1) if port not in taken)


def _quoted(text: str) -> str:
    # TOML's basic strings take what JSON's are, if nothing beyond the basic plane is escaped.
    return json.dumps(text, ensure_ascii=False)


def mistakes_in(text: str, name: str) -> list[str]:
    """Give what a balancer would report, a line each.

    :param name: for the file that it is to be.
    """
    problems: list[Problem] = []
    with tempfile.TemporaryDirectory(prefix="tcpbalance-") as folder:
        file = Path(folder, "tcpbalance.toml")
        file.write_text(text, encoding="utf-8")
        try:
            read_config(file, problems.append)
        except ConfigError as error:
            lines = str(error).splitlines()
        else:
            lines = [str(problem) for problem in problems]
    return [line.replace(f"{file}:", f"{name}:") for line in lines]

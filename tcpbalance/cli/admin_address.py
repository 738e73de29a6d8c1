"""Where the admin side is: as arguments or the environment say, or where it usually is on this machine."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tcpbalance.cli.command_error import UNREACHABLE, CommandError

USUAL_SOCKET = Path("/run/tcpbalance/admin.sock")
USUAL_CONFIG = Path("/etc/tcpbalance/tcpbalance.toml")

ADMIN_VARIABLE = "TCPBALANCE_ADMIN"
TOKEN_VARIABLE = "TCPBALANCE_TOKEN_FILE"  # noqa: S105  # the name of a variable

REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing is bound
"""Addresses that are listened on, and what to connect to then."""


class AdminAddress(NamedTuple):
    """Where to connect to, and with what.

    :ivar text: for messages.
    :ivar host: a name or an IP address without brackets; empty for a unix socket.
    :ivar port: of TCP.
    :ivar path: of a unix socket, empty for TCP.
    :ivar tls: whether TLS is used.
    :ivar token_file: whose token each request brings; None for none.
    """

    text: str
    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False
    token_file: Path | None = None


def find_admin(
    admin: str | None, config: str | None, token_file: str | None, environment: Mapping[str, str] = os.environ
) -> AdminAddress:
    """Find the admin side: as ``admin`` says, else ``config``, else the environment, else the usual places.

    :param admin: a URL, an address or the path of a socket.
    :param config: a configuration file with a table ``[admin]``.
    :param token_file: overrides that of the environment and of the configuration.
    :raises CommandError: what is given makes no sense, or there is nothing at the usual places.
    """
    found = _found(admin, config, environment)
    token = token_file or environment.get(TOKEN_VARIABLE)
    return found if not token else found._replace(token_file=Path(token))


def _found(admin: str | None, config: str | None, environment: Mapping[str, str]) -> AdminAddress:
    if admin is not None:
        return parse_admin(admin, "--admin")
    if config is not None:
        return admin_of_config(Path(config))
    if environment.get(ADMIN_VARIABLE):
        return parse_admin(environment[ADMIN_VARIABLE], ADMIN_VARIABLE)
    if _is_socket(USUAL_SOCKET):
        return AdminAddress(f"unix:{USUAL_SOCKET}", path=str(USUAL_SOCKET))
    if not USUAL_CONFIG.exists():
        raise CommandError(
            f"no admin side found: there is no socket {USUAL_SOCKET}, and no {USUAL_CONFIG} with [admin]; "
            f"say where it is with --admin, --config or {ADMIN_VARIABLE}",
            UNREACHABLE,
        )
    return admin_of_config(USUAL_CONFIG)


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError as error:
        # Where the folder cannot be entered, there may be one, and connecting to it says why it fails.
        return error.errno == errno.EACCES


def parse_admin(text: str, source: str) -> AdminAddress:
    """Read ``http://HOST:PORT``, ``https://HOST[:PORT]``, ``HOST:PORT``, ``unix:PATH`` or ``/PATH``.

    :param source: where it comes from, for messages.
    :raises CommandError: it is none of these.
    """
    if text.startswith(("unix:", "/", "./")):
        path = text.removeprefix("unix:")
        return AdminAddress(f"unix:{path}", path=path)
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    else:
        port = port or (443 if parts.scheme == "https" else None)
    if not host or not port or parts.scheme not in ("http", "https") or parts.path.strip("/"):
        raise CommandError(
            f'{source}: must be like "http://127.0.0.1:9000", "127.0.0.1:9000" or "unix:/run/admin.sock", '
            f"got {text!r}"
        )
    return AdminAddress(parts.netloc, host=host, port=port, tls=parts.scheme == "https")


def admin_of_config(file: Path) -> AdminAddress:
    """Read where the admin side is from the configuration of the balancer; nothing else of it is looked at.

    :raises CommandError: it cannot be read, or says nothing of an admin side.
    """
    table = _admin_table(file)
    listen = table.get("listen")
    if not isinstance(listen, str):
        raise CommandError(f"{file}: has no [admin] with listen: this balancer has no admin side")
    address = parse_admin(_absolute(listen, file.parent), f"{file}: admin.listen")
    host = REACHED_AT.get(address.host, address.host)
    return address._replace(host=host, token_file=_token_file(table, file))


def _admin_table(file: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        table = tomllib.loads(file.read_text()).get("admin")
    except OSError as error:
        raise CommandError(f"{file}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CommandError(f"{file}: {error}") from error
    return table if isinstance(table, dict) else {}


def _absolute(listen: str, folder: Path) -> str:
    return f"unix:{folder / listen.removeprefix('unix:')}" if listen.startswith("unix:") else listen


def _token_file(table: Mapping[str, Any], file: Path) -> Path | None:
    """Choose the token for everything, and where this user may not read it, the other one."""
    keys = [key for key in ("token_file", "read_only_token_file") if key in table]
    for key in keys:
        if not isinstance(table[key], str):
            raise CommandError(f"{file}: admin.{key}: must be a string, got {table[key]!r}")
    files = [file.parent / table[key] for key in keys]
    readable = [path for path in files if os.access(path, os.R_OK)]
    return next(iter([*readable, *files]), None)

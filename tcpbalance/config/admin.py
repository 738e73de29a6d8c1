"""What an operator can write about the admin side: where it listens, and what may use it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import attrs
from attrs import field, frozen

from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import NOT_AN_ENDPOINT, Address, HostName
from tcpbalance.config.errors import InvalidValue
from tcpbalance.config.messages import value_text
from tcpbalance.config.metadata import doc
from tcpbalance.config.paths import FileMode, FilePath, GroupName
from tcpbalance.config.strict import strict

ADMIN_SOCKET_MODE = FileMode(0o600)
"""Of the unix socket, where the configuration names no other."""


def _reachable_by_its_users_only(admin: Any, key: attrs.Attribute[Any], listen: Address) -> None:
    if listen.is_endpoint:
        raise InvalidValue(key.name, f"{NOT_AN_ENDPOINT}, got {value_text(str(listen))}")
    if admin.token_file is None and not is_local(listen):
        raise InvalidValue(
            key.name,
            "without token_file, must be a loopback address such as 127.0.0.1:9000 or a unix socket, got "
            f"{value_text(str(listen))}",
        )


def is_local(address: Address) -> bool:
    """Whether an address cannot be reached from other machines."""
    return address.is_unix or (address.is_numeric and ip_address(str(address.host)).is_loopback)


def _on_a_unix_socket(admin: Any, key: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not admin.listen.is_unix:
        raise InvalidValue(key.name, "has no effect without a unix socket in listen")


@frozen(kw_only=True, field_transformer=strict)
class AdminConfig:
    """`[admin]`: an HTTP server to look at the balancer and to steer it; without this table there is none."""

    listen: Address = field(
        converter=plain.address,
        validator=_reachable_by_its_users_only,
        metadata=doc(
            "Where the admin side is: one IP address and port, or a unix socket. Without `token_file`, only "
            "a loopback address or a unix socket.",
            example='"127.0.0.1:9000"',
        ),
    )
    mode: FileMode | None = field(
        default=None,
        validator=_on_a_unix_socket,
        metadata=doc(
            "Permissions of the unix socket, in octal. A process with write permission may use the admin "
            'side. Absent: `"0600"`.'
        ),
    )
    group: GroupName | None = field(
        default=None,
        validator=_on_a_unix_socket,
        metadata=doc("Group of the unix socket."),
    )
    token_file: FilePath | None = field(
        default=None,
        metadata=doc(
            "File with the token that each request must bring (`Authorization: Bearer TOKEN`): one line, at "
            "least 16 characters. Read again when it changes. Absent: no token is needed."
        ),
    )
    read_only_token_file: FilePath | None = field(
        default=None,
        validator=checks.needs("token_file"),
        metadata=doc("Likewise, a token that may look and change nothing."),
    )
    hosts: tuple[HostName, ...] = field(
        default=(),
        metadata=doc(
            "Names by which the admin side is asked for, besides `localhost` and IP addresses. A request "
            "for any other `Host` is refused: a web page must not reach it by a name of its own.",
            example='["lb.internal"]',
        ),
    )

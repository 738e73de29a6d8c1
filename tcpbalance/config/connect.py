"""What an operator can write about CONNECT: where clients of a frontend may have tunnels to, and which."""

from __future__ import annotations

from attrs import converters, field, frozen

from tcpbalance.config import checks, plain
from tcpbalance.config.addresses import Network
from tcpbalance.config.destinations import Destination
from tcpbalance.config.metadata import doc
from tcpbalance.config.paths import FilePath
from tcpbalance.config.quantities import Duration
from tcpbalance.config.strict import strict


@frozen(kw_only=True, field_transformer=strict)
class ConnectConfig:
    """`[frontends.NAME.connect]`: a forward proxy, whose clients get connections to what they name."""

    allow: tuple[Destination, ...] = field(
        converter=plain.destinations,
        validator=checks.not_empty("destination"),
        metadata=doc(
            'Where tunnels may lead, each with its port: a name such as `"www.example.com:443"`, all names '
            'below one such as `"*.example.com:443"`, addresses such as `"192.0.2.7:22"` or '
            '`"[2001:db8::/32]:443"`, or `"*:443"` for all names and all public addresses. Everything else '
            "gets 403.",
            example='["www.example.com:443"]',
        ),
    )
    private_networks: tuple[Network, ...] = field(
        default=(),
        converter=plain.networks,
        metadata=doc(
            "Private networks in which allowed names may have addresses. A name may lead to public addresses "
            "only, unless the address is in one of these, or in `allow` with its port. Addresses of this "
            "machine, loopback, link-local and all that are not public count as private.",
            default="none",
        ),
    )
    clients: tuple[Network, ...] = field(
        default=(),
        converter=plain.networks,
        metadata=doc(
            "Networks whose clients may have tunnels; others get 403.",
            default="all clients of the frontend",
        ),
    )
    users_file: FilePath | None = field(
        default=None,
        converter=converters.optional(FilePath),
        metadata=doc(
            "File of users and bcrypt hashes of their passwords, as `htpasswd -B` writes it. Clients must "
            "send one of them in `Proxy-Authorization` (Basic), or get 407. With `clients`, both are needed. "
            "It is read again when it changes. Needs the extra `tcpbalance[passwords]`."
        ),
    )
    connect_timeout: Duration = field(
        default=Duration(10),
        converter=plain.duration,
        validator=checks.longer_than_zero,
        metadata=doc(
            "Time limit from the request to the connection with its destination, for the password, the name "
            "lookup and all addresses together. Afterwards the client gets 504."
        ),
    )

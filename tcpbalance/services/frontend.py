"""A frontend as it is described: addresses, pools, and what holds for its clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen

from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.users_file import UsersFile
from tcpbalance.config.addresses import Address
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.config.checks import refuse_name, refuse_others
from tcpbalance.config.draft import checked
from tcpbalance.config.frontends import BACKLOG, FrontendConfig, SocketConfig, TimeoutsConfig
from tcpbalance.errors import SettingError
from tcpbalance.net.socket_file import SocketFile
from tcpbalance.pool.pool import Pool
from tcpbalance.proxy.preread_settings import PrereadSettings
from tcpbalance.services.listen import ListensOn, listens_on

if TYPE_CHECKING:
    from tcpbalance.http.routes import Routes
    from tcpbalance.http.settings import HttpSettings


def _name(_: Frontend, key: attrs.Attribute[Any], name: object) -> None:
    refuse_name("frontend", name)


def _of(kind: type, *, optional: bool = False) -> Callable[[Frontend, attrs.Attribute[Any], object], None]:
    """Allow objects of one class only."""

    def check(frontend: Frontend, key: attrs.Attribute[Any], value: object) -> None:
        refuse_others(f"frontend {frontend.name}", key.name, value, kind, optional=optional)

    return check


@frozen
class Frontend:
    """What clients connect to: addresses, and the pool behind them.

    :param name: what logs call it.
    :param listen: one of these, or several: an address such as ``"0.0.0.0:8080"``, ``"[::]:8080"`` or
        ``"unix:/run/web.sock"``, where port 0 lets the kernel choose; the description of an endpoint of
        Twisted's such as ``"tcp:8080:interface=127.0.0.1"``; an ``IStreamServerEndpoint``. A str is a
        description where it begins with the kind of an endpoint (``tcp:``, ``ssl:``, ``systemd:``...), or has
        options that only a description of a unix socket has, or is no address and begins with the kind that
        a plugin brings; else it is an address.
    :param pool: where its clients are served; None where each has to ask for a route to another.
    :param timeouts: how long sessions may last.
    :param limits: how many sessions there may be, of all clients and of each, and how fast.
    :param access: which clients are admitted, by their address; None for all.
    :param backlog: connections that the kernel may hold ready to be accepted; an endpoint has its own.
    :param socket: options of the sockets that listen on addresses, and of those to the backends.
    :param preread: what clients send before a backend is chosen; None for nothing.
    :param admission: decides which clients are admitted in the place of *access*, which is left out then, and
        of the limits on each client.
    :param socket_file: mode and owner of its unix sockets.
    :param http: what holds for requests of HTTP; None where connections are served as streams of bytes.
    :param routes: where requests go, those that belong to no route among them.
    :raises SettingError: for no address, one that cannot be listened on, a backlog of nothing or without an
        address, a socket file without a unix socket, *admission* together with *access* or no pool at all.
    """

    name: str = field(validator=_name)
    listen: tuple[ListensOn, ...] = field(converter=listens_on)
    pool: Pool | None = field(validator=_of(Pool, optional=True))
    timeouts: TimeoutsConfig = field(factory=TimeoutsConfig, validator=_of(TimeoutsConfig))
    limits: LimitsConfig = field(factory=LimitsConfig, validator=_of(LimitsConfig))
    access: AccessConfig | None = field(default=None, validator=_of(AccessConfig, optional=True))
    backlog: int = BACKLOG
    socket: SocketConfig = field(default=SocketConfig(), validator=_of(SocketConfig))
    preread: PrereadSettings | None = None
    socket_file: SocketFile = SocketFile()
    admission: AdmissionControl | None = None
    http: HttpSettings | None = None
    routes: Routes | None = None

    def __attrs_post_init__(self) -> None:
        checked(f"frontend {self.name}", FrontendConfig, backlog=self.backlog)
        if wrong := self._mistake():
            raise SettingError(f"frontend {self.name}: {wrong}")

    def _mistake(self) -> str | None:
        """Find what is wrong with it as a whole."""
        if not self.listen:
            return 'listen must have at least one address, such as "0.0.0.0:8080"'
        if self.backlog != BACKLOG and not self.addresses:
            return "backlog has no effect without an address in listen, give it to the endpoint"
        if self.socket_file != SocketFile() and not any(address.is_unix for address in self.addresses):
            return "socket_file has no effect without a unix socket in listen"
        if self.admission is not None and self.access is not None:
            return "access has no effect with admission, leave out one of them"
        if self.http is not None or self.routes is not None:
            return self._mistake_for_http()
        return None if self.pools else "must have a pool, or preread with routes to pools"

    def _mistake_for_http(self) -> str | None:
        if self.http is None:
            return "routes have no effect without http"
        if self.preread is not None and self.preread.routes is not None:
            return "preread with routes to pools has no effect with http, give routes with hosts"
        serves = self.http.connect is not None or (self.routes is not None and self.routes.routes)
        return None if serves else "must have routes with http"

    @property
    def addresses(self) -> tuple[Address, ...]:
        """What it listens on with sockets of our own."""
        return tuple(place for place in self.listen if isinstance(place, Address))

    @property
    def users(self) -> UsersFile | None:
        """The file of the users that may have tunnels; None without one."""
        return None if self.http is None or self.http.connect is None else self.http.connect.users

    @property
    def pools(self) -> tuple[Pool, ...]:
        """All pools that its clients can come to."""
        routed = () if self.preread is None or self.preread.routes is None else self.preread.routes.values()
        requested = () if self.routes is None else self.routes.pools
        return tuple(dict.fromkeys(pool for pool in (self.pool, *routed, *requested) if pool is not None))

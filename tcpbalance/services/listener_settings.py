"""What a frontend says about the sockets that it listens with."""

from __future__ import annotations

from attrs import field, frozen

from tcpbalance.config.frontends import SocketConfig
from tcpbalance.net.socket_file import SocketFile
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.services.frontend import Frontend


@frozen
class ListenerSettings:
    """What holds for the listening sockets of a frontend, at whatever address.

    :param backlog: connections that the kernel may hold ready to be accepted.
    :param socket: the table of their options.
    :param socket_file: mode and owner of unix sockets.
    :ivar options: the options as calls.
    """

    backlog: int
    socket: SocketConfig
    socket_file: SocketFile
    options: SocketOptions = field(init=False, eq=False)

    @options.default
    def _as_calls(self) -> SocketOptions:
        return SocketOptions.of(self.socket)

    @classmethod
    def of(cls, frontend: Frontend) -> ListenerSettings:
        """Give those of a frontend."""
        return cls(frontend.backlog, frontend.socket, frontend.socket_file)

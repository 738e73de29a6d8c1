"""What a client has to send before a backend is chosen: a PROXY header, and the server name that it wants.

Where TLS ends here, a handshake comes after the PROXY header. Else nothing is answered, and what the backend
is to read is kept for it: a ClientHello is looked at and passed on, byte for byte. Only a PROXY header is
taken out, which the backend gets anew where its pool says so.
"""

from __future__ import annotations

from attrs import field, frozen

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.config.draft import checked
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.errors import SettingError
from tcpbalance.net.addresses import packed_host
from tcpbalance.net.tls.facts import TlsFacts
from tcpbalance.net.tls.server import ServerTls
from tcpbalance.pool.pool import Pool
from tcpbalance.wire.client_hello import HelloError, HelloReader
from tcpbalance.wire.proxy_protocol import ProxyHeader, read_header
from tcpbalance.wire.server_names import NameMap


def _preread_timeout(seconds: float) -> float:
    return checked("preread", FrontendConfig, preread_timeout=seconds).preread_timeout


@frozen
class PrereadSettings:
    """What a frontend asks of its clients before it chooses a backend.

    :param proxies: peers that must open with a PROXY header; all others are served as they are.
    :param routes: pools by the server name of a ClientHello; None to look for none.
    :param timeout: seconds from the accept within which all that has to be said.
    :param tls: what clients speak TLS with; None where it does not end here.
    :raises SettingError: for a timeout that is not above 0 and finite, or both routes and TLS.
    """

    proxies: NetworkSet = field(factory=lambda: NetworkSet(()))
    routes: NameMap[Pool] | None = None
    timeout: float = field(default=5.0, converter=_preread_timeout)
    tls: ServerTls | None = None

    def __attrs_post_init__(self) -> None:
        if self.routes is not None and self.tls is not None:
            raise SettingError("preread: TLS that ends here cannot be passed through: give routes or tls")

    def expects_header(self, peer: object) -> bool:
        """Whether a peer has to open with a PROXY header."""
        return packed_host(peer) in self.proxies

    def begin(self, peer: object) -> Preread | None:
        """Begin the preread of a client, None where it has to send nothing.

        :param peer: the address that it connects from, as Twisted's.
        """
        from_proxy = self.expects_header(peer)
        if not from_proxy and self.routes is None and self.tls is None:
            return None
        return Preread(from_proxy, self.routes, self.timeout, self.tls)


class Preread:
    """Takes what a client says, in whatever pieces it comes, until all is known that was asked for.

    :param from_proxy: whether a PROXY header comes first.
    :param routes: pools by server name, where a ClientHello is looked for.
    :param tls: what comes next is a handshake with it; None for none.
    :ivar timeout: seconds from the accept that it may take.
    :ivar header: the PROXY header, once it is there.
    :ivar secured: what the handshake has agreed on, once it is over.
    :ivar kept: what has come and is the backend's to read.
    """

    __slots__ = (
        "_hello",
        "_needs_header",
        "_routes",
        "_wanted",
        "header",
        "kept",
        "secured",
        "timeout",
        "tls",
    )

    def __init__(
        self,
        from_proxy: bool,
        routes: NameMap[Pool] | None,
        timeout: float,
        tls: ServerTls | None = None,
    ) -> None:
        self._needs_header = from_proxy
        self._routes = routes
        self.timeout = timeout
        self._hello = HelloReader() if routes is not None else None
        self.header: ProxyHeader | None = None
        self.tls = tls
        self.secured: TlsFacts | None = None
        self.kept = bytearray()
        self._wanted: str | None = None

    @property
    def expects_plaintext(self) -> bool:
        """Whether something has to come before any handshake."""
        return self._needs_header or self._hello is not None

    @property
    def server_name(self) -> str | None:
        """What the client asks for in its ClientHello; None without one, and while it is not known."""
        return self._wanted if self.secured is None else self.secured.server_name

    def note_server_name(self, name: str | None) -> None:
        """Keep what was asked for in a handshake that has failed."""
        self._wanted = name

    def feed(self, data: bytes) -> bool:
        """Take what has come.

        :returns: whether all is known; then it is called no more.
        :raises ProxyHeaderError: a proxy does not keep to the protocol.
        """
        self.kept += data
        if self._needs_header:
            if not self._take_header():
                return False
            data = bytes(self.kept)
        return self._hello is None or self._look(self._hello, data)

    def _take_header(self) -> bool:
        found = read_header(bytes(self.kept))
        if found is None:
            return False
        self.header, size = found
        del self.kept[:size]
        self._needs_header = False
        return True

    def _look(self, hello: HelloReader, data: bytes) -> bool:
        """Look for the server name; what is not TLS, or malformed, has none and is left to the backend."""
        try:
            found = hello.feed(data)
            if found is None:
                return False
            self._wanted = found.server_name
        except HelloError:
            pass
        # A malformed ClientHello may be long: what was copied of it is dropped.
        self._hello = None
        return True

    def pool(self, default: Pool | None) -> Pool | None:
        """The pool that serves the client, None when there is none for it.

        :param default: the frontend's, for names without a route and for clients without a name.
        """
        route = self._routes.lookup(self.server_name) if self._routes is not None else None
        return default if route is None else route

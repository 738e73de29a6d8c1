"""How clients come to a frontend through an endpoint of Twisted's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.errors import SettingError
from tcpbalance.net.addresses import address_text
from tcpbalance.net.binding import ListenError, listen_error
from tcpbalance.net.listener import Listener
from tcpbalance.proxy.accept_pause import Acceptor
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.services.listen import EndpointString
from tcpbalance.services.listener_settings import ListenerSettings
from tcpbalance.services.stepped import PreparedChange


class PausableFactory(Factory):
    """Stands before a frontend's factory at the port of an endpoint, and refuses clients while it is paused.

    :param inner: serves the clients.
    :ivar port: listens.
    """

    port: IListeningPort
    noisy = False

    def __init__(self, inner: FrontendFactory) -> None:
        self._inner = inner
        self._is_paused = False

    def pauseProducing(self) -> None:
        """Refuse clients for now."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """Serve clients again."""
        self._is_paused = False

    def getHost(self) -> IAddress:
        """The address that clients connect to."""
        return self.port.getHost()

    def buildProtocol(self, addr: Any) -> Any:
        """Twisted's call: a client has come."""
        if self._is_paused:
            self._inner.stats.connections_shed += 1
            return None
        return self._inner.buildProtocol(addr)

    def startFactory(self) -> None:
        """Twisted's call: a port listens."""
        self._inner.doStart()  # type: ignore[no-untyped-call]  # Twisted's is not annotated

    def stopFactory(self) -> None:
        """Twisted's call: the last port is closed."""
        self._inner.doStop()  # type: ignore[no-untyped-call]  # Twisted's is not annotated

    def logPrefix(self) -> str:
        """Twisted's call: what log lines about the port are marked with."""
        return str(self._inner.logPrefix())  # type: ignore[no-untyped-call]  # Twisted's is not annotated


class EndpointPort:
    """The port of a Twisted endpoint; a ``Carrier``.

    An endpoint can only listen, where a socket of our own is bound first. So the port is paused until it is
    opened, and clients that come before wait in the kernel's backlog. A port that cannot be paused refuses
    clients in any pause: until it is opened, at ``limits.connections`` and in an overload.

    :param reactor: what the endpoint of a description lives on.
    :param name: the frontend's, for the log.
    :param endpoint: what to listen on.
    :param factory: serves the clients.
    :raises SettingError: Twisted does not take the description.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        name: str,
        endpoint: EndpointString | IStreamServerEndpoint,
        factory: FrontendFactory,
    ) -> None:
        self._name = name
        self._described = str(endpoint)
        self._factory = factory
        self._listening: Deferred[IListeningPort] = Deferred()
        self._pausable: PausableFactory | None = None
        self._port: IListeningPort | None = None
        self._acceptor: Acceptor | None = None
        self._is_open = False
        if not isinstance(endpoint, EndpointString):
            self._endpoint = endpoint
            return
        try:
            self._endpoint = endpoint.endpoint(reactor)
        except SettingError as error:
            raise SettingError(f"frontend {name}: {error}") from error

    def prepare(self) -> None:
        """See ``Carrier``: listen, and accept no client for now.

        Where the endpoint takes its time, its failure is known when the port is opened.
        """
        pausable = PausableFactory(self._factory)
        pausable.pauseProducing()
        self._pausable = pausable
        listening = maybeDeferred(self._endpoint.listen, pausable)
        listening.addCallbacks(self._pause, self._explain, callbackArgs=(pausable,))
        failure = getattr(listening, "result", None)
        if isinstance(failure, Failure):
            listening.addErrback(lambda _: None)  # It is raised here.
            failure.raiseException()
        self._listening = listening

    def _pause(self, port: IListeningPort, pausable: PausableFactory) -> IListeningPort:
        if pausable is not self._pausable:
            # The frontend was closed while the endpoint took its time.
            self._stop(port)
            raise CancelledError
        self._port = pausable.port = port
        if hasattr(port, "pauseProducing") and hasattr(port, "resumeProducing"):
            # From here on the port's own pauses count, in which clients wait instead of being refused.
            port.pauseProducing()
            pausable.resumeProducing()
            self._acceptor = port
        else:
            self._acceptor = pausable
        return port

    def _explain(self, failure: Failure) -> None:
        """Give the endpoint's failure our words.

        :raises ListenError: in any case.
        """
        error = failure.value
        if isinstance(error, CannotListenError) and isinstance(error.socketError, OSError):
            raise listen_error(self._described, error.socketError) from error
        raise ListenError(f"cannot listen on {self._described}: {error}") from error

    def open(self) -> Deferred[None]:
        """See ``Carrier``."""
        return self._listening.addCallback(self._accept_clients)

    def _accept_clients(self, port: IListeningPort) -> None:
        assert self._acceptor is not None
        self._is_open = True
        self._acceptor.resumeProducing()
        # Where the frontend may accept no client at the moment, this pauses it again.
        self._factory.registry.accept_pause.pause_on(self._acceptor)
        self._log.info(
            "frontend {name} listens on {address} by the endpoint {endpoint}",
            name=self._name,
            address=address_text(port.getHost()),
            endpoint=self._described,
        )

    def prepare_change(self, settings: ListenerSettings) -> PreparedChange:
        """See ``Carrier``."""
        return PreparedChange(lambda: None, lambda: None)

    def listen(self, hosts: Sequence[Listener]) -> None:
        """See ``Carrier``."""

    def accept_waiting(self) -> None:
        """See ``Carrier``: what it accepts is not in our hands."""

    def close(self) -> Deferred[None]:
        """See ``Carrier``."""
        self._pausable = None
        port, self._port = self._port, None
        if port is None:
            self._cancel()
            return succeed(None)
        if self._is_open and self._acceptor is not None:
            self._is_open = False
            self._factory.registry.accept_pause.leave(self._acceptor)
        return self._stop(port)

    def _cancel(self) -> None:
        """Let go of an endpoint that may still be about to listen."""
        self._listening.addErrback(lambda _: None)
        # Without a canceller, a cancelled Deferred would drop the port that comes, and leave it open.
        if getattr(self._listening, "_canceller", None) is not None:
            self._listening.cancel()

    def _stop(self, port: IListeningPort) -> Deferred[None]:
        closed: Deferred[Any] = maybeDeferred(port.stopListening)
        return closed.addErrback(self._log_failure)

    def _log_failure(self, failure: Failure) -> None:
        self._log.failure("{endpoint} could not be closed", failure, endpoint=self._described)

    def addresses(self) -> list[IAddress]:
        """See ``Carrier``."""
        return [] if self._port is None else [self._port.getHost()]

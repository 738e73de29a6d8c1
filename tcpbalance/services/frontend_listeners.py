"""What one frontend listens with: its sockets and ports, those that a change adds, and those that it ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredList, FirstError, maybeDeferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.config.addresses import Address
from tcpbalance.net.binding import ListenError, listen_error
from tcpbalance.net.listener import Listener
from tcpbalance.net.socket_options import SocketOptionError
from tcpbalance.proxy.factory import FrontendFactory
from tcpbalance.services.carrier import Carrier, ListeningSockets
from tcpbalance.services.endpoint_port import EndpointPort
from tcpbalance.services.frontend import Frontend
from tcpbalance.services.listen import ListensOn
from tcpbalance.services.listener_settings import ListenerSettings
from tcpbalance.services.shared import Shared
from tcpbalance.services.spare_sockets import SpareSocket, SpareSockets
from tcpbalance.services.stepped import PreparedChange


@contextmanager
def naming(frontend: Frontend) -> Iterator[None]:
    """Put a frontend's name in front of what cannot be had.

    :raises ListenError: in the place of any error of listening, of a socket option or of the system.
    """
    try:
        yield
    except (ListenError, SocketOptionError) as error:
        raise ListenError(f"frontend {frontend.name}: {error}") from error
    except OSError as error:
        listen = " ".join(map(str, frontend.listen))
        raise ListenError(f"frontend {frontend.name}: {listen_error(listen, error)}") from error


@frozen(eq=False)
class ListenersChange:
    """What a frontend listens with after a change.

    :param frontend: by which description.
    :param all: in the order of its ``listen``.
    :param new: those of them that it did not have before.
    :param gone: what it has no more.
    :param settings: the changes of those that stay.
    """

    frontend: Frontend
    all: Sequence[Carrier]
    new: Sequence[Carrier]
    gone: Sequence[Carrier]
    settings: list[PreparedChange]

    def accept_waiting(self) -> None:
        """Accept the clients of what is gone: they came before the change."""
        for carrier in self.gone:
            carrier.accept_waiting()

    def commit_settings(self) -> None:
        """Have what stays go by other settings."""
        for change in self.settings:
            change.commit()

    def close_gone(self) -> None:
        """Give the addresses back that the frontend has no more."""
        for carrier in self.gone:
            carrier.close()


class FrontendListeners:
    """Listens on the addresses of one frontend, in the order of its ``listen``.

    :param shared: what all services of the balancer share.
    :param frontend: what to listen on.
    :param factory: serves the clients.
    :param spare: sockets that other frontends are about to close; None for none.
    :raises SettingError: Twisted does not take the description of an endpoint.
    """

    _log = Logger()

    def __init__(
        self, shared: Shared, frontend: Frontend, factory: FrontendFactory, spare: SpareSockets | None
    ) -> None:
        self._shared = shared
        self._frontend = frontend
        self._factory = factory
        self._carriers: Sequence[Carrier] = [self._make(frontend, it, spare) for it in frontend.listen]
        self._unopened: list[Carrier] = []

    def _make(self, frontend: Frontend, place: ListensOn, spare: SpareSockets | None) -> Carrier:
        if not isinstance(place, Address):
            return EndpointPort(self._shared.reactor, frontend.name, place, self._factory)
        return ListeningSockets(
            self._shared.reactor,
            frontend.name,
            place,
            self._factory,
            settings=ListenerSettings.of(frontend),
            data_path=self._shared.data_path,
            inherited=self._shared.inherited,
            spare=spare or SpareSockets(),
        )

    def prepare(self) -> None:
        """Take all addresses.

        :raises ListenError: one cannot be had; none is held then.
        :raises SocketOptionError: the system refuses an option; likewise.
        """
        with ExitStack() as undo:
            _prepare_all(self._carriers, undo)
            self._shared.inherited.refuse_others(self._frontend.name)
            undo.pop_all()

    # Changing

    def prepare_change(
        self, frontend: Frontend, spare: SpareSockets, undo: ExitStack, *, is_open: bool
    ) -> ListenersChange:
        """Take what another description of the frontend adds; addresses that both have stay open.

        :param spare: sockets that frontends are about to close.
        :param undo: gets what gives back what is taken.
        :param is_open: whether the frontend accepts clients.
        :raises ListenError: see `prepare`, as of the next one.
        :raises SocketOptionError: likewise.
        """
        change = self._change_to(frontend, spare)
        _prepare_all(change.new, undo)
        settings = ListenerSettings.of(frontend)
        if settings != ListenerSettings.of(self._frontend):
            for carrier in change.all:
                if carrier not in change.new:
                    change.settings.append(carrier.prepare_change(settings))
                    undo.callback(change.settings[-1].abandon)
        if is_open:
            # Last: their clients wait for the commit. Before the frontend is open, they are refused.
            for carrier in change.new:
                carrier.listen(self.listeners())
        return change

    def _change_to(self, frontend: Frontend, spare: SpareSockets) -> ListenersChange:
        """Give what another description of the frontend listens with; what it adds is not prepared yet."""
        present = list(zip(self._frontend.listen, self._carriers, strict=True))
        listening: list[Carrier] = []
        new: list[Carrier] = []
        for place in frontend.listen:
            kept = next((pair for pair in present if pair[0] == place), None)
            if kept is None:
                new.append(self._make(frontend, place, spare))
            else:
                present.remove(kept)
            listening.append(new[-1] if kept is None else kept[1])
        return ListenersChange(frontend, listening, new, [carrier for _, carrier in present], [])

    def adopt(self, change: ListenersChange) -> None:
        """Listen with what a change has from now on; what is new accepts no clients before `open_new`."""
        self._frontend, self._carriers = change.frontend, change.all
        self._unopened = [it for it in change.all if it in change.new or it in self._unopened]

    # Opening and closing

    def open(self) -> Deferred[None]:
        """Accept clients.

        :returns: fires when they are accepted on all addresses; fails with the first error.
        """
        self._unopened = []
        opening = [maybeDeferred(carrier.open) for carrier in self._carriers]
        opened = DeferredList(opening, fireOnOneErrback=True, consumeErrors=True)
        return opened.addCallbacks(lambda _: None, _first_error)

    def open_new(self) -> None:
        """Accept clients on addresses that a change has added; log where that fails."""
        unopened, self._unopened = self._unopened, []
        for carrier in unopened:
            maybeDeferred(carrier.open).addErrback(self._log_not_opened)

    def _log_not_opened(self, failure: Failure) -> None:
        self._log.error("frontend {name}: {error}", name=self._frontend.name, error=str(failure.value))

    def accept_waiting(self) -> None:
        """Accept the clients that wait now, which closing would reset."""
        for carrier in self._carriers:
            carrier.accept_waiting()

    def close(self) -> Deferred[None]:
        """Accept no more clients.

        :returns: fires when all addresses are given back.
        """
        self._unopened = []
        closed = DeferredList([carrier.close() for carrier in self._carriers])
        return closed.addCallback(lambda _: None)

    # What there is

    def addresses(self) -> list[IAddress]:
        """Give the addresses that clients connect to, in the order of ``listen``."""
        return [address for carrier in self._carriers for address in carrier.addresses()]

    def listeners(self) -> list[Listener]:
        """Give what accepts clients on addresses, those of endpoints aside."""
        carriers = [carrier for carrier in self._carriers if isinstance(carrier, ListeningSockets)]
        return [listener for carrier in carriers for listener in carrier.listeners]

    def spare_sockets(self, frontend: Frontend | None) -> list[SpareSocket]:
        """Give the sockets that close when the frontend comes to another description.

        :param frontend: the description; None when the frontend is removed.
        """
        wanted = [] if frontend is None else list(frontend.listen)
        spare = []
        for place, carrier in zip(self._frontend.listen, self._carriers, strict=True):
            if place in wanted:
                wanted.remove(place)
            elif isinstance(carrier, ListeningSockets):
                spare += carrier.spare_sockets()
        return spare


def _prepare_all(carriers: Iterable[Carrier], undo: ExitStack) -> None:
    for carrier in carriers:
        carrier.prepare()
        undo.callback(carrier.close)


def _first_error(failure: Failure) -> Failure:
    """Give the error itself, which a DeferredList wraps."""
    assert isinstance(failure.value, FirstError)
    reason: Failure = failure.value.subFailure
    return reason

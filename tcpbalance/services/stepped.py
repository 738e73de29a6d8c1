"""Services that take up their work in two steps, so that several of them begin together or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack

from attrs import frozen
from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed


@frozen
class PreparedChange:
    """A change of a service that is prepared: one of these is called, once.

    :param commit: makes it; cannot fail.
    :param abandon: gives back what was taken for it.
    """

    commit: Callable[[], None]
    abandon: Callable[[], object]


class SteppedService(Service):
    """A service with the steps prepare, commit and retire.

    ``prepare`` takes all that may be refused, and leaves everything as it was where it fails. ``commit``
    begins the work and cannot fail. ``retire`` takes no more work and finishes what there is. A prepared
    service that is not to be committed is abandoned.

    Twisted's ``privilegedStartService``, ``startService`` and ``stopService`` lead to these steps; a parent
    that runs commits what is added to it, and retires what is removed. Subclasses say what is done in each
    step: ``take`` or ``give_back``, ``begin``, ``end``.
    """

    _is_prepared = False

    def take(self) -> None:
        """Take all that may be refused.

        :raises TcpbalanceError: something is refused; nothing is held then.
        """

    def give_back(self) -> Deferred[None]:
        """Give back what ``take`` took.

        :returns: fires when it is given back.
        """
        return succeed(None)

    def begin(self) -> None:
        """Begin the work; cannot fail."""

    def end(self) -> Deferred[None]:
        """Take no more work.

        :returns: fires when all work has ended and what was taken is given back.
        """
        return succeed(None)

    def prepare(self) -> None:
        """Take all that may be refused; calling it again does nothing.

        :raises TcpbalanceError: something is refused; nothing is held then.
        """
        if not self._is_prepared:
            self.take()
            self._is_prepared = True

    def abandon(self) -> Deferred[None]:
        """Give back what a service holds that is prepared and not committed.

        :returns: fires when it is given back, at once where there is nothing to give back.
        """
        if not self._is_prepared or self.running:
            return succeed(None)
        self._is_prepared = False
        return self.give_back()

    def commit(self) -> None:
        """Begin the work of a prepared service."""
        assert self._is_prepared, "a service is prepared before it is committed"
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self.begin()

    def retire(self) -> Deferred[None]:
        """End the work; a service that was only prepared is abandoned.

        :returns: fires when all work has ended and what was taken is given back.
        """
        if not self.running:
            return self.abandon()
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._is_prepared = False
        return self.end()

    def privilegedStartService(self) -> None:
        """Twisted's call while the process may still have rights that it is about to give up."""
        self.prepare()

    def startService(self) -> None:
        """Twisted's call: prepare what is not prepared, and commit."""
        self.prepare()
        self.commit()

    def stopService(self) -> Deferred[None]:
        """Twisted's call: retire."""
        return self.retire()


def prepare_all(services: Iterable[SteppedService]) -> None:
    """Prepare all services or none.

    :raises TcpbalanceError: one cannot be prepared; those before it are abandoned then.
    """
    with ExitStack() as undo:
        for service in services:
            service.prepare()
            undo.callback(service.abandon)
        undo.pop_all()

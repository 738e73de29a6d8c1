"""What changes the status of a pool's backends: checks, operators, ejections, and other processes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from tcpbalance.pool.availability import Availability
from tcpbalance.pool.backend import AdminState, Backend
from tcpbalance.pool.backend_status import BackendStatus
from tcpbalance.pool.changes import PoolChange, Subscribers
from tcpbalance.pool.members import Members


class StatusChanges:
    """Changes the status of the backends of one pool, and reports what follows from it.

    :param members: the backends.
    :param availability: keeps which of them may have new connections.
    :param subscribers: hear of each change of that.
    :param clock: gives the time in seconds; it only goes forward.
    :ivar on_status: called with a backend whose status differs only in the cause, and in whether it waits for
        a check; subscribers hear of all else.
    """

    def __init__(
        self,
        members: Members,
        availability: Availability,
        subscribers: Subscribers,
        clock: Callable[[], float],
    ) -> None:
        self.on_status: Callable[[Backend], object] = lambda _: None
        self._members = members
        self._availability = availability
        self._subscribers = subscribers
        self._clock = clock

    def adopt(self, members: Members) -> None:
        """Follow other members of the pool from now on."""
        self._members = members

    def mark_up(self, backend: Backend) -> bool:
        """Let the backend serve.

        :returns: whether it was down.
        """
        flipped = not backend.up
        backend.up = True
        is_news = _explain(backend, False, "")
        if flipped:
            backend.stats.up_transitions += 1
            self.changed(backend)
        elif is_news:
            self.on_status(backend)
        return flipped

    def mark_down(self, backend: Backend, cause: str) -> bool:
        """Let the backend serve no new connections.

        :param cause: why, for the operator; the latest stands.
        :returns: whether it was up.
        """
        flipped = backend.up
        backend.up = False
        is_news = _explain(backend, False, cause)
        if flipped:
            backend.stats.down_transitions += 1
            self.changed(backend)
        elif is_news:
            self._availability.report_none_left()
            self.on_status(backend)
        return flipped

    def await_check(self, backend: Backend, cause: str) -> None:
        """Let the backend serve no new connections before a health check has had an outcome.

        :param cause: why it is down, for the operator.
        """
        is_news = _explain(backend, True, cause)
        if backend.up:
            backend.up = False
            backend.stats.down_transitions += 1
            self.changed(backend)
        elif is_news:
            self.on_status(backend)

    def serve_unchecked(self, backends: Iterable[Backend]) -> None:
        """Let backends serve that still wait for their first health check."""
        down = tuple(backend for backend in backends if not backend.up and not backend.removed)
        if down:
            were_unavailable = self._unavailable()
            for backend in down:
                backend.up, backend.cause = True, ""
            self._publish(down, were_unavailable)

    def set_admin_state(self, backend: Backend, admin_state: AdminState) -> None:
        """Let a backend serve, be drained, or be left alone, as its operator wants; what is open stays."""
        if admin_state is not backend.admin_state:
            backend.admin_state = admin_state
            self.changed(backend)

    def apply_statuses(self, statuses: Mapping[Backend, BackendStatus]) -> list[Backend]:
        """Give backends the status that another process has found, which counts and logs each change.

        :returns: those that checks have taken down by that.
        """
        differ = {b: status for b, status in statuses.items() if status != BackendStatus.of(b)}
        present = {backend: None for backend in differ if not backend.removed}
        changed = tuple(backend for backend in present if differ[backend].serves_unlike(backend))
        were_unavailable = self._unavailable()
        were_up = [backend for backend in changed if backend.up]
        for backend in present:
            differ[backend].apply_to(backend)
        if changed:
            self._publish(changed, were_unavailable, present)
        return [backend for backend in were_up if not backend.up and not backend.awaits_check]

    def changed(self, backend: Backend) -> None:
        """Take note that a fact is another that decides whether a backend is available."""
        if not backend.removed:
            self._publish((backend,), self._unavailable())

    def _unavailable(self) -> list[Backend]:
        # A panic, or the loss of the last eligible backend, makes others available as well.
        return [backend for backend in self._members.backends if not backend.available]

    def note_available(self, backends: Iterable[Backend]) -> None:
        """Take note of backends that have become available."""
        now = self._clock()
        for backend in backends:
            backend.available_since = now

    def _publish(
        self,
        changed: tuple[Backend, ...],
        were_unavailable: Iterable[Backend],
        followed: Collection[Backend] = (),
    ) -> None:
        """Find out which backends are available now, and have all of it known.

        :param followed: those of which another process has said since when they are available.
        """
        self._availability.update()
        self._availability.report_none_left()
        available = tuple(other for other in were_unavailable if other.available)
        self.note_available(backend for backend in available if backend not in followed)
        self._subscribers.publish(PoolChange(changed=changed, available=available))


def _explain(backend: Backend, awaits_check: bool, cause: str) -> bool:
    """Take note of the cause of a backend's status.

    :returns: whether it is another reason than before.
    """
    before = backend.awaits_check, backend.cause
    backend.awaits_check, backend.cause = awaits_check, cause
    return before != (awaits_check, cause)

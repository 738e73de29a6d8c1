"""An event loop of sockets: an epoll of our own inside the reactor's, which calls handlers straight.

An epoll descriptor can be polled itself (epoll(7), "Questions and answers", Q4), so the whole native data
path is one reader to whichever reactor runs. A socket is registered once, edge-triggered, for everything it
may ever report; from then on an event costs a look into a dict and a call, with no adding and removing of
readers and writers, no logging context, and no trip through the reactor.

Rules that handlers can rely on, and have to keep:

1. Events are hints: what was possible when they were collected may be so no longer, and then a system call
   says so. But they are of the socket that was watched then: a descriptor is forgotten before it is closed
   (``forget``), and what is watched under its number since is called from the next look on.
2. An edge comes once. A handler that stops before the socket has nothing more remembers that, and either
   waits for an edge that must come, or asks to be called ``again``.
3. No handler works without bound: one turn is a few rounds of a bounded number of events, then the reactor
   has its own turn. A handler that still has work waits for the next turn, in a queue, and between two that
   waited there is always a look at what else has happened. Of many connections that end together, a few are
   reported in each round, and the others wait while there are events of connections that go on: an end costs
   far more than a message. But it may come with a message, so no end waits where ends are no more than twice
   the other events.
4. A handler that raises ends its own session; the poller lives.
"""

from __future__ import annotations

import select
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.net.splice import PipeStore

EVENTS_A_ROUND = 64
"""Events collected at once: each is a connection's worth of work, ten microseconds or so, or half a
millisecond where it is a TLS handshake."""

ROUNDS_A_TURN = 8
"""Rounds before the reactor has its turn: a look at what came in meanwhile is far cheaper than a turn of the
reactor. With bulk waiting, eight rounds are 3 ms and what events they find."""

_ROUNDS = range(ROUNDS_A_TURN)

TIME_A_TURN = 0.005
"""Seconds after which no further round begins before the reactor has its turn."""

ENDS_A_ROUND = 8
"""Ends that are reported in the order in which they are found, in each round; and as many of those that wait.
An end takes 50 to 100 microseconds."""

MANY_ENDS = 256
"""Ends beyond which those that wait are reported half from the first that came and half from the last: 256
take 30 rounds, in which the last has not waited long."""

ENDS_A_MESSAGE = 2
"""Ends that are reported in order for each other event of a round, where that is more: connections of one
message have two ends each, at the backend with the answer in it and at the client, and those are no flood."""

POLLS_A_ROUND = 32
"""Times that events are collected in one round as long as they are nothing but ends: so the event of another
connection waits for 2,000 of them to be collected, which takes a millisecond, and not to be dealt with."""

READABLE, WRITABLE, URGENT, ERROR, HANG_UP, PEER_ENDED, _EDGE_TRIGGERED = (
    getattr(select, f"EPOLL{name}", 0) for name in ("IN", "OUT", "PRI", "ERR", "HUP", "RDHUP", "ET")
)
"""What events report, by epoll(7); 0 where there is no epoll."""

EDGES = READABLE | WRITABLE | URGENT | PEER_ENDED | _EDGE_TRIGGERED
"""What a connection's socket is registered for, once. Errors and hang-ups are reported in any case."""

READ_EDGES = READABLE | URGENT | PEER_ENDED | _EDGE_TRIGGERED
"""The same without writes, until ``watch_writes``. Each end that was passed on would be reported as a
possible write once its peer has acknowledged it."""

END = PEER_ENDED | HANG_UP
"""The peer has finished sending, or the connection is over both ways."""

_ENDS = END | ERROR

_LOWEST_END = ERROR
"""Of what is reported, ends are the highest bits: an event without one is less."""


class Handler(Protocol):
    """What is called for a descriptor."""

    def on_events(self, events: int) -> None:
        """Something may be possible now; see the rules above.

        :param events: a mask of ``select.EPOLLIN`` and its like.
        """
        ...

    def on_failure(self, failure: Failure) -> None:
        """``on_events`` has raised *failure*, which is logged already: end what this descriptor serves."""
        ...

    def on_teardown(self) -> None:
        """The reactor is no more: close the descriptor. It is watched no longer."""
        ...


class EpollObject(Protocol):
    """The part of ``select.epoll`` that is used."""

    def fileno(self) -> int: ...
    def register(self, fd: int, eventmask: int) -> None: ...
    def modify(self, fd: int, eventmask: int) -> None: ...
    def unregister(self, fd: int) -> None: ...
    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]: ...
    def close(self) -> None: ...


@implementer(IReadDescriptor)
class Poller:
    """Calls the handlers of descriptors on which something has happened.

    :param reactor: IReactorFDSet and IReactorTime; any that can watch a descriptor.
    :param poller: makes what collects the events.
    :param pipes: what the sockets here move bulk with.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        poller: Callable[[], EpollObject] | None = None,
        pipes: PipeStore | None = None,
    ) -> None:
        self.pipes = pipes or PipeStore()
        self._reactor = reactor
        self._make_poller = poller or select.epoll
        self._poller: EpollObject | None = None
        self._handlers: dict[int, Callable[[int], None]] = {}
        # Those watched since the last events were collected: these events are of other descriptors, by now
        # closed, that had the same numbers.
        self._new_handlers: dict[int, Callable[[int], None]] = {}
        self._again: deque[tuple[Handler, Callable[[], None]]] = deque()
        # Events of ends that are still to be reported, by descriptor. A dict does not find its first in
        # constant time once others before that have been removed.
        self._ends: OrderedDict[int, int] = OrderedDict()
        self._next_turn: IDelayedCall | None = None
        self._look: select.poll | None = None

    def open(self) -> None:
        """Begin; calling it again does nothing. Not before a daemon has forked: an epoll is shared then."""
        if self._poller is None:
            self._poller = self._make_poller()
            self._look = select.poll()
            self._look.register(self._poller.fileno(), select.POLLIN)
            self._reactor.addReader(self)

    def close(self) -> None:
        """End, once all that was watched has been closed; calling it again does nothing."""
        if self._poller is None:
            return
        self._reactor.removeReader(self)
        self._poller.close()
        self._poller = self._look = None
        self._handlers.clear()
        self._new_handlers.clear()
        self._again.clear()
        self._ends.clear()
        self.pipes.close()
        if self._next_turn is not None:
            self._next_turn.cancel()
            self._next_turn = None

    def watch(self, number: int, call: Callable[[int], None], events: int = EDGES) -> None:
        """Call *call* when something has happened at a descriptor; for one that is watched already, in the
        place of what was called.

        :param number: the descriptor.
        :param call: a method of a ``Handler``: its ``on_events``, or one of several that it has for several
            descriptors.
        :param events: what the descriptor is registered for where it is not watched yet.
        """
        if number in self._handlers:
            self._handlers[number] = call
            return
        if number not in self._new_handlers:
            assert self._poller is not None, "the poller is not open"
            self._poller.register(number, events)
        self._new_handlers[number] = call

    def watch_new(self, number: int, call: Callable[[int], None], events: int = EDGES) -> None:
        """Do what `watch` does for a descriptor that was not open before, and so is not watched.

        :raises OSError: the system cannot watch one more.
        """
        self._poller.register(number, events)  # type: ignore[union-attr]  # open, where sockets are opened
        self._new_handlers[number] = call

    def watch_writes(self, number: int) -> None:
        """Have possible writes reported, too, at a descriptor that is watched for ``READ_EDGES``."""
        assert self._poller is not None, "the poller is not open"
        self._poller.modify(number, EDGES)

    def forget(self, number: int) -> None:
        """Watch a descriptor no more that is about to be closed, with which the kernel forgets it, too."""
        if self._handlers.pop(number, None) is None:
            self._new_handlers.pop(number, None)
        if self._ends:
            self._ends.pop(number, None)

    def unwatch(self, number: int) -> None:
        """Watch a descriptor no more that stays open."""
        if self._poller is not None and (number in self._handlers or number in self._new_handlers):
            self._poller.unregister(number)
            self.forget(number)

    def again(self, handler: Handler, call: Callable[[], None]) -> None:
        """Make *call* on behalf of *handler* in the next turn."""
        if self._poller is None:
            return
        self._again.append((handler, call))
        self._come_back()

    @property
    def others_wait(self) -> bool:
        """Whether a handler has something to do: it is called in the next turn."""
        if self._again or self._ends:
            return True
        # The epoll itself can be polled, which collects nothing.
        return self._look is not None and bool(self._look.poll(0))

    def doRead(self) -> None:
        """The reactor's call: one turn, in rounds of events, with the call of one handler that had work left
        in between.

        A handler that has work left again waits for the next turn.
        """
        waiting = len(self._again)
        until = self._reactor.seconds() + TIME_A_TURN
        for _ in _ROUNDS:
            happened = self._report()
            if self._ends:
                self._report_ends()
                happened = True
            if waiting and self._again:
                waiting -= 1
                self._call(*self._again.popleft())
            elif not happened:
                break
            if self._reactor.seconds() >= until:
                break
        if self._again or self._ends:
            self._come_back()

    def _come_back(self) -> None:
        """Have another turn even though no event may come."""
        if self._next_turn is None:
            self._next_turn = self._reactor.callLater(0, self._next)

    def _next(self) -> None:
        self._next_turn = None
        self.doRead()

    def _report(self) -> bool:  # noqa: C901 - all events pass here, without a further call
        """Report what has happened to the handlers, except for too many ends.

        :returns: whether there was anything.
        """
        if self._poller is None:
            return False
        if self._new_handlers:
            self._take_in_new_handlers()
        ready = self._poller.poll(0, EVENTS_A_ROUND)
        if not ready:
            return False
        handlers = self._handlers
        max_ends = ENDS_A_ROUND
        for number, events in ready:
            if events >= _LOWEST_END:
                if not max_ends:
                    self._report_many_ends(ready, ready[ready.index((number, events)) :])
                    break
                max_ends -= 1
            try:
                call = handlers[number]
            except KeyError:
                # Forgotten meanwhile.
                continue
            try:
                call(events)
            except Exception:
                self._raised(_handler_of(call))
        return True

    def _take_in_new_handlers(self) -> None:
        """The events that are about to be collected may be theirs."""
        self._handlers.update(self._new_handlers)
        self._new_handlers.clear()

    def _report_many_ends(self, ready: list[tuple[int, int]], left: list[tuple[int, int]]) -> None:
        """Report the rest of a round that has more ends than are always reported in order: as many of these
        as its other events allow.

        :param ready: the events of the round.
        :param left: those of them that are not reported yet.
        """
        others = sum([not events & _ENDS for _, events in ready])
        self._report_all(left, max(0, ENDS_A_MESSAGE * others - ENDS_A_ROUND))
        if not others and len(ready) == EVENTS_A_ROUND:
            self._look_past_ends()

    def _look_past_ends(self) -> None:
        """Collect events until there is one that is no end."""
        for _ in range(POLLS_A_ROUND):
            if self._poller is None:
                return
            self._take_in_new_handlers()
            ready = self._poller.poll(0, EVENTS_A_ROUND)
            if self._report_all(ready, 0) or len(ready) < EVENTS_A_ROUND:
                return

    def _report_all(self, ready: list[tuple[int, int]], max_ends: int) -> bool:
        """Report events, and so many ends at most; the others wait.

        :returns: whether there was anything but ends.
        """
        handlers = self._handlers
        only_ends = True
        for number, events in ready:
            call = handlers.get(number)
            if call is None:
                continue
            if not events & _ENDS:
                only_ends = False
            elif max_ends:
                max_ends -= 1
            else:
                self._ends[number] = events
                continue
            try:
                call(events)
            except Exception:
                self._raised(_handler_of(call))
        return not only_ends

    def _report_ends(self) -> None:
        """Report some of the ends that wait, in their order. Where they are many, those that have waited
        longest and those that have just come have the same share."""
        for count in range(ENDS_A_ROUND):
            if self._ends:
                last = count % 2 == 1 and len(self._ends) > MANY_ENDS
                self._report_all([self._ends.popitem(last=last)], 1)

    def _call(self, handler: Handler, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            self._raised(handler)

    def _raised(self, handler: Handler) -> None:
        failure = Failure()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._log.failure("{handler} could not deal with an event", failure, handler=handler)
        try:
            handler.on_failure(failure)
        except Exception:
            self._log.failure("{handler} could not be ended, either", handler=handler)

    def fileno(self) -> int:
        """The epoll's own descriptor, -1 while closed."""
        return -1 if self._poller is None else self._poller.fileno()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "poller"

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is being torn down, and with it all that is watched here."""
        while watched := self._handlers or self._new_handlers:
            handler = _handler_of(watched.popitem()[1])
            try:
                handler.on_teardown()
            except Exception:
                self._log.failure("{handler} could not be ended", handler=handler)
        self.close()


def _handler_of(call: Callable[[int], None]) -> Handler:
    """Give the object whose method is called for a descriptor."""
    handler: Handler = call.__self__  # type: ignore[attr-defined]  # of a bound method
    return handler

"""What workers report that operators want to know."""

from __future__ import annotations

from collections.abc import Collection

from tcpbalance.event import OnEvent, no_report
from tcpbalance.workers.messages import Message
from tcpbalance.workers.shared_state import ToWorker


class CommonEvents:
    """See ``SharedState``; nothing is shared, all comes here.

    :ivar on_event: called with each event of a worker, and its number.
    """

    words: Collection[str] = ("event",)

    def __init__(self) -> None:
        self.on_event: OnEvent = no_report

    def greet(self, worker: ToWorker) -> None:
        """See ``SharedState``: there is nothing to be known."""

    def note(self, worker: ToWorker, message: Message) -> None:
        """See ``SharedState``."""
        match message.content:
            case {"event": str(kind), "about": dict(about)}:
                self.on_event(kind, {"worker": worker.place, **about})

    def has_ended(self, worker: ToWorker) -> None:
        """See ``SharedState``."""

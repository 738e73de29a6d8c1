"""State that workers share: each kind is one object in the supervisor, and one in each worker.

The two send each other messages whose first key is one of their words. A worker gets its messages in the
order in which they were sent, and those that greet it before it accepts its first client.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Protocol

from tcpbalance.workers.messages import Message


class ToWorker(Protocol):
    """One process that is a worker, as the supervisor has it.

    :ivar place: its number among the workers, from 0, which is that of the clients that it owns; the process
        that replaces it has the same.
    :ivar column: of the shared counts, in which it alone counts, below ``COLUMNS_A_PLACE`` times the workers;
        another one may have it once this one has ended.
    """

    place: int
    column: int

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        """Send it a message; nothing once it has ended.

        :param descriptors: it gets copies; they may be closed at once.
        :raises MessageError: the message is too long.
        """
        ...


class SharedState(Protocol):
    """One kind of state that workers share, in the supervisor.

    :ivar words: of the messages from workers that it takes.
    """

    words: Collection[str]

    def greet(self, worker: ToWorker) -> None:
        """Send a process that was asked for, and may not run yet, what it has to know before it serves."""
        ...

    def note(self, worker: ToWorker, message: Message) -> None:
        """Take a message of one of the words; its descriptors are closed when this returns."""
        ...

    def has_ended(self, worker: ToWorker) -> None:
        """Take note that a process has ended, and all its sockets are closed."""
        ...


class WorkerSharedState(Protocol):
    """The same thing in a worker.

    :ivar words: of the messages from the supervisor that it takes.
    """

    words: Collection[str]

    def note(self, message: Message) -> None:
        """Take a message of one of the words; its descriptors are closed when this returns."""
        ...


def word_of(message: Message) -> str:
    """Give the word of a message, by which it is known what takes it; empty where it has none."""
    return next(iter(message.content), "")

"""An end of a connection for messages, in a reactor: never waits, and is bounded both ways."""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReadDescriptor, IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.workers import messages
from tcpbalance.workers.messages import Message, MessageError
from tcpbalance.workers.shortage import reason_of

MESSAGES_A_TURN = 16
"""Messages taken in one turn of the reactor."""

MAX_WAITING = 1000
"""Messages that may wait for a receiver that takes none, before the connection ends."""

AGAIN_AFTER = 0.05
"""Seconds until a message is tried again that the system had no memory for, or too many descriptors under
way: unix(7), ``ETOOMANYREFS``."""

MAX_ATTEMPTS = 1200
"""Such attempts in a row before the connection ends: a minute. The receiver may have large files to read
meanwhile."""

_LATER = {errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS}


@implementer(IReadDescriptor, IWriteDescriptor)
class Channel:
    """Sends and receives messages until either side closes it.

    :param reactor: watches the socket, and times attempts.
    :param sock: one of ``messages.pair``; the channel's from here on.
    :param on_message: called with each message that comes; its descriptors are closed when that returns, so
        what is kept has to be duplicated.
    :param on_end: called once, when the other side has closed it or does not keep to what is agreed; not
        after `close`.
    :param on_lost: called before that with the reason why a message was lost on this side; something may be
        sent still.
    :param name: the other side, for the log.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        sock: socket.socket,
        on_message: Callable[[Message], None],
        on_end: Callable[[], None],
        on_lost: Callable[[str], None] = lambda reason: None,
        *,
        name: str = "a process",
    ) -> None:
        self._reactor = reactor
        self._socket = sock
        self._on_message = on_message
        self._on_end = on_end
        self._on_lost = on_lost
        self._name = name
        self._waiting: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._attempts = 0
        self._again: IDelayedCall | None = None
        self._closed = False
        sock.setblocking(False)
        reactor.addReader(self)

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        """Send a message, behind those that wait; once it is closed, nothing.

        Where the system takes it neither now nor a little later, the connection ends.

        :param descriptors: the receiver gets copies; apart from those that are `Kept`, they may be closed
            at once.
        :raises MessageError: it is too long.
        """
        if self._closed:
            return
        packet = messages.encode(content)
        passed = list(descriptors)
        if not self._waiting and self._is_over(packet, passed):
            return
        if len(self._waiting) >= MAX_WAITING:
            self._give_up(f"{self._name} takes no messages, and is given up: {MAX_WAITING} wait for it")
            return
        try:
            self._waiting.append((packet, messages.copies(passed)))
        except OSError as error:
            self._give_up(f"a message to another process cannot wait: {reason_of(error)}")

    def _is_over(self, packet: bytes, descriptors: Iterable[int]) -> bool:
        """Send a message now.

        :returns: False where it has to wait.
        """
        try:
            messages.send_encoded(self._socket, packet, descriptors)
        except BlockingIOError:
            self._reactor.addWriter(self)
            return False
        except OSError as error:
            return self._cannot_send(error)
        self._attempts = 0
        return True

    def _cannot_send(self, error: OSError) -> bool:
        """Find out what becomes of a message that the system does not take.

        :returns: False where it has to wait.
        """
        if isinstance(error, ConnectionError):
            return True  # The end is reported to the reader, with what has come before.
        self._attempts += 1
        if error.errno not in _LATER or self._attempts > MAX_ATTEMPTS:
            self._give_up(f"a message to another process cannot be sent: {reason_of(error)}")
            return True
        self._reactor.removeWriter(self)
        self._again = self._reactor.callLater(AGAIN_AFTER, self._send_again)
        return False

    def _send_again(self) -> None:
        self._again = None
        self.doWrite()

    def _give_up(self, why: str) -> None:
        self._log.error("{why}", why=why)
        self._end()

    def close(self) -> None:
        """Send and receive nothing any more."""
        if self._closed:
            return
        self._closed = True
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket.close()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for _, descriptors in self._waiting:
            messages.close_copies(descriptors)
        self._waiting.clear()

    def _end(self) -> None:
        self.close()
        self._on_end()

    def doRead(self) -> None:
        """The reactor's call: take what has come."""
        for _ in range(MESSAGES_A_TURN):
            try:
                message = messages.receive(self._socket)
            except BlockingIOError:
                return
            except (OSError, MessageError) as error:
                self._lost(error)
                return
            if message is None:
                self._end()
                return
            self._report(message)
            if self._closed:
                return

    def _lost(self, error: Exception) -> None:
        """Nothing can be received any more."""
        if not isinstance(error, ConnectionError):
            reason = f"a message was lost: {error}"
            self._log.error("{reason}", reason=reason)
            self._on_lost(reason)
        if not self._closed:
            self._end()

    def _report(self, message: Message) -> None:
        try:
            self._on_message(message)
        except Exception:
            self._log.failure("the message {content} could not be dealt with", content=message.content)
        finally:
            message.close()

    def doWrite(self) -> None:
        """The reactor's call: there may be space again."""
        while self._waiting:
            packet, descriptors = self._waiting[0]
            if not self._is_over(packet, descriptors) or self._closed:
                return
            self._waiting.popleft()
            messages.close_copies(descriptors)
        self._reactor.removeWriter(self)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor is being torn down, or has seen that something is wrong with the socket."""
        if not self._closed:
            self._end()

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See ``ILoggingContext``."""
        return "channel"

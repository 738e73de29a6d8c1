"""An end of a connection for messages, in a reactor: never waits, and is bounded both ways."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor, IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from tcpbalance.workers import messages
from tcpbalance.workers.messages import Message, MessageError

MESSAGES_A_TURN = 16
"""Messages taken in one turn of the reactor."""

MAX_WAITING = 1000
"""Messages that may wait for a receiver that takes none, before the connection ends."""


@implementer(IReadDescriptor, IWriteDescriptor)
class Channel:
    """Sends and receives messages until either side closes it.

    :param reactor: watches the socket.
    :param sock: one of ``messages.pair``; the channel's from here on.
    :param on_message: called with each message that comes; its descriptors are closed when that returns, so
        what is kept has to be duplicated.
    :param on_end: called once, when the other side has closed it or does not keep to what is agreed; not
        after `close`.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorFDSet,
        sock: socket.socket,
        on_message: Callable[[Message], None],
        on_end: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._socket = sock
        self._on_message = on_message
        self._on_end = on_end
        self._waiting: deque[Message] = deque()
        self._closed = False
        sock.setblocking(False)
        reactor.addReader(self)

    def send(self, content: Mapping[str, Any], descriptors: Iterable[int] = ()) -> None:
        """Send a message, behind those that wait; once it is closed, nothing.

        :param descriptors: the receiver gets copies; they may be closed at once.
        :raises MessageError: it is too long.
        """
        if self._closed or (not self._waiting and self._is_sent(content, descriptors)):
            return
        if len(self._waiting) >= MAX_WAITING:
            self._log.error("a process takes no messages, and is given up")
            self._end()
            return
        try:
            self._waiting.append(Message(content, messages.copies(descriptors)))
        except OSError as error:
            self._lose(error)

    def _is_sent(self, content: Mapping[str, Any], descriptors: Iterable[int]) -> bool:
        """Send a message, or have it sent when there is space.

        :returns: whether it is dealt with.
        """
        try:
            messages.send(self._socket, content, descriptors)
        except BlockingIOError:
            self._reactor.addWriter(self)
            return False
        except ConnectionError:
            pass  # The end is reported to the reader, with what has come before.
        except OSError as error:
            self._lose(error)
        return True

    def _lose(self, error: OSError) -> None:
        """A message cannot be sent: what comes behind it must not be understood without it."""
        self._log.error("a message was lost: {error}", error=(error.strerror or str(error)).lower())
        self._end()

    def close(self) -> None:
        """Send and receive nothing any more."""
        if self._closed:
            return
        self._closed = True
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._socket.close()
        for message in self._waiting:
            message.close()
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
                if not isinstance(error, ConnectionError):
                    self._log.error("a message was lost: {error}", error=str(error))
                self._end()
                return
            if message is None:
                self._end()
                return
            self._report(message)
            if self._closed:
                return

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
            message = self._waiting[0]
            try:
                messages.send(self._socket, message.content, message.descriptors)
            except BlockingIOError:
                return
            except ConnectionError:
                break
            except OSError as error:
                self._lose(error)
                return
            self._waiting.popleft().close()
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

"""What goes wrong with TLS: files that cannot be used, and handshakes that fail."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from tcpbalance.config.messages import one_line
from tcpbalance.errors import Fault, SettingError, TcpbalanceError
from tcpbalance.net.tls.verification import why

_MAX_CAUSE = 100
"""Characters of a cause: it goes into one line of the log."""


class TlsFileError(SettingError):
    """A file of certificates, keys, authorities or revocation lists cannot be used.

    :param key: of the configuration, that names the file.
    :param why: what is wrong with it, and what to do.
    """

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


class HandshakeFailed(TcpbalanceError):
    """The peer and we could not agree, or it was not the one that was meant.

    :param cause: why, in a few words, as logs show it.
    :param fault: whose.
    """

    def __init__(self, cause: str, fault: Fault = Fault.CLIENT) -> None:
        self.fault = fault
        self.cause = one_line(cause, _MAX_CAUSE)
        super().__init__(self.cause)


class TlsBroken(ConnectionLost):
    """A connection that has ended in an error of TLS, which the peer may have reported by an alert.

    :param cause: what it was, in a few words.
    :param unheard: whether the peer may have sent something before that could not be read any more.
    """

    def __init__(self, cause: str, *, unheard: bool = False) -> None:
        super().__init__(cause)
        self.cause = cause
        self.unheard = unheard


def broken_cause(failure: Failure) -> str:
    """Say in a few words how a connection broke.

    :param failure: as it was reported to the protocol.
    """
    return tls_cause(failure) or "reset"


def tls_cause(failure: Failure) -> str:
    """Say in a few words what was wrong with TLS when a connection broke; empty where nothing was.

    :param failure: as it was reported to the protocol.
    """
    error = failure.value
    if isinstance(error, TlsBroken):
        return f"TLS: {error.cause}"
    return f"TLS: {openssl_words(error)}" if isinstance(error, SSL.Error) else ""


def was_unheard(failure: Failure) -> bool:
    """Whether a peer whose connection is broken had sent something that could not be read any more."""
    return isinstance(failure.value, TlsBroken) and failure.value.unheard


def handshake_cause(failure: Failure, transport: Any) -> str | None:
    """Why a handshake has failed, in a few words; None where something else has ended a connection.

    :param failure: as it was reported to the protocol.
    :param transport: the protocol's; Twisted's own report OpenSSL's error and not what was behind it.
    """
    error = failure.value
    if isinstance(error, HandshakeFailed):
        return error.cause
    if not isinstance(error, SSL.Error):
        return None
    connection = transport.getHandle()
    noted = why(connection) if isinstance(connection, SSL.Connection) else None
    return HandshakeFailed(noted or openssl_words(error)).cause


def openssl_words(error: SSL.Error) -> str:
    """Say in OpenSSL's own words what it did not like, or the peer has sent as an alert."""
    queue = error.args[0] if error.args else None
    if not isinstance(queue, list | tuple) or not queue:
        return "connection lost"
    return str(queue[0][-1]).lower() or "connection lost"

"""Whose fault a failed attempt or handshake is: only what a backend did is told as its own."""

from __future__ import annotations

import errno

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost

from tcpbalance.errors import Fault
from tcpbalance.net.faults import fault_of_error, fault_of_handshake
from tcpbalance.net.socket_options import SocketOptionError
from tcpbalance.net.tls.errors import HandshakeFailed, TlsBroken


@pytest.mark.parametrize(
    "error",
    [
        ConnectionDone(),
        ConnectionLost(),
        ConnectionAborted(),
        TlsBroken("bad record mac"),
        SSL.Error([("SSL routines", "", "wrong version number")]),
        SSL.SysCallError(-1, "Unexpected EOF"),
        HandshakeFailed("certificate expired"),
        HandshakeFailed("certificate is not for web.example", Fault.BACKEND),
        OSError(errno.ECONNREFUSED, "refused"),
    ],
)
def test_the_backends(error: Exception) -> None:
    assert fault_of_error(error) is Fault.BACKEND


@pytest.mark.parametrize(
    "error",
    [
        HandshakeFailed("no server name to verify the certificate by", Fault.CONFIGURATION),
        SocketOptionError("congestion", "no such algorithm"),
        OSError(errno.ENOBUFS, "no buffers"),
        OSError("AF_UNIX path too long"),
        MemoryError(),
        ZeroDivisionError(),
        UnicodeError(),
    ],
)
def test_ours(error: Exception) -> None:
    assert fault_of_error(error) is Fault.BALANCER


@pytest.mark.parametrize(
    ("cause", "fault"),
    [
        ("certificate expired", Fault.BACKEND),
        ("certificate revoked", Fault.BACKEND),
        ("no revocation list of its issuer", Fault.BALANCER),
        ("revocation list not valid yet", Fault.BALANCER),
        ("revocation list expired", Fault.BALANCER),
        ("revocation list has a wrong signature", Fault.BALANCER),
        ("authority of the revocation list not found", Fault.BALANCER),
        ("revocation list of an authority that may not sign any", Fault.BALANCER),
        ("revocation list with a critical extension that OpenSSL does not know", Fault.BALANCER),
        ("revocation list for other certificates of its authority", Fault.BALANCER),
    ],
)
def test_a_certificate_that_is_not_believed(cause: str, fault: Fault) -> None:
    assert fault_of_handshake(HandshakeFailed(cause), cause) is fault

"""Decides whose fault a failed connection attempt, check or handshake is.

This is the one place that answers "does this say anything about the backend?".

The error numbers of ``socket``, ``bind`` and ``connect`` (section 2 of the manual; ip(7), tcp(7), unix(7))
are of two kinds. What this machine lacks, whichever backend is dialled, says nothing about the backend.
What depends on the backend's address says that this backend cannot be used from here, so that others have
to serve.

Ours:

* ``EMFILE``, ``ENFILE``, ``ENOBUFS``, ``ENOMEM``: no descriptor, or no memory for a socket;
* ``EADDRNOTAVAIL``, ``EADDRINUSE``: each local port is in use towards this address, or the machine has no
  address to connect from;
* ``EPERM``: a rule of this machine forbids it, and no packet has left;
* ``EBADF`` and the like: a defect of our own;
* a name that could not be looked up: the name servers fail or are silent.

The backend's, as everything else:

* ``ECONNREFUSED``, ``ECONNRESET``, ``ETIMEDOUT``: its answer, or none;
* ``ENETUNREACH``, ``EHOSTUNREACH``, ``ENETDOWN``, ``EHOSTDOWN``: no way there. A router says so by the same
  number as our own table of routes, and the way to another backend may well be there. HAProxy and nginx
  count it against the server, too;
* ``EACCES``: the mode of a unix socket, or a firewall on the way (ICMPv6 "administratively prohibited"); a
  rule of this machine is only one of three reasons;
* ``EAGAIN``: the backlog of a unix socket is full; TCP does not give it;
* ``EAFNOSUPPORT``: this machine cannot reach such an address at all, which is logged at the start;
* ``ENOENT`` and the like: there is no such unix socket;
* a name of which the name servers say that it does not exist, or has no address.
"""

from __future__ import annotations

import errno

from OpenSSL import SSL
from twisted.internet.error import ConnectionClosed

from tcpbalance.errors import Fault, TcpbalanceError
from tcpbalance.net.errnos import NO_LOCAL_PORT, OUT_OF_DESCRIPTORS, is_our_own
from tcpbalance.net.resolver.answer import Verdict
from tcpbalance.net.tls.verification import ABOUT_OUR_LISTS

_REMEDIES = {
    **dict.fromkeys(OUT_OF_DESCRIPTORS, "raise the limit of open files: LimitNOFILE= of the unit, ulimit -n"),
    **dict.fromkeys((errno.ENOBUFS, errno.ENOMEM), "give the machine more memory, or raise net.ipv4.tcp_mem"),
    **dict.fromkeys(
        NO_LOCAL_PORT,
        "widen net.ipv4.ip_local_port_range, spread the load over more backend addresses or ports, "
        "or let connections last longer",
    ),
    errno.EPERM: "look for a firewall or security policy of this machine that forbids it",
}

REMEDY_OF_LOOKUP = "look at the name servers, those of [resolver] or of /etc/resolv.conf"
"""What the operator can do about names that could not be looked up."""


def fault_of_errno(code: int) -> Fault:
    """Decide whose fault an error number of the system is, met while connecting to a backend.

    :param code: as in errno(3).
    :returns: ``BALANCER`` where it says nothing about the backend, else ``BACKEND``.
    """
    return Fault.BALANCER if is_our_own(code) else Fault.BACKEND


def remedy_of_errno(code: int) -> str:
    """Decide what the operator can do about an error number whose fault is ours.

    :param code: as in errno(3).
    :returns: empty where nothing can be said.
    """
    return _REMEDIES.get(code, "")


def fault_of_error(error: BaseException) -> Fault:
    """Decide whose fault an error is that ended a connection to a backend, or the TLS handshake with it.

    :returns: ``BACKEND`` for an end, a reset or an error of TLS, which its peer brings about; ``BALANCER``
        for settings of ours and any other exception.
    """
    if isinstance(error, TcpbalanceError):
        return Fault.BALANCER if error.fault in (Fault.CONFIGURATION, Fault.BALANCER) else Fault.BACKEND
    if isinstance(error, ConnectionClosed | SSL.Error):
        return Fault.BACKEND
    if isinstance(error, OSError) and error.errno:
        return fault_of_errno(error.errno)
    return Fault.BALANCER


def fault_of_handshake(error: BaseException, cause: str) -> Fault:
    """Decide whose fault it is that a TLS handshake with a backend has failed.

    :param error: what has ended it.
    :param cause: why, in words; those for a revocation list of ours that lacks or cannot be used say nothing
        about the backend.
    """
    return Fault.BALANCER if cause in ABOUT_OUR_LISTS else fault_of_error(error)


def fault_of_lookup(verdict: Verdict | None) -> Fault:
    """Decide whose fault it is that no address of a backend's name is known.

    :param verdict: how the last question for the name ended, None when it has not.
    :returns: ``BACKEND`` where the name servers say that there is no such backend; ``BALANCER`` where the
        name could not be looked up, which says nothing about the backend.
    """
    return Fault.BACKEND if verdict is not None and verdict.is_empty else Fault.BALANCER

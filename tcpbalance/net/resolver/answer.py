"""What a name server says about a host name: pure values."""

from __future__ import annotations

import enum
import socket

from attrs import frozen


class Verdict(enum.Enum):
    """How a question ended, in the words of logs."""

    FOUND = "found"
    NO_SUCH_NAME = "no such name"
    """NXDOMAIN: RFC 8020."""
    NO_ADDRESS = "name without an address"
    """NODATA: RFC 2308, section 2.2."""
    BAD_NAME = "not a host name"
    SERVER_FAILURE = "server failure"
    REFUSED = "query refused by the name server"
    TIMED_OUT = "name server timed out"
    UNREACHABLE = "name server unreachable"
    BAD_ANSWER = "bad answer from the name server"
    NO_DESCRIPTOR = "too many open files"
    NO_MEMORY = "cannot allocate memory"
    UNKNOWN = "name lookup failed"

    @property
    def is_empty(self) -> bool:
        """Whether it says for certain that the name has no address."""
        return self in _EMPTY


_EMPTY = frozenset({Verdict.NO_SUCH_NAME, Verdict.NO_ADDRESS, Verdict.BAD_NAME})


@frozen
class Host:
    """One IP address that a name has.

    :param family: ``AF_INET`` or ``AF_INET6``.
    :param address: as ``inet_ntop`` writes it.
    :param scope: the interface of a link-local IPv6 address, 0 for none.
    """

    family: int
    address: str
    scope: int = 0


@frozen
class Answer:
    """What one question about one family of addresses has brought.

    :param verdict: ``FOUND`` with at least one host.
    :param hosts: in the order of preference.
    :param ttl: seconds that the whole chain of records is good for, CNAMEs included.
    """

    verdict: Verdict
    hosts: tuple[Host, ...] = ()
    ttl: float = 0.0


@frozen
class Reply:
    """What is known of a name after both families were asked for.

    :param ipv4: the answer for A records.
    :param ipv6: the answer for AAAA records.
    :param ipv6_first: whether IPv6 addresses are preferred.
    """

    ipv4: Answer
    ipv6: Answer
    ipv6_first: bool = True

    @property
    def addresses(self) -> list[str]:
        """The IP addresses, without zones."""
        return [host.address for answer in (self.ipv4, self.ipv6) for host in answer.hosts]

    @classmethod
    def failed(cls, verdict: Verdict) -> Reply:
        """The reply to a question that failed for both families."""
        return cls(Answer(verdict), Answer(verdict))

    @classmethod
    def of_hosts(cls, hosts: tuple[Host, ...], ttl: float) -> Reply:
        """The reply that lists hosts of both families in the order of preference.

        :param hosts: at least one.
        :param ttl: seconds that they are good for.
        """
        ipv4 = tuple(host for host in hosts if host.family == socket.AF_INET)
        ipv6 = tuple(host for host in hosts if host.family == socket.AF_INET6)
        return cls(_answer(ipv4, ttl), _answer(ipv6, ttl), hosts[0].family == socket.AF_INET6)


def _answer(hosts: tuple[Host, ...], ttl: float) -> Answer:
    return Answer(Verdict.FOUND, hosts, ttl) if hosts else Answer(Verdict.NO_ADDRESS)

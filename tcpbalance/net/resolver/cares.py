"""Asks name servers by c-ares: the hosts file first, then A and AAAA records, each for itself.

Nothing is open between two questions. A channel is made for a question, shared with those that are asked
while it is under way, and closed after the last answer. So ``resolv.conf`` counts as it is at the time,
nothing is made before a daemon forks, and c-ares' own cache, which knows no ``max_ttl``, gets no older than a
second. A channel costs about 0.2 ms, and a name is asked for once in its time to live.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable
from functools import partial
from ipaddress import IPv6Address, ip_network
from typing import Any

import pycares
from attrs import evolve
from twisted.internet.defer import Deferred, succeed

from tcpbalance.config.resolver import ResolverConfig
from tcpbalance.net.errnos import OUT_OF_DESCRIPTORS
from tcpbalance.net.resolver.answer import Answer, Host, Reply, Verdict
from tcpbalance.net.resolver.hosts_file import HostsFile

TRIES = 2
"""How often each name server is asked."""

MAX_AGE = 1.0
"""Seconds that a channel takes new questions; its configuration and its cache get no older."""

MAX_CHANNELS = 4
"""Channels open at one time. While servers are silent, questions last for longer than ``MAX_AGE``; once there
are so many channels, the newest takes new questions until the oldest has had its answers and is closed. Each
has a thread and an inotify instance, of which a user has 128 (inotify(7))."""

DESCRIPTORS = 8
"""What a channel has open at most: those of its thread, and a socket or two for each of some servers."""

_TYPES = {socket.AF_INET: pycares.QUERY_TYPE_A, socket.AF_INET6: pycares.QUERY_TYPE_AAAA}

_VERDICTS_OF_ARES = {
    pycares.errno.ARES_ENOTFOUND: Verdict.NO_SUCH_NAME,
    pycares.errno.ARES_ENODATA: Verdict.NO_ADDRESS,
    pycares.errno.ARES_ESERVFAIL: Verdict.SERVER_FAILURE,
    pycares.errno.ARES_ENOTIMP: Verdict.SERVER_FAILURE,
    pycares.errno.ARES_EREFUSED: Verdict.REFUSED,
    pycares.errno.ARES_ETIMEOUT: Verdict.TIMED_OUT,
    pycares.errno.ARES_ECONNREFUSED: Verdict.UNREACHABLE,
    pycares.errno.ARES_EFORMERR: Verdict.BAD_ANSWER,
    pycares.errno.ARES_EBADRESP: Verdict.BAD_ANSWER,
    pycares.errno.ARES_ENOMEM: Verdict.NO_MEMORY,
}

_UNIQUE_LOCAL = ip_network("fc00::/7")


class _Channel:
    """One of c-ares' channels, with a thread and sockets of its own.

    :ivar under_way: how many answers are still to come.
    :ivar made: when, in seconds.
    :raises pycares.AresError: there is no descriptor or memory for it.
    """

    def __init__(self, config: ResolverConfig, now: float) -> None:
        self.made = now
        self.under_way = 0
        self._servers = pycares.Channel(
            timeout=config.timeout,
            tries=TRIES,
            servers=[str(server) for server in config.servers] or None,
        )

    def ask(self, host: str, family: socket.AddressFamily, callback: Any) -> None:
        """Ask the name servers, in the search domains too.

        :param callback: called with the result and the error, in any thread.
        :raises UnicodeError: it is not a host name.
        """
        # An error at once is given to the callback as well.
        with contextlib.suppress(pycares.AresError):
            self._servers.search(host, _TYPES[family], callback=callback)
        self.under_way += 1

    def close(self) -> None:
        """Close it; what is under way is answered with an error."""
        self._servers.close()


class CaresEngine:
    """Asks name servers. See ``resolver.Engine``.

    :param reactor: gets the answers (IReactorFromThreads), and has the time.
    :param config: which servers, and how long they may take.
    """

    def __init__(self, reactor: Any, config: ResolverConfig) -> None:
        self._reactor = reactor
        self._config = config
        self._open: list[_Channel] = []
        self._hosts_file = HostsFile(reactor)

    def ask(self, host: str) -> Deferred[Reply]:
        """See ``resolver.Engine``."""
        if not _is_name(host):
            return succeed(Reply.failed(Verdict.BAD_NAME))
        return Deferred.fromCoroutine(self._ask(host))

    async def _ask(self, host: str) -> Reply:
        try:
            await self._hosts_file.ready()
            if hosts := self._hosts_file.find(host):
                return _reply_of_file(hosts)
            question = self._ask_servers(host)
        except UnicodeError:
            return Reply.failed(Verdict.BAD_NAME)
        except (pycares.AresError, OSError, RuntimeError, MemoryError):
            return Reply.failed(_shortage())
        return await question.reply

    def _ask_servers(self, host: str) -> _Question:
        channel = self._channel()
        question = _Question(self, channel, host)
        try:
            for family in _TYPES:
                channel.ask(host, family, partial(question.on_answer, family))
        finally:
            self._close_unused(channel)
        return question

    def stop(self) -> None:
        """See ``resolver.Engine``."""
        self._hosts_file.stop()
        channels, self._open = self._open, []
        for channel in channels:
            channel.close()

    def _channel(self) -> _Channel:
        """Give the one that takes new questions; older ones are closed by the last of their answers."""
        now = self._reactor.seconds()
        is_young = bool(self._open) and 0 <= now - self._open[-1].made < MAX_AGE
        if not is_young and len(self._open) < MAX_CHANNELS:
            self._open.append(_Channel(self._config, now))
        return self._open[-1]

    def call(self, take: Any, *args: Any) -> None:
        """Let the reactor's thread call *take*; nothing happens when the reactor has ended meanwhile."""
        with contextlib.suppress(RuntimeError):
            self._reactor.callFromThread(take, *args)

    def answered(self, channel: _Channel) -> None:
        """One more answer has come."""
        channel.under_way -= 1
        self._close_unused(channel)

    def _close_unused(self, channel: _Channel) -> None:
        if not channel.under_way and channel in self._open:
            self._open.remove(channel)
            channel.close()


class _Question:
    """Both questions about one name."""

    def __init__(self, engine: CaresEngine, channel: _Channel, host: str) -> None:
        self._engine = engine
        self._channel = channel
        self._host = host.removesuffix(".").lower()
        self._answers: dict[socket.AddressFamily, Answer] = {}
        self._names: dict[socket.AddressFamily, str] = {}
        self.reply: Deferred[Reply] = Deferred()

    def on_answer(self, family: socket.AddressFamily, result: Any, error: int | None) -> None:
        """Called by c-ares, in a thread of its own or before ``getaddrinfo`` returns."""
        self._engine.call(self._take, family, result, error)

    def _take(self, family: socket.AddressFamily, result: Any, error: int | None) -> None:
        self._answers[family] = answer = _answer(result, error, family)
        if answer.hosts:
            self._names[family] = self._name_found(result.answer)
        self._engine.answered(self._channel)
        if len(self._answers) == len(_TYPES):
            self._drop_the_other_name()
            ipv4, ipv6 = (self._answers[family] for family in _TYPES)
            self.reply.callback(Reply(ipv4, ipv6, _prefers_ipv6(ipv6.hosts)))

    def _name_found(self, records: Any) -> str:
        """The name that was found, which is not the one asked for where a search domain was added."""
        names = [str(record.name).lower() for record in records]
        return self._host if self._host in names else names[0]

    def _drop_the_other_name(self) -> None:
        """Use one name where both families were found under different ones, by different search domains.

        These may be different servers. The name as it was asked for counts, else that of the IPv4 addresses.
        """
        if len(set(self._names.values())) > 1:
            ipv4, ipv6 = _TYPES
            other = ipv4 if self._names[ipv6] == self._host else ipv6
            self._answers[other] = Answer(Verdict.NO_ADDRESS)


def _is_name(host: str) -> bool:
    """Whether it can be a host name: RFC 1035, section 2.3.4."""
    labels = host.removesuffix(".").split(".")
    return len(host) <= 254 and all(0 < len(label) <= 63 for label in labels)


def _answer(result: Any, error: int | None, family: socket.AddressFamily) -> Answer:
    if error is not None:
        return Answer(_VERDICTS_OF_ARES.get(error, Verdict.UNKNOWN))
    records = result.answer
    found = [record.data.addr for record in records if record.type == _TYPES[family]]
    if not found:
        return Answer(Verdict.NO_ADDRESS)
    hosts = _distinct(Host(int(family), address) for address in found)
    return Answer(Verdict.FOUND, hosts, min(record.ttl for record in records))


def _distinct(hosts: Iterable[Host]) -> tuple[Host, ...]:
    return tuple(dict.fromkeys(hosts))


def _reply_of_file(hosts: tuple[Host, ...]) -> Reply:
    reply = Reply.of_hosts(hosts, 0.0)
    return evolve(reply, ipv6_first=_prefers_ipv6(reply.ipv6.hosts))


def _prefers_ipv6(hosts: tuple[Host, ...]) -> bool:
    """Whether to try IPv6 before IPv4: RFC 6724, section 6, rules 1 and 6 with the table of section 2.1.

    Connecting a UDP socket sends nothing; it fails where there is no route.
    """
    if not hosts or IPv6Address(hosts[0].address) in _UNIQUE_LOCAL:
        return False
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            return sock.connect_ex((hosts[0].address, 9, 0, hosts[0].scope)) == 0
    except OSError:
        return False


def _shortage() -> Verdict:
    """What it is that a channel could not be made for want of; c-ares does not say."""
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(DESCRIPTORS):
                stack.enter_context(socket.socket())
    except OSError as error:
        return Verdict.NO_DESCRIPTOR if error.errno in OUT_OF_DESCRIPTORS else Verdict.NO_MEMORY
    return Verdict.NO_MEMORY

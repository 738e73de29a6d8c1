"""Says in a word or two why a connection failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.defer import TimeoutError as WaitTimeout
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout

from tcpbalance.errors import Fault
from tcpbalance.health.probes.base import NoVerdict, ProbeFailed
from tcpbalance.net.connect_errors import ConnectFailed
from tcpbalance.net.resolver.answer import Verdict


def verdict_on(error: BaseException) -> ProbeFailed | NoVerdict | None:
    """What an error says about the backend.

    :returns: None for an error that is neither a verdict nor Twisted's or the system's about a connection.
    """
    if isinstance(error, ProbeFailed | NoVerdict):
        return error
    if isinstance(error, DNSLookupError):
        # Twisted raises the same for a name that does not exist and a name server that does not answer.
        return NoVerdict(Verdict.UNKNOWN.value)
    cause = _cause(error)
    if cause:
        return ProbeFailed(cause)
    number = _number(error)
    failure = ConnectFailed.from_errno(number) if number else error
    if not isinstance(failure, ConnectFailed):
        return None
    if failure.fault is Fault.BALANCER:
        # Our own trouble must not take down a whole pool.
        return NoVerdict(failure.cause, failure.remedy)
    # What has the name of a file in it is not about a connection: the probe has looked for a file of its own.
    return None if getattr(error, "filename", None) else ProbeFailed(failure.cause)


@contextmanager
def named_causes() -> Iterator[None]:
    """Turn errors of connections, in the block, into `ProbeFailed` and `NoVerdict`."""
    try:
        yield
    except Exception as error:
        verdict = verdict_on(error)
        if verdict is None or verdict is error:
            raise
        raise verdict from error


def _cause(error: BaseException) -> str:
    match error:
        case ConnectTimeout() | WaitTimeout():
            return "timed out"
        case ConnectionLost():
            return "reset"
        case ConnectionDone():
            return "closed before answering"
        case ConnectError() if not error.osError:
            return str(error)
    return ""


def _number(error: BaseException) -> int:
    """The error number of the system, 0 for none."""
    if isinstance(error, ConnectError):
        number = error.osError
    else:
        number = error.errno if isinstance(error, OSError) else 0
    return number if isinstance(number, int) else 0

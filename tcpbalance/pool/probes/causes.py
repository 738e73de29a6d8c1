"""Says in a word or two why a connection failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.defer import TimeoutError as WaitTimeout
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout

from tcpbalance.errors import Fault
from tcpbalance.net.connecting import NOT_FOUND, ConnectFailed
from tcpbalance.net.faults import fault_of_errno
from tcpbalance.pool.probes.base import NoVerdict, ProbeFailed


def verdict_on(error: BaseException) -> ProbeFailed | NoVerdict | None:
    """What an error says about the backend.

    :returns: None for an error that is neither a verdict nor Twisted's or the system's about a connection.
    """
    if isinstance(error, ProbeFailed | NoVerdict):
        return error
    if isinstance(error, ConnectFailed):
        return NoVerdict(error.cause) if error.fault is Fault.BALANCER else ProbeFailed(error.cause)
    number = _number(error)
    if fault_of_errno(number) is Fault.BALANCER:
        # Our own trouble must not take down a whole pool.
        return NoVerdict(_cause_of_number(number))
    cause = _cause(error) or (_cause_of_number(number) if number else "")
    return ProbeFailed(cause) if cause else None


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
        case DNSLookupError():
            return NOT_FOUND
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


def _cause_of_number(number: int) -> str:
    return ConnectFailed.from_errno(number).cause

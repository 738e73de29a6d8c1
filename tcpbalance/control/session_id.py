"""What the API calls a session: nothing is stored in it for that."""

from __future__ import annotations

import re

from attrs import frozen

from tcpbalance.control.timestamps import milliseconds
from tcpbalance.proxy.registry import OpenSession

_ID = re.compile(r"([0-9a-f]{1,4})\.([0-9a-f]{1,16})\.([0-9a-f]{1,12})")

_ADDRESS_BITS = 64
_ADDRESS = (1 << _ADDRESS_BITS) - 1

_KEY_DIGITS, _WORKER_DIGITS = 28, 4
ORDER_DIGITS = _KEY_DIGITS + _WORKER_DIGITS
"""Of an ``order_text``, which are hexadecimal."""


@frozen(order=True)
class SessionId:
    """Unique among the sessions that are open; the order is that of their beginnings.

    :param key: when it began, and where it is in the memory of its process: unique in that.
    :param worker: the number of its process.
    """

    key: int
    worker: int

    @classmethod
    def parse(cls, text: str) -> SessionId | None:
        """Read one; None where it is none."""
        match = _ID.fullmatch(text)
        if match is None:
            return None
        worker, address, start = (int(part, 16) for part in match.groups())
        return cls(start << _ADDRESS_BITS | address, worker)

    @classmethod
    def of_order(cls, order: bytes) -> SessionId:
        """Read one of ``order_text``."""
        return cls(int(order[:_KEY_DIGITS], 16), int(order[_KEY_DIGITS:], 16))

    @property
    def order(self) -> str:
        """See ``order_text``."""
        return order_text(self.key, self.worker)

    def __str__(self) -> str:
        return id_text(self.key, self.worker)


def id_text(key: int, worker: int) -> str:
    """Write a session id; a list has thousands of them."""
    return f"{worker:x}.{key & _ADDRESS:x}.{key >> _ADDRESS_BITS:x}"


def order_text(key: int, worker: int) -> str:
    """Write a session id as text that is in the order of ``SessionId``."""
    return f"{key:028x}{worker:04x}"


def key_of(session: OpenSession) -> int:
    """Give the ``key`` of a session."""
    return milliseconds(session.started) << _ADDRESS_BITS | id(session)

"""Users for tests, with hashes that take little time."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

PASSWORD = b"open sesame"

HASH = b"$2b$04$Zwtv7S1ld2jzfmIobZKrLOYMsWmq/8Cky3W9pQh/yv.MTxBYR780y"
"""Of that, with the least cost that there is."""


def hashed(password: bytes, cost: int = 4) -> bytes:
    """Give a hash of a password.

    :param cost: of bcrypt; with 4, a check takes a few milliseconds, and with each more twice as long.
    """
    import bcrypt

    made: bytes = bcrypt.hashpw(password, bcrypt.gensalt(cost))
    return made


def users_file(folder: Path, text: str = "alice:{hash}\n") -> Path:
    """Write a file of users.

    :param text: in which ``{hash}`` is that of ``PASSWORD``.
    """
    path = folder / "users"
    path.write_text(text.replace("{hash}", HASH.decode()), encoding="utf-8")
    return path


def proxy_authorization(name: bytes = b"alice", password: bytes = PASSWORD) -> bytes:
    """Give the line of a request that brings a name and a password."""
    return b"Proxy-Authorization: Basic %b\r\n" % b64encode(b"%b:%b" % (name, password))

"""ClientHellos from defaults, which a test spoils in one place; and real ones."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence
from itertools import cycle

GREASE = 0x0A0A
ALPN = 16
PADDING = 21
KEY_SHARE = 51
ENCRYPTED_CLIENT_HELLO = 0xFE0D
NAME = "www.example.com"


def vector(size: int, data: bytes) -> bytes:
    """*data* behind its length, which takes *size* bytes."""
    return len(data).to_bytes(size) + data


def extension(kind: int, data: bytes = b"") -> bytes:
    return kind.to_bytes(2) + vector(2, data)


def server_name(*names: str | bytes, kinds: Iterable[int] = (0,)) -> bytes:
    """The extension, with names of these types in turn."""
    raw = (name.encode() if isinstance(name, str) else name for name in names)
    entries = (bytes([kind]) + vector(2, name) for name, kind in zip(raw, cycle(kinds), strict=False))
    return extension(0, vector(2, b"".join(entries)))


def alpn(*protocols: bytes) -> bytes:
    return extension(ALPN, vector(2, b"".join(vector(1, protocol) for protocol in protocols)))


def body(
    *extensions: bytes,
    session_id: bytes = bytes(32),
    suites: bytes = b"\x13\x01\x13\x02",
    compression: bytes = b"\0",
    block: bytes | None = None,
    behind: bytes = b"",
) -> bytes:
    """What stands in the message.

    :param block: in the place of all extensions with their length.
    :param behind: what does not belong there.
    """
    front = b"\3\3" + bytes(32) + vector(1, session_id) + vector(2, suites) + vector(1, compression)
    return front + (vector(2, b"".join(extensions)) if block is None else block) + behind


def message(content: bytes, kind: int = 1) -> bytes:
    return bytes([kind]) + vector(3, content)


def record(fragment: bytes, kind: int = 22, version: bytes = b"\3\1") -> bytes:
    return bytes([kind]) + version + vector(2, fragment)


def records(whole: bytes, sizes: Sequence[int] = (2**14,)) -> bytes:
    """A message cut into records of these sizes in turn."""
    return b"".join(record(fragment) for fragment in cut(whole, sizes))


def hello(*extensions: bytes) -> bytes:
    """All of it, as it goes over the wire."""
    return records(message(body(*extensions)))


def hello_of(size: int, *extensions: bytes) -> bytes:
    """A message of *size* bytes, the last of them padding."""
    bare = len(message(body(*extensions, extension(PADDING))))
    return message(body(*extensions, extension(PADDING, bytes(size - bare))))


def cut(data: bytes, sizes: Sequence[int]) -> list[bytes]:
    """*data* in pieces of these sizes in turn."""
    pieces = []
    for size in cycle(sizes):
        if not data:
            break
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def real_hello(name: str | None = NAME, protocols: Sequence[str] = ()) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = name is not None
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake with nobody came to its end")

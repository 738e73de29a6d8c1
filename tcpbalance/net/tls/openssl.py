"""OpenSSL's reading and writing, called straight.

pyOpenSSL makes connections and shakes hands for us. Its own calls for reading and writing cost more than
OpenSSL's work in them for a small record: with them, a request on an open connection takes a fifth more
processor time. So these two, and what goes with them, are called through cryptography's bindings, on which
pyOpenSSL does as well.

OpenSSL has no socket here: what came is put into a memory BIO that it reads from, and what it writes is taken
out of another one: BIO_s_mem(3). These two and the connection's handle are looked up once, by `parts_of`: the
attributes of pyOpenSSL's connections are slow.
"""

from __future__ import annotations

import errno
import functools
from typing import Any

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

RECORD = 16 * 1024
"""Bytes that fit into one record: RFC 8446, section 5.1."""

_lib, _ffi = Binding().lib, Binding.ffi

# All TLS sockets are used in one thread, and none of them leaves anything in it.
IN = _ffi.new("char[]", 5 * RECORD)
PLAINTEXT = _ffi.new("char[]", 6 * RECORD)
PLAINTEXT_BYTES = _ffi.buffer(PLAINTEXT)
BUFFER_SIZE = len(PLAINTEXT)
OUT = _ffi.new("char[]", BUFFER_SIZE)
OUTGOING = memoryview(_ffi.buffer(OUT))
_agreed = _ffi.new("unsigned char **")
_agreed_size = _ffi.new("unsigned int *")
_from_buffer = _ffi.from_buffer

INCOMING = memoryview(_ffi.buffer(IN)).cast("B")
"""What has come from a socket is put here: four full records, even where the first has begun before."""

INCOMING_SIZE = len(INCOMING)

# A message is one record, for which sockets call these themselves.
SSL_read, SSL_write, SSL_get_error = _lib.SSL_read, _lib.SSL_write, _lib.SSL_get_error
BIO_read, BIO_write = _lib.BIO_read, _lib.BIO_write

_VERSIONS = {SSL.TLS1_2_VERSION: "TLSv1.2", SSL.TLS1_3_VERSION: "TLSv1.3"}

WANT_READ: int = _lib.SSL_ERROR_WANT_READ
WANT_WRITE: int = _lib.SSL_ERROR_WANT_WRITE
ENDED: int = _lib.SSL_ERROR_ZERO_RETURN
_OF_THE_SYSTEM: int = _lib.SSL_ERROR_SYSCALL
_NONE_OF_ITS_OWN = (errno.EAGAIN, errno.EINTR)


def parts_of(connection: SSL.Connection) -> tuple[Any, Any, Any]:
    """Give OpenSSL's own handle of a connection, what it reads from, and what it writes to."""
    return connection._ssl, connection._into_ssl, connection._from_ssl


def handshake(connection: SSL.Connection, handle: Any) -> bool:
    """Go on with a handshake: SSL_do_handshake(3).

    :returns: whether it is over; else it is the peer's turn.
    :raises SSL.Error: it has failed.
    """
    result = _lib.SSL_do_handshake(handle)
    if result > 0:
        return True
    if SSL_get_error(handle, result) != WANT_READ:
        connection._raise_ssl_error(handle, result)
    return False


def write_out(connection: SSL.Connection, data: bytes) -> None:
    """Have bytes sent to the peer as they are, without TLS.

    :param connection: one that writes memory, whose handshake has failed.
    """
    BIO_write(connection._from_ssl, data, len(data))


def read(handle: Any, max_records: int) -> tuple[bytes, int, int]:
    """Read records, one after the other: SSL_read(3).

    :param max_records: records that are read.
    :returns: what is in them; how many they were; and, where there are fewer, why, by SSL_get_error(3),
        else 0.
    """
    filled = count = 0
    while count < max_records:
        size = SSL_read(handle, PLAINTEXT + filled, BUFFER_SIZE - filled)
        if size <= 0:
            return PLAINTEXT_BYTES[:filled], count, SSL_get_error(handle, size)
        filled += size
        count += 1
    return PLAINTEXT_BYTES[:filled], count, 0


def encrypt(handle: Any, memory: Any, data: Any) -> memoryview | int:
    """Make records of *data*: SSL_write(3).

    :param memory: what OpenSSL writes to; its last bytes have been taken.
    :param data: not nothing, and at most four records' worth.
    :returns: what is to be sent, good until the next call on any connection; or, where OpenSSL refuses, why,
        by SSL_get_error(3).
    """
    source, size = _from_buffer(data), len(data)
    done = filled = 0
    while done < size:
        count = SSL_write(handle, source + done, min(size - done, RECORD))
        if count <= 0:
            return SSL_get_error(handle, count)  # type: ignore[no-any-return]
        done += count
        filled += BIO_read(memory, OUT + filled, BUFFER_SIZE - filled)
    return OUTGOING[:filled]


def copy_in(memory: Any, size: int) -> None:
    """Let OpenSSL read the first bytes of ``INCOMING``: BIO_write(3).

    :param memory: what OpenSSL reads from, and nothing that is lent.
    """
    BIO_write(memory, IN, size)


def lend(connection: SSL.Connection, size: int) -> Any:
    """Let OpenSSL read the first bytes of ``INCOMING`` where they are: BIO_new_mem_buf(3).

    :param connection: one that reads memory, and has read all that it had; it has to read this, too, before
        anything else is put there.
    :returns: what OpenSSL reads from now.
    """
    memory = _lib.BIO_new_mem_buf(IN, size)
    _lib.BIO_set_mem_eof_return(memory, -1)  # that more will come
    return _read_from(connection, memory)


def lend_nothing(connection: SSL.Connection) -> Any:
    """Let OpenSSL read what will be copied in, and no more of what was lent.

    :returns: what OpenSSL reads from now.
    """
    return _read_from(connection, _lib.BIO_new(_lib.BIO_s_mem()))


def shrink(connection: SSL.Connection) -> Any:
    """Free the memory that OpenSSL writes to, which else keeps as much as it ever had to hold.

    :param connection: one whose last bytes have been taken.
    :returns: what OpenSSL writes to now.
    """
    memory = connection._from_ssl = _lib.BIO_new(_lib.BIO_s_mem())
    _lib.SSL_set_bio(connection._ssl, connection._into_ssl, memory)
    return memory


def _read_from(connection: SSL.Connection, memory: Any) -> Any:
    connection._into_ssl = memory
    _lib.SSL_set_bio(connection._ssl, memory, connection._from_ssl)
    return memory


def agreement(connection: SSL.Connection) -> tuple[str, str, bytes | None]:
    """Give what a handshake that is over has agreed on.

    :returns: the version, such as ``"TLSv1.3"``; the name of the suite; and the protocol by ALPN, None for
        none: SSL_get_version(3), SSL_get_current_cipher(3), SSL_get0_alpn_selected(3).
    """
    handle = connection._ssl
    _lib.SSL_get0_alpn_selected(handle, _agreed, _agreed_size)
    protocol = bytes(_ffi.buffer(_agreed[0], _agreed_size[0])) if _agreed_size[0] else None
    version = _VERSIONS.get(_lib.SSL_version(handle)) or connection.get_protocol_version_name()
    return version, _suite_name(_lib.SSL_get_current_cipher(handle)), protocol


@functools.lru_cache(maxsize=64)
def _suite_name(suite: Any) -> str:
    """Name a suite; each is in one place for as long as the process runs."""
    return _ffi.string(_lib.SSL_CIPHER_get_name(suite)).decode() if suite else ""


def was_resumed(connection: SSL.Connection) -> bool:
    """Whether the handshake of a connection resumed an earlier session: SSL_session_reused(3)."""
    return bool(_lib.SSL_session_reused(connection._ssl))


def trouble(kind: int) -> tuple[int, str]:
    """Say what has happened, and forget it.

    :param kind: what a read or write has just failed with, and none of the three that have names here.
    :returns: the error number of the system, 0 where it is none of the system's; and OpenSSL's words.
    """
    number = _ffi.errno if kind == _OF_THE_SYSTEM else 0
    # Where OpenSSL has failed before it asked the system, the number is that of an earlier call.
    number = 0 if number in _NONE_OF_ITS_OWN else number
    words = _lib.ERR_reason_error_string(_lib.ERR_peek_error())
    forget_errors()
    return number, _ffi.string(words).decode("ascii", "replace").lower() if words else ""


def forget_errors() -> None:
    """Empty OpenSSL's queue of errors, which all connections of a thread share.

    pyOpenSSL leaves an error of the system in it, and with OpenSSL 3 the next connection would meet
    that in the place of its own news: SSL_get_error(3).
    """
    _lib.ERR_clear_error()

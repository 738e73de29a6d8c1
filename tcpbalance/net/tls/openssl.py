"""OpenSSL's reading and writing, called straight.

pyOpenSSL makes connections and shakes hands for us. Its own calls for reading and writing cost more than
OpenSSL's work in them for a small record: with them, a request on an open connection takes a fifth more
processor time. So these two, and what goes with them, are called through cryptography's bindings, on which
pyOpenSSL does as well.

OpenSSL has no socket here: what came is put into a memory BIO that it reads from, and what it writes is taken
out of another one: BIO_s_mem(3).
"""

from __future__ import annotations

import errno
from typing import Any

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

RECORD = 16 * 1024
"""Bytes that fit into one record: RFC 8446, section 5.1."""

_lib, _ffi = Binding().lib, Binding.ffi

# All TLS sockets are used in one thread, and none of them leaves anything in it.
_in = _ffi.new("char[]", 5 * RECORD)
_plain = _ffi.new("char[]", 6 * RECORD)
_plain_view = _ffi.buffer(_plain)
_BUFFER_SIZE = len(_plain)
_out = _ffi.new("char[]", _BUFFER_SIZE)
_out_view = memoryview(_ffi.buffer(_out))
_from_buffer = _ffi.from_buffer

INCOMING = memoryview(_ffi.buffer(_in)).cast("B")
"""What has come from a socket is put here: four full records, even where the first has begun before."""

_SSL_read, _SSL_write = _lib.SSL_read, _lib.SSL_write
_BIO_read, _BIO_write = _lib.BIO_read, _lib.BIO_write

WANT_READ: int = _lib.SSL_ERROR_WANT_READ
WANT_WRITE: int = _lib.SSL_ERROR_WANT_WRITE
ENDED: int = _lib.SSL_ERROR_ZERO_RETURN
_OF_THE_SYSTEM: int = _lib.SSL_ERROR_SYSCALL
_NONE_OF_ITS_OWN = (errno.EAGAIN, errno.EINTR)


def handle_of(connection: SSL.Connection) -> Any:
    """OpenSSL's own handle of a connection."""
    return connection._ssl


def read(handle: Any, max_records: int) -> tuple[bytes, int, int]:
    """Read records, one after the other: SSL_read(3).

    :param max_records: records that are read.
    :returns: what is in them; how many they were; and, where there are fewer, why, by SSL_get_error(3),
        else 0.
    """
    filled = count = 0
    while count < max_records:
        size = _SSL_read(handle, _plain + filled, _BUFFER_SIZE - filled)
        if size <= 0:
            return _plain_view[:filled], count, _lib.SSL_get_error(handle, size)
        filled += size
        count += 1
    return _plain_view[:filled], count, 0


def read_one(connection: SSL.Connection, size: int) -> bytes | int:
    """Let OpenSSL read the first bytes of ``INCOMING``, which are one record: BIO_write(3), SSL_read(3).

    :param connection: one that reads memory, and that nothing is lent to.
    :returns: what is in the record; or, where that is nothing, why, by SSL_get_error(3).
    """
    _BIO_write(connection._into_ssl, _in, size)
    size = _SSL_read(connection._ssl, _plain, _BUFFER_SIZE)
    if size > 0:
        return _plain_view[:size]  # type: ignore[no-any-return]  # cffi is not annotated
    return _lib.SSL_get_error(connection._ssl, size)  # type: ignore[no-any-return]


def encrypt(connection: SSL.Connection, data: Any) -> memoryview | int:
    """Make records of *data*: SSL_write(3).

    :param connection: one that writes memory, and whose last bytes have been taken.
    :param data: not nothing, and at most four records' worth.
    :returns: what is to be sent, good until the next call on any connection; or, where OpenSSL refuses, why,
        by SSL_get_error(3).
    """
    handle, memory, size = connection._ssl, connection._from_ssl, len(data)
    source: Any = data if type(data) is bytes and size <= RECORD else _from_buffer(data)
    if size <= RECORD:
        count = _SSL_write(handle, source, size)
        if count > 0:
            return _out_view[: _BIO_read(memory, _out, _BUFFER_SIZE)]
        return _lib.SSL_get_error(handle, count)  # type: ignore[no-any-return]
    done = filled = 0
    while done < size:
        count = _SSL_write(handle, source + done, min(size - done, RECORD))
        if count <= 0:
            return _lib.SSL_get_error(handle, count)  # type: ignore[no-any-return]
        done += count
        filled += _BIO_read(memory, _out + filled, _BUFFER_SIZE - filled)
    return _out_view[:filled]


def written(connection: SSL.Connection) -> memoryview:
    """Take what OpenSSL has written of itself, such as an alert, or a part of it: BIO_read(3).

    :param connection: one that writes memory.
    :returns: good until the next call on any connection.
    """
    return _out_view[: max(_BIO_read(connection._from_ssl, _out, _BUFFER_SIZE), 0)]


def copy_in(connection: SSL.Connection, size: int) -> None:
    """Let OpenSSL read the first bytes of ``INCOMING``: BIO_write(3).

    :param connection: one that reads memory, and that nothing is lent to.
    """
    _BIO_write(connection._into_ssl, _in, size)


def lend(connection: SSL.Connection, size: int) -> None:
    """Let OpenSSL read the first bytes of ``INCOMING`` where they are: BIO_new_mem_buf(3).

    :param connection: one that reads memory, and has read all that it had; it has to read this, too, before
        anything else is put there.
    """
    bio = _lib.BIO_new_mem_buf(_in, size)
    _lib.BIO_set_mem_eof_return(bio, -1)  # that more will come
    _read_from(connection, bio)


def lend_nothing(connection: SSL.Connection) -> None:
    """Let OpenSSL read what will be copied in, and no more of what was lent."""
    _read_from(connection, _lib.BIO_new(_lib.BIO_s_mem()))


def shrink(connection: SSL.Connection) -> None:
    """Free the memory that OpenSSL writes to, which else keeps as much as it ever had to hold.

    :param connection: one whose last bytes have been taken.
    """
    bio = _lib.BIO_new(_lib.BIO_s_mem())
    _lib.SSL_set_bio(connection._ssl, connection._into_ssl, bio)
    connection._from_ssl = bio


def _read_from(connection: SSL.Connection, bio: Any) -> None:
    _lib.SSL_set_bio(connection._ssl, bio, connection._from_ssl)
    connection._into_ssl = bio


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

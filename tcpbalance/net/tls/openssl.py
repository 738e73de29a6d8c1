"""OpenSSL's reading and writing, called straight.

pyOpenSSL makes connections and shakes hands for us. Its own calls for reading and writing cost more than
OpenSSL's work in them for a small record: with them, a request on an open connection takes a fifth more
processor time. So these two, and what goes with them, are called through cryptography's bindings, on which
pyOpenSSL stands as well.
"""

from __future__ import annotations

import errno
from typing import Any

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

RECORD = 16 * 1024
"""Bytes that fit into one record: RFC 8446, section 5.1."""

_lib, _ffi = Binding().lib, Binding.ffi

# All legs live in one thread, and none of them leaves anything in it.
_buffer = _ffi.new("char[]", RECORD)
_view = _ffi.buffer(_buffer)
_from_buffer = _ffi.from_buffer
_SSL_read, _SSL_write = _lib.SSL_read, _lib.SSL_write

WANT_READ: int = _lib.SSL_ERROR_WANT_READ
WANT_WRITE: int = _lib.SSL_ERROR_WANT_WRITE
ENDED: int = _lib.SSL_ERROR_ZERO_RETURN
_OF_THE_SYSTEM: int = _lib.SSL_ERROR_SYSCALL
_NONE_OF_ITS_OWN = (errno.EAGAIN, errno.EINTR)


def handle_of(connection: SSL.Connection) -> Any:
    """OpenSSL's own handle of a connection."""
    return connection._ssl


def read(handle: Any) -> bytes | int:
    """Read one record: SSL_read(3).

    :returns: what is in it; or, where nothing could be read, why, as SSL_get_error(3) tells.
    """
    size = _SSL_read(handle, _buffer, RECORD)
    if size > 0:
        return _view[:size]  # type: ignore[no-any-return]  # cffi is not annotated
    return _lib.SSL_get_error(handle, size)  # type: ignore[no-any-return]


def write(handle: Any, data: Any) -> int:
    """Write one record: SSL_write(3).

    :param data: not nothing, and what fits into one.
    :returns: the bytes that are on their way; or, where none are, why, as the negative of what
        SSL_get_error(3) tells.
    """
    size: int = _SSL_write(handle, _from_buffer(data), len(data))
    return size if size > 0 else -_lib.SSL_get_error(handle, size)


def trouble(kind: int) -> tuple[int, str]:
    """Tell what has happened, and forget it.

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

    pyOpenSSL leaves an error of the system in it, and with OpenSSL 3 the next connection would be told of
    that in the place of its own news: SSL_get_error(3).
    """
    _lib.ERR_clear_error()

"""Which error numbers of the system say nothing about the peer: ``faults`` has the reasons."""

from __future__ import annotations

import errno

OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
"""The process, or the whole system, has no descriptor left: errno(3)."""

EXHAUSTED = OUT_OF_DESCRIPTORS | {errno.ENOBUFS, errno.ENOMEM}
"""Nothing to accept or connect with: no descriptor or no memory."""

NO_LOCAL_PORT = frozenset({errno.EADDRNOTAVAIL, errno.EADDRINUSE})
"""No local address and port to connect from."""

_DEFECTS = frozenset({errno.EBADF, errno.EFAULT, errno.ENOTSOCK, errno.EISCONN, errno.EALREADY})

_OURS = EXHAUSTED | NO_LOCAL_PORT | _DEFECTS | {errno.EPERM}


def is_our_own(code: int) -> bool:
    """Decide whether an error number of the system says nothing about the peer, only about this machine.

    :param code: as in errno(3).
    """
    return code in _OURS

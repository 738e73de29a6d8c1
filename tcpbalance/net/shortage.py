"""What the system says when it is this machine, and not a peer, that has run out of something."""

from __future__ import annotations

import errno

OUT_OF_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})
"""The process, or the whole system, has no descriptor left: errno(3)."""

EXHAUSTED = OUT_OF_DESCRIPTORS | {errno.ENOBUFS, errno.ENOMEM}
"""Nothing to accept or connect with: no descriptor or no memory."""

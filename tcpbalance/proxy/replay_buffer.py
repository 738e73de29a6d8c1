"""What a client has sent, for a backend that is still to come."""

from __future__ import annotations


class ReplayBuffer:
    """Keeps the bytes of a client, in order, so that each backend that is tried can be given all of them.

    :param first: the first of them.
    :ivar chunks: the bytes, as they came.
    :ivar size: how many they are.
    """

    __slots__ = ("chunks", "size")

    limit = 64 * 1024
    """Size from which on nothing is to be added. While no backend is connected, the client is read no
    further then; while one has not answered, no other will be tried."""

    def __init__(self, first: bytes) -> None:
        self.chunks = [first]
        self.size = len(first)

    def add(self, data: bytes) -> None:
        """Keep what has come."""
        self.chunks.append(data)
        self.size += len(data)

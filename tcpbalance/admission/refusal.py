"""Why clients are not let in: the one list that logs, counters and the documentation share."""

from __future__ import annotations

import enum


class Refusal(enum.Enum):
    """Why a client was not let in.

    :ivar word: the name in logs and counters.
    :ivar meaning: one sentence for people.
    """

    BANNED = (
        "banned",
        "refused ban_after times within ban_window, less than ban_for ago, or banned by an operator",
    )
    DENIED = "denied", "its address lies in a network of deny or deny_file"
    NOT_ALLOWED = "not_allowed", "its address lies in no network of allow"
    TOO_MANY_CONNECTIONS = "too_many_connections", "the client has connections_per_client open already"
    TOO_FAST = (
        "too_fast",
        "the client opens connections faster than connect_rate_per_client and burst_per_client allow",
    )

    # Each is one of a kind; Enum's own hash is that of its name, worked out in Python each time.
    __hash__ = object.__hash__

    def __init__(self, word: str, meaning: str) -> None:
        self.word = word
        self.meaning = meaning

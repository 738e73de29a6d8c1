"""Why a client gets no tunnel."""

from __future__ import annotations

import enum


class ConnectRefusal(enum.Enum):
    """Why a request with CONNECT is refused.

    :ivar word: the cause in logs, and the label of a counter.
    :ivar status: of the answer.
    :ivar text: what the client reads; ``{target}`` stands for the host and port that it has asked for.
    """

    CLIENT = "client_not_allowed", 403, "tunnels are not for clients of your network"
    NO_CREDENTIALS = "credentials_missing", 407, "tunnels need a user name and a password"
    WRONG_CREDENTIALS = "credentials_wrong", 407, "the user name or the password is wrong"
    TOO_MANY_CHECKS = "too_many_password_checks", 503, "too many passwords are being checked, try again"
    DESTINATION = "destination_not_allowed", 403, "tunnels to {target} are not allowed"
    ADDRESS = "address_not_allowed", 403, "{target} has no address to which tunnels are allowed"

    # Each is one of a kind; Enum's own hash is that of its name, worked out in Python each time.
    __hash__ = object.__hash__

    def __init__(self, word: str, status: int, text: str) -> None:
        self.word = word
        self.status = status
        self.text = text


class ConnectRefused(Exception):
    """A client gets no tunnel.

    :ivar refusal: why.
    """

    def __init__(self, refusal: ConnectRefusal) -> None:
        super().__init__(refusal.word)
        self.refusal = refusal

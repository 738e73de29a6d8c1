"""Why a command ends without having done what it should."""

from __future__ import annotations

from tcpbalance.errors import TcpbalanceError

REFUSED = 1
"""Exit status: the balancer has refused, or something is wrong."""

UNREACHABLE = 3
"""Exit status: the admin side cannot be reached."""


class CommandError(TcpbalanceError):
    """A command cannot be done; its text is one line for standard error.

    :param status: the exit status.
    """

    def __init__(self, message: str, status: int = REFUSED) -> None:
        super().__init__(message)
        self.status = status

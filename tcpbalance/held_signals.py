"""Signals that wait until there are handlers for them."""

import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
"""What the daemon has handlers for."""


def hold() -> None:
    """Have the system keep them for this process, and for what it forks into, until they are let in."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def let_in() -> None:
    """Take those that have come since, and all that are still to come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

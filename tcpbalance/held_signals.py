"""Signals that wait until there are handlers for them."""

import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
"""What the daemon has handlers for."""


def hold() -> None:
    """Have the system keep them for this process, and for what it forks into, until they are let in.

    A signal that was ignored when the process started is no longer ignored: ``twistd`` would leave it alone,
    and not rotate its log on SIGUSR1.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def admitted() -> None:
    """Take those that have come since, and all that are still to come."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

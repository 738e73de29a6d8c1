"""Signals that are blocked until there are handlers for them."""

import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP)
"""Those that the daemon handles."""


def hold() -> None:
    """Block them in this process, and in what it forks into, until they are released.

    A signal that the parent process has set to be ignored is no longer ignored: ``twistd`` would leave it
    so, and not rotate its log on SIGUSR1.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def release() -> None:
    """Deliver those that have come since, and all later ones."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

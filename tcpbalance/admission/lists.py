"""Admission as the tables of a frontend say it; its lists are read anew when their file changes."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from tcpbalance.admission.access import Access
from tcpbalance.admission.control import AdmissionControl
from tcpbalance.admission.deny_file import read_deny_file
from tcpbalance.admission.limits import limits_clients
from tcpbalance.admission.networks import NetworkSet, no_rest
from tcpbalance.config.admission import AccessConfig, LimitsConfig
from tcpbalance.threads import give_way


def admits_all(access: AccessConfig | None, limits: LimitsConfig) -> bool:
    """Whether there is neither a list nor a limit by which a client could be refused."""
    return access is None and not limits_clients(limits)


def make_admission(
    access: AccessConfig | None,
    limits: LimitsConfig,
    clock: Callable[[], float],
    lists: Access | None = None,
) -> AdmissionControl:
    """Make what admits clients by lists and limits.

    :param clock: seconds on a monotonic clock.
    :param lists: what has been made of *access* already; None to make it, which reads its file.
    :raises DenyFileError: the deny file has mistakes.
    """
    return AdmissionControl(lists or read_access(access or AccessConfig()), limits, clock)


def read_access(config: AccessConfig, rest: Callable[[], object] = no_rest) -> Access:
    """Make lists of what a table says, and of its file.

    :param rest: see `read_deny_file`.
    :raises DenyFileError: the file has mistakes.
    """
    return Access(
        NetworkSet(network.network for network in config.allow),
        NetworkSet(network.network for network in config.deny),
        NetworkSet() if config.deny_file is None else read_deny_file(config.deny_file, rest),
        dry_run=config.dry_run,
    )


@define
class DenyFile:
    """Keeps the lists of an admission up to date with a file; equal to another one of the same lists.

    :param admission: whose lists they are.
    :param config: names the file, and what else is in the lists.
    :ivar files: that file.
    :ivar warnings: none; a file with a mistake is not used.
    """

    _admission: AdmissionControl
    _config: AccessConfig
    files: tuple[str, ...] = field(init=False)
    warnings: tuple[str, ...] = field(default=(), init=False)

    @files.default
    def _files(self) -> tuple[str, ...]:
        return () if self._config.deny_file is None else (self._config.deny_file,)

    def prepare(self) -> Callable[[], None]:
        """Read it again.

        :returns: puts the new lists in the place of the old ones.
        :raises DenyFileError: it has mistakes; the lists stay as they were.
        """
        access = read_access(self._config, give_way)
        return lambda: setattr(self._admission, "access", access)

    def is_outdated(self) -> bool:
        """Never: there is no time in it."""
        return False

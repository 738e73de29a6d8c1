"""How the services of one process follow those of another one, which finds out how backends stand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.defer import Deferred

from tcpbalance.admission.control import AdmissionControl
from tcpbalance.config.pools import HealthConfig
from tcpbalance.event import OneTimeEvent
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.pool.recorded_affinity import RecordedAffinity

OnDown = Callable[[Backend], None]

OnDrained = Callable[[Iterable[Backend]], None]


class Monitor(Protocol):
    """What is known of the checks of a pool; see ``HealthMonitor``.

    :ivar pool: whose backends are checked.
    :ivar config: the checks.
    :ivar first_round: fires when each backend has had its first check.
    """

    pool: Pool
    config: HealthConfig
    first_round: Deferred[None]

    def startService(self) -> None:
        """Begin, before the pool serves."""
        ...

    def take_over(self) -> None:
        """Begin with a pool that serves already."""
        ...

    def check_by(self, config: HealthConfig) -> None:
        """Check in another way from now on."""
        ...

    def stopService(self) -> Deferred[None]:
        """End."""
        ...

    def give_up(self) -> Deferred[None]:
        """End for good; what waits for the first round waits no longer."""
        ...


class AffinityKeeper(Protocol):
    """Keeps what is known of the clients of a pool; see ``AffinityJournal``.

    :ivar restored: happens when what was kept is in the table, or is waited for no longer.
    """

    restored: OneTimeEvent[None]

    @property
    def table(self) -> object:
        """What is kept, to be compared."""
        ...

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> Deferred[None]:
        """Keep what is left.

        :returns: fires when that is done, or cannot be.
        """
        ...


class Following(Protocol):
    """Has the services of this process follow those of another one."""

    def begin(self, pool: Pool, on_down: OnDown, on_drained: OnDrained) -> None:
        """Have the backends of a pool stand as that process says.

        :param on_down: called with each that its checks take down.
        :param on_drained: called with those that drain, when the time of their sessions is over.
        """
        ...

    def end(self, pool: Pool) -> None:
        """Follow no more."""
        ...

    def monitor(self, pool: Pool, config: HealthConfig) -> Monitor:
        """Give what stands for the checks of a pool, which that process makes."""
        ...

    def journal(self, pool: Pool, table: RecordedAffinity) -> AffinityKeeper:
        """Give what stands for the file of the pool's affinity, which that process writes."""
        ...

    def share_bans(self, frontend: str, control: AdmissionControl) -> None:
        """Report each ban of a frontend, and take over those that that process knows."""
        ...

    def forget_bans(self, frontend: str, control: AdmissionControl) -> None:
        """Share the bans of a frontend no longer, which has ended or goes on by another control."""
        ...

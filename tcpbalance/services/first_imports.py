"""Imports what only some configurations need, before the first service that needs it is made."""

from __future__ import annotations

from importlib import import_module

from tcpbalance.config.models import Config


def import_what_serves(config: Config, *, follows: bool) -> None:
    """Import the modules that services need by a configuration, and that a process does without otherwise.

    It takes up to 50 ms. Called in a thread, it keeps clients from waiting for that when the services are
    made.

    :param follows: whether another process makes the checks and writes affinity down.
    """
    if any(frontend.mode == "http" for frontend in config.frontends.values()):
        import_module("tcpbalance.http.factory")
    if follows:
        return
    pools = config.pools.values()
    if any(pool.health is not None for pool in pools):
        import_module("tcpbalance.health.monitor")
    if any(pool.affinity is not None and pool.affinity.state_file is not None for pool in pools):
        import_module("tcpbalance.journal.affinity_journal")

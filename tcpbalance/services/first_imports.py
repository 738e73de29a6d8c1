"""Imports what only some configurations need, before the first service that needs it is made."""

from __future__ import annotations

from importlib import import_module

from tcpbalance.config.models import Config


def import_what_serves(config: Config, *, follows: bool) -> None:
    """Import the modules that services need by a configuration.

    It takes up to 50 ms. Called in a thread, it keeps clients from waiting for that when the services are
    made.

    :param follows: see `modules_that_serve`.
    """
    for module in modules_that_serve(config, follows=follows):
        import_module(module)


def modules_that_serve(config: Config, *, follows: bool) -> list[str]:
    """Give the modules that services need by a configuration, and that a process does without otherwise.

    :param follows: whether another process makes the checks and writes affinity down.
    """
    frontends, pools = config.frontends.values(), config.pools.values()
    needed = {
        "tcpbalance.http.factory": any(frontend.mode == "http" for frontend in frontends),
        "tcpbalance.net.tls.server": any(frontend.tls is not None for frontend in frontends),
        "tcpbalance.net.tls.client": any(pool.tls is not None for pool in pools),
    }
    if not follows:
        needed["tcpbalance.health.monitor"] = any(pool.health is not None for pool in pools)
        needed["tcpbalance.journal.affinity_journal"] = any(
            pool.affinity is not None and pool.affinity.state_file is not None for pool in pools
        )
    return [module for module, is_needed in needed.items() if is_needed]

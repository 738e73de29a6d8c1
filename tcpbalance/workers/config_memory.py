"""A configuration on its way from the supervisor to workers, in memory that they map."""

from __future__ import annotations

import mmap
import os
import pickle

import attrs

from tcpbalance.config.models import Config


def write_config(config: Config) -> int:
    """Put a configuration where a worker reads it.

    :returns: a descriptor of memory.
    """
    descriptor = os.memfd_create("tcpbalance configuration")
    # The supervisor alone gives socket files their mode and owner.
    frontends = {
        name: attrs.evolve(frontend, listen_mode=None, listen_user=None, listen_group=None)
        for name, frontend in config.frontends.items()
    }
    with os.fdopen(os.dup(descriptor), "wb") as file:
        pickle.dump(attrs.evolve(config, frontends=frontends), file)
    return descriptor


def read_config(descriptor: int) -> Config:
    """Read what the supervisor has written; it is of the same program, which trusts itself."""
    # Not as a file, whose position other workers move.
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as memory:
        config: Config = pickle.loads(memory)  # noqa: S301 - see above
    return config

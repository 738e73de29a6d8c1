"""Finds the backend that a command names: ``POOL/BACKEND``, or ``BACKEND`` where only one is called so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tcpbalance.cli.command_error import CommandError
from tcpbalance.config.messages import choices, guess, quoted

BACKEND_METAVAR = "[POOL/]BACKEND"


class NamedBackend(NamedTuple):
    """A backend of a pool.

    :ivar found: as the admin side describes it.
    """

    pool: str
    backend: str
    found: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.pool}/{self.backend}"


def find_named(pools: Iterable[Mapping[str, Any]], text: str) -> NamedBackend:
    """Find a backend. Names may have slashes in them, so all are compared.

    :param pools: as the admin side describes them.
    :raises CommandError: there is none, or there are several.
    """
    known = [
        NamedBackend(pool["name"], backend["name"], backend) for pool in pools for backend in pool["backends"]
    ]
    exact = [its for its in known if str(its) == text]
    found = exact or [its for its in known if its.backend == text]
    if not found:
        names = [str(its) for its in known]
        hint = guess(text, names, "the backends are") if names else "there are no backends"
        raise CommandError(f"no backend is named {quoted(text)}, {hint}")
    if len(found) > 1:
        raise CommandError(f"several backends are named {quoted(text)}: {choices(map(str, found), 'and')}")
    return found[0]

"""Access lists: who may come in, by the address alone."""

from __future__ import annotations

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.admission.refusal import Refusal

NOBODY = NetworkSet()


class Access:
    """Lists of networks whose clients may, or may not, come in; deny wins.

    Without any network it lets everybody in.

    :param allow: an empty one allows all.
    :param deny: refused.
    :param listed: refused as well; what a deny file holds.
    :param dry_run: whether they are on trial: whom they would refuse comes in.
    """

    __slots__ = ("_allow", "_deny", "dry_run")

    def __init__(
        self,
        allow: NetworkSet = NOBODY,
        deny: NetworkSet = NOBODY,
        listed: NetworkSet = NOBODY,
        *,
        dry_run: bool = False,
    ) -> None:
        self.dry_run = dry_run
        self._allow = allow or None
        self._deny = tuple(networks for networks in (deny, listed) if networks)

    def refusal(self, client: bytes | None) -> Refusal | None:
        """Tell why a client may not come in, None when it may.

        :param client: its packed address, whole, as ``net.addresses.packed`` gives it; one that has none, as
            at a unix socket, is in no list and may come in.
        """
        if client is None:
            return None
        for networks in self._deny:
            if client in networks:
                return Refusal.DENIED
        if self._allow is not None and client not in self._allow:
            return Refusal.NOT_ALLOWED
        return None

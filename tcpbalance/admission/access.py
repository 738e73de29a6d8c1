"""Access lists: which clients are admitted, by their address."""

from __future__ import annotations

from tcpbalance.admission.networks import NetworkSet
from tcpbalance.admission.refusal import Refusal

NO_NETWORKS = NetworkSet()


class Access:
    """Lists of networks whose clients are admitted or refused; deny takes precedence.

    Without any network, all clients are admitted.

    :param allow: an empty one allows all.
    :param deny: refused.
    :param listed: refused as well; what a deny file holds.
    :param dry_run: whether clients that the lists would refuse are only counted, and admitted.
    :param needs_address: whether ``allow`` refuses a client without an address; else, what decides is the
        mode of the file of the unix socket that it comes by.
    """

    __slots__ = ("_allow", "_deny", "_listed", "_without_address", "dry_run")

    def __init__(
        self,
        allow: NetworkSet = NO_NETWORKS,
        deny: NetworkSet = NO_NETWORKS,
        listed: NetworkSet = NO_NETWORKS,
        *,
        dry_run: bool = False,
        needs_address: bool = False,
    ) -> None:
        self.dry_run = dry_run
        self._allow = allow or None
        self._deny = tuple(networks for networks in (deny, listed) if networks)
        self._listed = listed
        self._without_address = Refusal.NOT_ALLOWED if needs_address and allow else None

    def refusal(self, client: bytes | None) -> Refusal | None:
        """Give the reason why a client is refused, None if it is admitted.

        :param client: its packed address, whole, as ``net.addresses.packed`` gives it; one that has none, as
            at a unix socket, is in no list.
        """
        if client is None:
            return self._without_address
        for networks in self._deny:
            if client in networks:
                return Refusal.DENIED
        if self._allow is not None and client not in self._allow:
            return Refusal.NOT_ALLOWED
        return None

    def decisive_list(self, client: bytes | None) -> str | None:
        """Give the key of the list that decides about a client; None where none does.

        :param client: see `refusal`.
        """
        match self.refusal(client):
            case Refusal.DENIED:
                return "deny_file" if client in self._listed else "deny"
            case None if self._allow is None or client is None:
                return None
        return "allow"

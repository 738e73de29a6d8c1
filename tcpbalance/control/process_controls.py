"""The controls of a balancer that is one process."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from tcpbalance.balancer import Balancer
from tcpbalance.config.models import Config
from tcpbalance.control.finding import find_backend
from tcpbalance.control.in_pieces import in_pieces
from tcpbalance.control.report import report_of, sum_of
from tcpbalance.control.view import View, view_of
from tcpbalance.pool.backend import AdminState


class ProcessControls:
    """See ``Controls``.

    :param reactor: IReactorTime.
    :param balancer: made of a configuration.
    """

    def __init__(self, reactor: Any, balancer: Balancer) -> None:
        self._reactor = reactor
        self._balancer = balancer

    @property
    def config(self) -> Config:
        """See ``Controls``."""
        config = self._balancer.config
        assert config is not None
        return config

    def view(self) -> Deferred[View]:
        """See ``Controls``."""
        report = in_pieces(self._reactor, report_of(self._balancer.factories, self._balancer.pools))
        return report.addCallback(lambda own: view_of(self.config, self._balancer.pools, sum_of([own])))

    def set_admin_state(self, pool: str, backend: str, state: AdminState) -> None:
        """See ``Controls``."""
        its, found = find_backend(self._balancer.pools, pool, backend)
        its.set_admin_state(found, state)

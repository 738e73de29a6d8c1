"""Another configuration in one worker: prepared when the supervisor asks, then committed or abandoned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.balancer import Balancer
from tcpbalance.build import PreparedConfig
from tcpbalance.config.models import Config
from tcpbalance.errors import TcpbalanceError
from tcpbalance.services.stepped import PreparedChange
from tcpbalance.threads import InThread, give_way


class WorkerChange:
    """One change of the configuration.

    :param balancer: serves by the present one.
    :param config: the other one.
    :param number: of the change, by which it is reported.
    :param say: sends the supervisor a message.
    """

    _log = Logger()

    def __init__(
        self, balancer: Balancer, config: Config, number: int, say: Callable[[dict[str, Any]], None]
    ) -> None:
        self._balancer = balancer
        self._config = config
        self._number = number
        self._say = say
        self._prepared: PreparedChange | None = None
        self._is_abandoned = False

    def prepare(self, in_thread: InThread) -> None:
        """Take all that may be refused, and report whether it was."""
        in_thread(self._make).addCallback(self._take).addErrback(self._refuse)

    def _make(self) -> PreparedConfig:
        return self._balancer.prepare_config(self._config, give_way)

    def _take(self, config: PreparedConfig) -> None:
        if not self._is_abandoned:
            self._prepared = self._balancer.prepare_change(config)
            self._say({"prepared": self._number})

    def _refuse(self, failure: Failure) -> None:
        if not isinstance(failure.value, TcpbalanceError):
            self._log.failure("a configuration cannot be prepared", failure)
        self._say({"refused": self._number, "error": str(failure.value)})

    def commit(self) -> None:
        """Serve by it."""
        if self._prepared is not None:
            self._prepared.commit()

    def abandon(self) -> None:
        """Serve on by the present one."""
        self._is_abandoned = True
        if self._prepared is not None:
            self._prepared.abandon()

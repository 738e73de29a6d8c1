"""Another configuration in one worker: prepared when the supervisor asks, then committed or abandoned."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.balancer import Balancer
from tcpbalance.build import PreparedConfig
from tcpbalance.errors import TcpbalanceError
from tcpbalance.services.stepped import PreparedChange
from tcpbalance.threads import InThread, give_way
from tcpbalance.workers.config_memory import read_config
from tcpbalance.workers.files import FilesOfChange
from tcpbalance.workers.messages import MAX_TEXT


class WorkerChange:
    """One change of the configuration.

    :param balancer: serves by the present one.
    :param memory: the other one, see ``worker.read_config``; the change's from here on.
    :param files: that it names.
    :param number: of the change, by which it is reported.
    :param say: sends the supervisor a message.
    """

    _log = Logger()

    def __init__(
        self,
        balancer: Balancer,
        memory: int,
        files: FilesOfChange,
        number: int,
        say: Callable[[dict[str, Any]], None],
    ) -> None:
        self._balancer = balancer
        self._memory = memory
        self._files = files
        self._number = number
        self._say = say
        self._prepared: PreparedChange | None = None
        self._is_made = False
        self._is_abandoned = False

    def prepare(self, in_thread: InThread) -> None:
        """Take all that may be refused, and report whether it was."""
        in_thread(self._make).addBoth(self._made).addCallback(self._take).addErrback(self._refuse)

    def _make(self) -> PreparedConfig:
        # To read a large one takes so long that clients would notice, in the reactor's thread.
        try:
            config = read_config(self._memory)
        finally:
            os.close(self._memory)
        return self._balancer.prepare_config(self._files.put_into(config), give_way)

    def _made(self, outcome: PreparedConfig | Failure) -> PreparedConfig | Failure:
        self._is_made = True
        if self._is_abandoned:
            self._files.abandon()
        return outcome

    def _take(self, config: PreparedConfig) -> None:
        if not self._is_abandoned:
            self._prepared = self._balancer.prepare_change(config)
            self._say({"prepared": self._number})

    def _refuse(self, failure: Failure) -> None:
        if not isinstance(failure.value, TcpbalanceError):
            self._log.failure("a configuration cannot be prepared", failure)
        self._say({"refused": self._number, "error": str(failure.value)[:MAX_TEXT]})

    def commit(self) -> None:
        """Serve by it."""
        if self._prepared is not None:
            self._prepared.commit()
            self._files.commit()

    def abandon(self) -> None:
        """Serve on by the present one."""
        self._is_abandoned = True
        if self._prepared is not None:
            self._prepared.abandon()
        if self._is_made:  # Otherwise its files are still being read.
            self._files.abandon()

"""The admin side as a service: takes its address, listens, checks what may be served, and has it served."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from tcpbalance.config.admin import ADMIN_SOCKET_MODE, AdminConfig
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.control.admin_http import AdminFactory
from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest
from tcpbalance.control.changes_log import RefusedChangesLog
from tcpbalance.control.guard import Guard
from tcpbalance.control.routes import ApiRoute, ApiRoutes
from tcpbalance.control.tokens import Tokens
from tcpbalance.net.addresses import address_text
from tcpbalance.net.binding import ListenError, bind
from tcpbalance.net.listener import Listener
from tcpbalance.net.socket_file import SocketFile
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.reload import Reloader
from tcpbalance.threads import InThread

BACKLOG_OF_ADMIN = 128
"""Connections that the system holds until they are accepted."""

AGAIN_EVERY = 0.2
"""Seconds between attempts to take the address of a predecessor, which gives it back when it drains."""

WARN_AFTER = 10.0
"""Seconds after which it is reported that the address cannot be had, and tried more rarely."""

RARELY_AGAIN_EVERY = 5.0
"""Seconds between attempts from then on."""


class AdminService(Service):
    """Serves the admin side while it runs.

    :param reactor: what it lives on.
    :param config: the table.
    :param routes: what there is to serve.
    :param in_thread: calls what reads the files of tokens.
    :param has_predecessor: whether another program has the address until this one serves.
    :raises TcpbalanceError: a token cannot be read.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: AdminConfig,
        routes: ApiRoutes,
        in_thread: InThread,
        *,
        has_predecessor: bool = False,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._routes = routes
        self._has_predecessor = has_predecessor
        self._tokens = tokens = Tokens(config)
        self._guard = Guard(tokens, config.hosts)
        self._reloader = Reloader(reactor, [("admin", tokens)] if tokens.files else [], in_thread)
        self._refused = RefusedChangesLog(reactor)
        self._factory = AdminFactory(
            reactor, routes.check_method, self._route, self.serve, self._refused.note
        )
        # A stream goes on for as long as it likes, so its token is looked at no more.
        tokens.on_change = self._factory.end_streams
        self._listener: Listener | None = None
        self._again: IDelayedCall | None = None
        self._waited = 0.0

    def prepare(self) -> None:
        """Take the address; calling it again does nothing.

        :raises ListenError: it cannot be had.
        """
        if self._listener is None and not self._has_predecessor:
            try:
                self._listener = self._bind()
            except ListenError as error:
                raise ListenError(f"admin: {error}") from error

    def _bind(self) -> Listener:
        sock = bind(self._config.listen, SocketOptions.of(SocketConfig()))
        if self._config.listen.is_unix:
            mode = ADMIN_SOCKET_MODE if self._config.mode is None else self._config.mode
            SocketFile(mode=mode, group=self._config.group).give_to(sock)
        listener = Listener(self._reactor, sock, self._factory, BACKLOG_OF_ADMIN)
        try:
            listener.listen()
        except ListenError:
            listener.stopListening()
            raise
        return listener

    def privilegedStartService(self) -> None:
        """Twisted's call while the process may still have rights that it is about to give up."""
        self.prepare()

    def startService(self) -> None:
        """Listen."""
        self.prepare()
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._reloader.startService()
        self._listen()

    def _listen(self) -> None:
        self._again = None
        try:
            listener = self._listener = self._listener or self._bind()
            listener.startListening()
        except ListenError as error:
            self._listen_later(error)
            return
        self._log.info("admin listens on {address}", address=address_text(listener.getHost()))

    def _listen_later(self, error: ListenError) -> None:
        is_reported = self._waited >= WARN_AFTER
        pause = RARELY_AGAIN_EVERY if is_reported else AGAIN_EVERY
        self._again = self._reactor.callLater(pause, self._listen)
        self._waited += pause
        if not is_reported and self._waited >= WARN_AFTER:
            self._log.warn("admin: {error}; it does not listen yet, and goes on trying", error=error)

    def serve(self, request: ApiRequest) -> Deferred[ApiAnswer]:
        """Serve a request.

        :returns: fails with ApiError, and with nothing else.
        """
        served: Deferred[Any] = maybeDeferred(self._serve, request)
        return served.addErrback(self._report)

    def _serve(self, request: ApiRequest) -> Any:
        route, named = self._route(request)
        return route.handler(named)

    def _route(self, request: ApiRequest) -> tuple[ApiRoute, ApiRequest]:
        """Give what serves a request, if it may be served.

        :raises ApiError: it may not.
        """
        self._guard.check(request)
        # What needs no token says nothing of the balancer, and neither does what there is to ask for.
        route, named = self._routes.find(request)
        if not route.open:
            named = attrs.evolve(named, reads_only=self._guard.check_token(request))
        return route, named

    def _report(self, failure: Failure) -> Failure:
        if failure.check(ApiError):  # type: ignore[no-untyped-call]  # Twisted's is not annotated
            return failure
        self._log.failure("admin: a request could not be served", failure)
        raise ApiError(500, "internal_error", "the balancer has made a mistake; its log has the cause")

    def stopService(self) -> Deferred[None]:
        """Close the address, and end all connections; requests under way are answered with the reason.

        :returns: fires when the last connection has ended, which is soon.
        """
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._reloader.stopService()
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._listener is not None:
            self._listener.stopListening()
        return self._factory.end_all().addCallback(lambda _: self._refused.flush())

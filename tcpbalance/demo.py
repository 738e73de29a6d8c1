"""The demo: three small HTTP servers in this process, and a balancer over them to play with."""

from __future__ import annotations

import sys

from twisted.application.service import Service
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from tcpbalance.balancer import Balancer
from tcpbalance.config.addresses import Address
from tcpbalance.config.frontends import SocketConfig
from tcpbalance.config.pools import HealthConfig
from tcpbalance.config.quantities import Duration
from tcpbalance.config.routes import HttpRouteConfig, RedirectConfig
from tcpbalance.health.probes.http import HttpProbe
from tcpbalance.http.settings import HttpParts
from tcpbalance.logs.access_log import AccessLog
from tcpbalance.net.binding import bind
from tcpbalance.net.listener import Listener
from tcpbalance.net.socket_options import SocketOptions
from tcpbalance.pool.backend import Backend
from tcpbalance.pool.pool import Pool
from tcpbalance.reactor import Reactor
from tcpbalance.services.frontend import Frontend

LISTEN = "127.0.0.1:8080"
NAMES = ("one", "two", "three")

ROUTES = (
    HttpRouteConfig(name="two", paths=["/two/*"], pool="two", strip_prefix="/two"),
    HttpRouteConfig(name="old", paths=["/old"], redirect=RedirectConfig(to="/{query}")),
)

WELCOME = """
Balancing over three backends; ask a few times:  curl http://{listen}/
A route that leads to one of them, a redirect:   curl http://{listen}/two/    curl -L http://{listen}/old
Take backend two down, and up again:             curl -X POST {two}/down    curl -X POST {two}/up
Read on in README.md and docs/index.md; Ctrl-C ends the demo.

"""


class _Server(Resource):
    """Answers with its name; ``/health`` answers as ``/up`` and ``/down`` have set it."""

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        self._name = name
        self._healthy = True

    def render_GET(self, request: Request) -> bytes:
        """The name, or the health."""
        if request.path == b"/health" and not self._healthy:
            request.setResponseCode(503)
            return b"down\n"
        return f"hello from backend {self._name}\n".encode()

    def render_POST(self, request: Request) -> bytes:
        """Go up or down; the next health check will see it."""
        if request.path not in (b"/up", b"/down"):
            request.setResponseCode(404)
            return b"POST to /up or /down\n"
        self._healthy = request.path == b"/up"
        return f"backend {self._name} says it is {'up' if self._healthy else 'down'} from now on\n".encode()


class _QuietSite(Site):
    """Logs no requests; the balancer logs them."""

    noisy = False

    def log(self, request: object) -> None:
        """Twisted's call: a request was answered."""


def _serve(reactor: Reactor, name: str) -> Listener:
    """Start one server on a port of the kernel's choice."""
    site = _QuietSite(_Server(name))  # type: ignore[no-untyped-call]  # Twisted's is not annotated
    listener = Listener(
        reactor, bind(Address.parse("127.0.0.1:0"), SocketOptions.of(SocketConfig())), site, 50
    )
    listener.startListening()
    return listener


class Demo(Service):
    """The three servers; ``balancer`` is the balancer over them, for the caller to run.

    :param reactor: where all of it lives.
    """

    def __init__(self, reactor: Reactor) -> None:
        self._listeners = [_serve(reactor, name) for name in NAMES]
        backends = [
            Backend(str(listener), name) for listener, name in zip(self._listeners, NAMES, strict=True)
        ]
        check = HealthConfig(
            check="http", probe=HttpProbe(path="/health"), interval=Duration(1), rise=1, fall=1
        )
        demo = Pool("demo", backends, health=check)
        http = HttpParts.make(demo, Pool("two", [Backend(backends[1].address, "two")]), routes=ROUTES)
        self.balancer = Balancer(
            reactor,
            [Frontend("demo", LISTEN, demo, http=http.settings, routes=http.routes)],
            access_log=AccessLog("-", "text", reactor),
            shutdown_grace=2.0,
        )
        self._backends = backends

    def startService(self) -> None:
        """Print commands to try, once they work."""
        super().startService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        listening = self.balancer.when_listening()
        listening.addCallbacks(lambda _: self._print_instructions(), lambda _: None)

    def _print_instructions(self) -> None:
        # Under twistd, sys.stdout is the log, and what is to be copied should stand alone.
        if sys.__stdout__ is not None:
            print(self.instructions(), end="", file=sys.__stdout__, flush=True)

    def instructions(self) -> str:
        """What to try, with this run's addresses."""
        return WELCOME.format(listen=LISTEN, two=f"http://{self._backends[1].address}")

    def stopService(self) -> None:
        """Close the three servers."""
        super().stopService()  # type: ignore[no-untyped-call]  # Twisted's is not annotated
        for listener in self._listeners:
            listener.stopListening()

"""Makes the command ``tcpbalance`` known to ``twistd``, and ``tcpbalance-proxy:`` to ``serverFromString``.

Every Twisted program on the machine that looks for plugins imports this file, so it has names only: nothing
of tcpbalance is loaded until its command or its endpoint is asked for, and nothing that is wrong with
tcpbalance can hurt another program.
"""

from twisted.application.service import ServiceMaker
from twisted.internet.interfaces import IReactorCore, IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from twisted.python.reflect import namedAny
from zope.interface import implementer

tcpbalance = ServiceMaker(  # type: ignore[no-untyped-call]  # Twisted's is not annotated
    "tcpbalance",
    "tcpbalance.twistd_plugin",
    "A TCP reverse proxy and load balancer.",
    "tcpbalance",
)


@implementer(IPlugin, IStreamServerEndpointStringParser)
class _ProxyEndpointParser:
    """An endpoint inside a ``ProxyProtocolEndpoint``."""

    prefix = "tcpbalance-proxy"

    def parseStreamServer(
        self, reactor: IReactorCore, *args: object, **kwargs: object
    ) -> IStreamServerEndpoint:
        """Twisted's call: make the endpoint of a description."""
        endpoint: IStreamServerEndpoint = namedAny("tcpbalance.endpoint_parser.parse")(reactor, args, kwargs)  # type: ignore[no-untyped-call]
        return endpoint


proxy_endpoint_parser = _ProxyEndpointParser()

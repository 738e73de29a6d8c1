"""A web site in your own program: /api goes to one server, all else to others, and /old leads to /new.

python routed_site.py 127.0.0.1:8080 10.0.0.61:80 10.0.0.71:80 10.0.0.72:80
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from tcpbalance import (
    Backend,
    Balancer,
    Frontend,
    HttpConfig,
    HttpParts,
    HttpRouteConfig,
    Pool,
    PoolHttpConfig,
    RedirectConfig,
)


async def main(reactor: Any, listen: str, api_server: str, *servers: str) -> None:
    """Serve until interrupted."""
    web = Pool("web", [Backend(server) for server in servers], http=PoolHttpConfig(response_timeout="20s"))
    api = Pool("api", [Backend(api_server)])
    routes = (
        HttpRouteConfig(paths=["/api/*"], pool="api", strip_prefix="/api"),
        HttpRouteConfig(paths=["/old/*"], redirect=RedirectConfig(to="/new{query}", status=301)),
    )
    http = HttpParts.make(web, api, routes=routes, http=HttpConfig(body_size="10MiB"))
    site = Frontend("site", listen, web, http=http.settings, routes=http.routes)
    balancer = Balancer(reactor, [site], shutdown_grace=5.0)
    balancer.startService()
    reactor.addSystemEventTrigger("before", "shutdown", balancer.stopService)
    await balancer.when_listening()
    for address in balancer.listens_on("site"):
        print("listening on", address, flush=True)
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor, *words: Deferred.fromCoroutine(main(reactor, *words)), sys.argv[1:])

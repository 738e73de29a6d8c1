"""What a frontend with `mode = "http"` and its pool may not have, each with its line and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.configs import frontend, pool, problems

SITE = """\
[frontends.web]
listen = "0.0.0.0:80"
mode = "http"
pool = "web"
"""
COMBINED = '[access_log]\nformat = "combined"\n'
POOL = """
[pools.web]
backends = ["10.0.0.11:80"]
"""


def site(keys: str) -> str:
    """Give a site with more keys."""
    return f"{SITE}{keys}\n{POOL}"


def route(keys: str) -> str:
    """Give a site with one route."""
    return site(f"[[frontends.web.routes]]\n{keys}")


def routes(*tables: str) -> str:
    """Give a site with several routes, each on a line."""
    return site("routes = [\n" + "".join(f"  {{ {table} }},\n" for table in tables) + "]")


def shared(keys: str) -> str:
    """Give a site with one route, and a second pool."""
    return route(keys) + '[pools.api]\nbackends = ["10.0.0.12:80"]\n'


def https(keys: str) -> str:
    """Give a site that speaks TLS on its usual port."""
    return site(f'tls.certificates = [{{ cert = "a.pem" }}]\n{keys}').replace(":80", ":443")


_WEB = "frontends.web."
_ROUTE = "frontends.web.routes[0]."
_HOST = 'must be a host name such as "www.example.com" or a wildcard such as "*.example.com", got '
_PATH = 'must be a path such as "/health" or "/api/*" for all below one, got '
_NAME = 'must be the name of a header such as "X-Env", of letters, digits and "-", got '
_TO = 'must be where to go instead, such as "https://{host}{target}" or "/new{query}", got '
_STATUS = 'must be a status code from 400 to 599 such as "404", or a range such as "502-504", got '
_ENDINGS = (
    'must be the name of a file that ends in ".html", ".htm", ".txt", ".json", ".xml", ".css", ".js", '
    '".svg", ".png", ".jpg", ".gif", ".webp", ".ico" or ".webmanifest", from which its Content-Type follows, '
    "got "
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # Without the mode
        (frontend("http = {}"), '4: frontends.db.http: has no effect without mode = "http"'),
        (
            frontend("forwarded.trust = []"),
            '4: frontends.db.forwarded: has no effect without mode = "http"',
        ),
        (
            frontend('routes = [{ pool = "db" }]'),
            '4: frontends.db.routes: has no effect without mode = "http"',
        ),
        (
            frontend('error_pages = { "404" = "404.html" }'),
            '4: frontends.db.error_pages: has no effect without mode = "http"',
        ),
        (
            frontend("limits.max_requests = 5"),
            '4: frontends.db.limits.max_requests: has no effect without mode = "http"',
        ),
        (
            frontend('limits.requests_per_client = "5/s"'),
            '4: frontends.db.limits.requests_per_client: has no effect without mode = "http"',
        ),
        (
            site("limits.request_burst_per_client = 5"),
            f'5: {_WEB}limits.request_burst_per_client: has no effect without "requests_per_client"',
        ),
        (
            pool("[pools.db.http]"),
            '7: pools.db.http: has no effect without mode = "http" at a frontend of this pool',
        ),
        (
            pool("outlier.statuses = 500"),
            '7: pools.db.outlier.statuses: has no effect without mode = "http" at a frontend of this pool',
        ),
        (
            pool('outlier.statuses = "499-504"'),
            '7: pools.db.outlier.statuses: must be status codes from 500, got "499-504"',
        ),
        (
            site('sni_routes = [{ names = ["a.example"], pool = "web" }]'),
            f'5: {_WEB}sni_routes: has no effect with mode = "http", use routes with hosts',
        ),
        (
            https('tls.alpn = ["http/1.1", "h2"]'),
            f'6: {_WEB}tls.alpn[1]: must be "http/1.1" with mode = "http", got "h2", leave it out',
        ),
        (SITE.replace('pool = "web"\n', "") + POOL, f'1: {_WEB}pool: is required, such as pool = "db"'),
        (
            SITE.replace('"http"', '"htpp"') + POOL,
            f'3: {_WEB}mode: must be one of "tcp" or "http", got "htpp", did you mean "http"?',
        ),
        # Bounds
        (site('http.head_timeout = "0s"'), f"5: {_WEB}http.head_timeout: must be longer than 0s, got 0s"),
        (
            site('http.head_size = "512"'),
            (
                f'5: {_WEB}http.head_size: must be a size such as "64KiB", "1MiB", "1GiB" or a number of '
                'bytes, got "512"'
            ),
        ),
        (site("http.head_size = 512"), f"5: {_WEB}http.head_size: must be 1KiB to 1MiB, got 512"),
        (site("http.head_lines = 9"), f"5: {_WEB}http.head_lines: must be 10 to 10000, got 9"),
        (
            site("http.keepalive_requests = 0"),
            f"5: {_WEB}http.keepalive_requests: must be at least 1, got 0",
        ),
        (
            site('http.body_min_rate = "0B/s"'),
            (
                f'5: {_WEB}http.body_min_rate: must be a bandwidth such as "10MiB/s", "500KiB/s" or '
                '"100B/s", got "0B/s"'
            ),
        ),
        (
            site('http.ambiguous_path = "allow"'),
            f'5: {_WEB}http.ambiguous_path: must be one of "reject" or "keep", got "allow"',
        ),
        (
            site('http.idle = "4s"'),
            (
                f'5: {_WEB}http.idle: unknown key, known keys are "head_timeout", "body_timeout", '
                '"body_min_rate", "send_timeout", "send_min_rate", "keepalive_timeout", '
                '"keepalive_requests", "head_size", "head_lines", "body_size", "ambiguous_path" and '
                '"server_header"'
            ),
        ),
        (
            site('http.versions = ["2"]'),
            (
                f'5: {_WEB}http.versions: unknown key, known keys are "head_timeout", "body_timeout", '
                '"body_min_rate", "send_timeout", "send_min_rate", "keepalive_timeout", '
                '"keepalive_requests", "head_size", "head_lines", "body_size", "ambiguous_path" and '
                '"server_header"'
            ),
        ),
        # Forwarded fields
        (
            site('forwarded.send = ["x-forwarded-for"]'),
            (
                f'5: {_WEB}forwarded.send[0]: must be one of "x-forwarded", "forwarded", "via", '
                '"x-real-ip" or "x-request-id", got "x-forwarded-for", did you mean "x-forwarded"?'
            ),
        ),
        (
            site('forwarded.read = "forwarded"'),
            f'5: {_WEB}forwarded.read: has no effect without "trust"',
        ),
        (site('forwarded.send = ["via", "via"]'), f'5: {_WEB}forwarded.send: has "via" twice'),
        (
            site('forwarded.trust = ["10.0.0.1/8"]'),
            (
                f'5: {_WEB}forwarded.trust[0]: must be a network such as "10.0.0.0/8" or "2001:db8::/32", '
                'got "10.0.0.1/8": no bit may be set behind the prefix, did you mean "10.0.0.0/8"?'
            ),
        ),
        # Pools
        (
            site("") + "[pools.web.http]\nidle_connections = -1",
            "10: pools.web.http.idle_connections: must be 0 to 10000, got -1",
        ),
        (
            site("") + '[pools.web.http]\nidle = "0s"',
            "10: pools.web.http.idle: must be longer than 0s, got 0s",
        ),
        (
            site("") + '[pools.web.http]\nretry_on = ["502"]',
            '10: pools.web.http.retry_on[0]: must be "no_response", got "502"',
        ),
        (
            site("") + '[pools.web.http]\nhost = "*.example.com"',
            (
                '10: pools.web.http.host: must be "client", "backend" or a host such as "web.internal" '
                'or "web.internal:8080", got "*.example.com"'
            ),
        ),
        (
            site("") + '[pools.web.http]\nhost = "web.internal:99999"',
            (
                '10: pools.web.http.host: must be "client", "backend" or a host such as "web.internal" '
                'or "web.internal:8080", got "web.internal:99999"'
            ),
        ),
        (
            site("") + 'retry_on = ["connect_failed", "reset_before_answer"]',
            (
                '9: pools.web.retry_on: "reset_before_answer" has no effect with mode = "http", use '
                "retry_on in pools.web.http"
            ),
        ),
        # Error pages
        (site('error_pages = { "200" = "a.html" }'), f'5: {_WEB}error_pages.200: {_STATUS}"200"'),
        (
            site('error_pages = { "504-502" = "a.html" }'),
            f'5: {_WEB}error_pages.504-502: {_STATUS}"504-502"',
        ),
        (site('error_pages = { "5xx" = "a.html" }'), f'5: {_WEB}error_pages.5xx: {_STATUS}"5xx"'),
        (
            site('error_pages = { "502-504" = "a.html", "503" = "b.html" }'),
            f'5: {_WEB}error_pages.503: 503 is already in "502-504"',
        ),
        (site('error_pages = { "404" = "404.php" }'), f'5: {_WEB}error_pages.404: {_ENDINGS}"404.php"'),
        (
            site('error_pages = { "404" = "" }'),
            f'5: {_WEB}error_pages.404: must be the name of a file, got ""',
        ),
        (
            site("error_pages = { 404 = 5 }"),
            f"5: {_WEB}error_pages.404: must be the name of a file, got 5",
        ),
        (site('error_pages = "a.html"'), f'5: {_WEB}error_pages: must be a table, got "a.html"'),
        # Routes: which requests
        (
            route('hosts = ["www.example.com:80"]'),
            (
                f'6: {_ROUTE}hosts[0]: {_HOST}"www.example.com:80": between two dots there are only '
                "letters, digits, _ and, inside, -; no scheme, port or path"
            ),
        ),
        (route('hosts = ["*"]'), f'6: {_ROUTE}hosts[0]: {_HOST}"*": a name has to stand behind the *'),
        (
            route('hosts = ["fe80::1%eth0"]'),
            f'6: {_ROUTE}hosts[0]: must be an address without a zone, got "fe80::1%eth0"',
        ),
        (
            route("hosts = [1]"),
            f'6: {_ROUTE}hosts[0]: must be a host such as "www.example.com" or "*.example.com", got 1',
        ),
        (route('hosts = "a.example"'), f'6: {_ROUTE}hosts: must be a list, got "a.example"'),
        (route('hosts = ["a.example", "A.example."]'), f'6: {_ROUTE}hosts: has "a.example" twice'),
        (route('paths = ["api"]'), f'6: {_ROUTE}paths[0]: {_PATH}"api": it must begin with "/"'),
        (
            route('paths = ["/api*"]'),
            (f'6: {_ROUTE}paths[0]: {_PATH}"/api*": the * can only be all that stands behind the last "/"'),
        ),
        (
            route('paths = ["/*/x"]'),
            (f'6: {_ROUTE}paths[0]: {_PATH}"/*/x": the * can only be all that stands behind the last "/"'),
        ),
        (
            route('paths = ["/a//b"]'),
            (
                f'6: {_ROUTE}paths[0]: {_PATH}"/a//b": servers may take it for several paths, write the '
                "one that is meant"
            ),
        ),
        (
            route('paths = ["/a%2Fb"]'),
            (
                f'6: {_ROUTE}paths[0]: {_PATH}"/a%2Fb": servers may take it for several paths, write the '
                "one that is meant"
            ),
        ),
        (
            route('paths = ["/a/../b"]'),
            f'6: {_ROUTE}paths[0]: {_PATH}"/a/../b": ".." goes to another path, write that',
        ),
        (
            route('paths = ["/a;b=1/*"]'),
            (
                f'6: {_ROUTE}paths[0]: {_PATH}"/a;b=1/*": routes do not look at parameters, leave out ";" '
                "and what follows in the segment"
            ),
        ),
        (route('paths = ["/a?b"]'), f'6: {_ROUTE}paths[0]: {_PATH}"/a?b": a path ends before "?" and "#"'),
        (route('paths = ["/a b"]'), f'6: {_ROUTE}paths[0]: {_PATH}"/a b": did you mean "/a%20b"?'),
        (
            route('paths = ["/caf\u00e9/*"]'),
            f'6: {_ROUTE}paths[0]: {_PATH}"/café/*": did you mean "/caf%C3%A9/*"?',
        ),
        (
            route('paths = ["/100%"]'),
            f'6: {_ROUTE}paths[0]: {_PATH}"/100%": two hexadecimal digits follow a %',
        ),
        (
            route(f'paths = ["/{"a" * 3000}"]'),
            (
                f"6: {_ROUTE}paths[0]: "
                f'{_PATH}"/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...": it is longer '
                "than 2048 characters"
            ),
        ),
        (route('paths = ["/a", "/%61"]'), f'6: {_ROUTE}paths: has "/a" twice'),
        (
            route('methods = ["get"]'),
            f'6: {_ROUTE}methods[0]: must be a method in upper case, got "get", did you mean "GET"?',
        ),
        (
            route('methods = ["CONNECT"]'),
            f"6: {_ROUTE}methods[0]: must be a method other than CONNECT, which is answered with 405",
        ),
        (
            route('methods = ["GET POST"]'),
            f'6: {_ROUTE}methods[0]: must be a method such as "GET", got "GET POST"',
        ),
        (route('headers = { "X Env" = "a" }'), f'6: {_ROUTE}headers."X Env": {_NAME}"X Env"'),
        (
            route('headers = { X-Env = "a", x-env = "b" }'),
            f"6: {_ROUTE}headers: has x-env twice, case does not matter in names of headers",
        ),
        (route('headers = { Host = "a" }'), f"6: {_ROUTE}headers: cannot have Host, for which hosts is"),
        (
            route('headers = { Connection = "upgrade" }'),
            f"6: {_ROUTE}headers: cannot have Connection, which belongs to one connection",
        ),
        (
            route("headers = { X-Env = 1 }"),
            f"6: {_ROUTE}headers.X-Env: must be a string, the value of the header, got 1",
        ),
        # Routes: what becomes of them
        (route('pool = "wbe"'), f'6: {_ROUTE}pool: no pool is named "wbe", did you mean "web"?'),
        (
            route('pool = "web"\nredirect = { to = "https://a.example/" }'),
            f"7: {_ROUTE}redirect: not together with pool, leave out one of them",
        ),
        (
            route('answer = { status = 404 }\nredirect = { to = "https://a.example/" }'),
            f"6: {_ROUTE}answer: not together with redirect, leave out one of them",
        ),
        (
            shared('pool = "web"\npools = { web = 1, api = 1 }'),
            f"7: {_ROUTE}pools: not together with pool, leave out one of them",
        ),
        (
            shared("pools = { web = 1, api = 1 }\nanswer = { status = 404 }"),
            f"7: {_ROUTE}answer: not together with pools, leave out one of them",
        ),
        (
            route("pools = { web = 95, wbe = 5 }"),
            f'6: {_ROUTE}pools.wbe: no pool is named "wbe", did you mean "web"?',
        ),
        (
            route("pools = { web = 1 }"),
            f"6: {_ROUTE}pools: must have at least two pools, for a single one is pool",
        ),
        (
            shared("pools = { web = 0, api = 0 }"),
            f"6: {_ROUTE}pools: must have at least one pool with a weight above 0",
        ),
        (
            shared("pools = { web = 10001, api = 0 }"),
            f'6: {_ROUTE}pools: the weight of "web" must be 0 to 10000, got 10001',
        ),
        (
            route('mirror = "wbe"'),
            f'6: {_ROUTE}mirror: no pool is named "wbe", did you mean "web"?',
        ),
        (
            route('pool = "web"\nmirror = "web"'),
            f'7: {_ROUTE}mirror: "web" serves these requests already, choose another pool',
        ),
        (
            shared('pools = { web = 1, api = 1 }\nmirror = "api"'),
            f'7: {_ROUTE}mirror: "api" serves these requests already, choose another pool',
        ),
        (
            route('mirror = "web"'),
            f'6: {_ROUTE}mirror: "web" serves these requests already, choose another pool',
        ),
        (
            shared('answer = { status = 404 }\nmirror = "api"'),
            f"7: {_ROUTE}mirror: has no effect with answer, which asks no backend",
        ),
        (
            shared('mirror = "api"') + 'send_proxy_protocol = "v2"\n',
            (
                f'6: {_ROUTE}mirror: cannot be "api", a pool with send_proxy_protocol: copies of several '
                "clients share a connection"
            ),
        ),
        (
            route('pools_by = "cookie"'),
            f'6: {_ROUTE}pools_by: has no effect without "pools"',
        ),
        (
            shared("pools = { web = 1, api = 1 }\npools_cookie = {}"),
            f'7: {_ROUTE}pools_cookie: has no effect without pools_by = "cookie"',
        ),
        (
            shared('pools = { web = 1, api = 1 }\npools_by = "cookie"\npools_cookie = { name = "a b" }'),
            (
                f'8: {_ROUTE}pools_cookie.name: must be the name of a cookie such as "backend", of letters, '
                'digits, "-" and "_", got "a b"'
            ),
        ),
        (
            shared('pools = { web = 1, api = 1 }\npools_by = "cookie"\npools_cookie = { name = "a" }')
            + '[pools.api.affinity]\nby = "cookie"\ncookie = { name = "a" }\n',
            f'8: {_ROUTE}pools_cookie.name: "a" is already that of pools.api.affinity.cookie, choose another',
        ),
        (
            pool('[pools.db.affinity]\nby = "cookie"'),
            (
                '8: pools.db.affinity.by: must be "source_ip" without mode = "http" at a frontend of this '
                'pool, got "cookie"'
            ),
        ),
        (
            site("") + '[pools.web.affinity]\nby = "cookie"\nttl = "30m"',
            '11: pools.web.affinity.ttl: has no effect with by = "cookie", leave out one of them',
        ),
        (
            site("") + "[pools.web.affinity]\ncookie = {}",
            '10: pools.web.affinity.cookie: has no effect without by = "cookie"',
        ),
        (
            site("") + '[pools.web.affinity]\nby = "cookie"\ncookie = { secret = "abc" }',
            (
                "11: pools.web.affinity.cookie.secret: must have at least 16 characters, as `openssl rand "
                "-hex 16` makes them, got 3"
            ),
        ),
        (
            site("") + '[pools.web.affinity]\nby = "cookie"\ncookie = { same_site = "none" }',
            (
                '11: pools.web.affinity.cookie.secure: must be true with same_site = "none", else browsers '
                "drop the cookie"
            ),
        ),
        (
            shared("pools = { web = 9.5, api = 0 }"),
            f"6: {_ROUTE}pools.web: must be a whole number, got 9.5",
        ),
        (route('name = "a\\nb"'), f'6: {_ROUTE}name: must be a name of printable characters, got "a\\nb"'),
        (
            routes('name = "a", paths = ["/a"]', 'name = "a", paths = ["/b"]'),
            f'7: {_WEB}routes[1].name: "a" is already that of {_WEB}routes[0], choose another',
        ),
        (
            routes('paths = ["/a"]').replace('pool = "web"\n', ""),
            f"5: {_WEB}routes[0]: must have pool, pools, redirect or answer where the frontend has no pool",
        ),
        (
            route('upgrade = ["h2c"]'),
            (
                f'6: {_ROUTE}upgrade[0]: must be a protocol other than HTTP itself and TLS, got "h2c": '
                "its requests would pass by routes and rules"
            ),
        ),
        (
            route('upgrade = [""]'),
            f'6: {_ROUTE}upgrade[0]: must be a protocol such as "websocket", got ""',
        ),
        (
            route('access = { allow = ["10.0.0.0/33"] }'),
            (
                f'6: {_ROUTE}access.allow[0]: must be a network such as "10.0.0.0/8" or "2001:db8::/32", got '
                '"10.0.0.0/33"'
            ),
        ),
        (route("access = {}"), f'6: {_ROUTE}access: has no effect without "allow" or "deny"'),
        (
            route('access = { deny = ["10.0.0.1"], deny_file = "a" }'),
            f'6: {_ROUTE}access.deny_file: unknown key, did you mean "deny"?',
        ),
        (route('stall_timeout = "0s"'), f"6: {_ROUTE}stall_timeout: must be longer than 0s, got 0s"),
        (route('body_timeout = "0s"'), f"6: {_ROUTE}body_timeout: must be longer than 0s, got 0s"),
        (
            route('answer = { status = 404 }\nbody_min_rate = "1KiB/s"'),
            f"7: {_ROUTE}body_min_rate: has no effect with answer, which asks no backend",
        ),
        (route('response_timeout = "0s"'), f"6: {_ROUTE}response_timeout: must be longer than 0s, got 0s"),
        (
            route('answer = { status = 404 }\nresponse_timeout = "1s"'),
            f"7: {_ROUTE}response_timeout: has no effect with answer, which asks no backend",
        ),
        (
            route('redirect = { to = "https://a.example/" }\nbody_size = 5'),
            f"7: {_ROUTE}body_size: has no effect with redirect, which asks no backend",
        ),
        # strip_prefix
        (
            route('strip_prefix = "/api"'),
            f'6: {_ROUTE}strip_prefix: has no effect without paths, such as paths = ["/api/*"]',
        ),
        (
            route('paths = ["/api/*", "/other"]\nstrip_prefix = "/api"'),
            f'7: {_ROUTE}strip_prefix: must be what all paths begin with, got "/api" with "/other"',
        ),
        (
            route('paths = ["/apis/*"]\nstrip_prefix = "/api"'),
            f'7: {_ROUTE}strip_prefix: must be what all paths begin with, got "/api" with "/apis/*"',
        ),
        (
            route('paths = ["/*"]\nstrip_prefix = "/"'),
            f'7: {_ROUTE}strip_prefix: must be a path such as "/api", got "/"',
        ),
        (
            route('paths = ["/api/*"]\nstrip_prefix = "/api/*"'),
            f'7: {_ROUTE}strip_prefix: must be a path such as "/api", got "/api/*"',
        ),
        # Rules for headers
        (
            route("request_headers = {}"),
            f'6: {_ROUTE}request_headers: has no effect without "set" or "remove"',
        ),
        (
            route('request_headers.set = { "X:Y" = "a" }'),
            f'6: {_ROUTE}request_headers.set."X:Y": {_NAME}"X:Y"',
        ),
        (route('request_headers.set = { "" = "a" }'), f'6: {_ROUTE}request_headers.set."": {_NAME}""'),
        (
            route('request_headers.set = { X-Env = "a\\r\\nX-Other: b" }'),
            (
                f"6: {_ROUTE}request_headers.set.X-Env: must be a header value: printable ASCII without "
                'line ends and control characters, got "a\\r\\nX-Other: b"'
            ),
        ),
        (
            route('request_headers.set = { X-Env = "\u00e9" }'),
            (
                f"6: {_ROUTE}request_headers.set.X-Env: must be a header value: printable ASCII without "
                'line ends and control characters, got "é"'
            ),
        ),
        (
            route('request_headers.set = { X-Env = " a" }'),
            (
                f"6: {_ROUTE}request_headers.set.X-Env: must be a header value without a space at its "
                'ends, got " a"'
            ),
        ),
        (
            route(f'request_headers.set = {{ X-Env = "{"a" * 5000}" }}'),
            (
                f"6: {_ROUTE}request_headers.set.X-Env: must be a header value of at most 4096 "
                "characters, got 5000"
            ),
        ),
        (
            route('request_headers.set = { Host = "a" }'),
            (f"6: {_ROUTE}request_headers.set: cannot have Host, which is set by host in [pools.NAME.http]"),
        ),
        (
            route('request_headers.set = { content-length = "5" }'),
            (
                f"6: {_ROUTE}request_headers.set: cannot have content-length, which belongs to one "
                "connection and is written anew"
            ),
        ),
        (
            route('response_headers.remove = ["Transfer-Encoding"]'),
            (
                f"6: {_ROUTE}response_headers.remove: cannot have Transfer-Encoding, which belongs to one "
                "connection and is written anew"
            ),
        ),
        (
            route('request_headers = { set = { X-Env = "a" }, remove = ["x-env"] }'),
            f"6: {_ROUTE}request_headers.remove: has x-env, which set replaces, leave out one of them",
        ),
        (
            route('request_headers.remove = ["X-Env", "x-env"]'),
            (f"6: {_ROUTE}request_headers.remove: has x-env twice, case does not matter in names of headers"),
        ),
        (
            route('request_headers.set = { X-Forwarded-For = "a" }'),
            (
                f'6: {_ROUTE}request_headers.set: cannot have X-Forwarded-For, which "x-forwarded" in '
                "forwarded.send writes, leave out one of them"
            ),
        ),
        (
            route('request_headers.remove = ["Via"]\n[frontends.web.forwarded]\nsend = ["via"]'),
            (
                f'6: {_ROUTE}request_headers.remove: cannot have Via, which "via" in forwarded.send '
                "writes, leave out one of them"
            ),
        ),
        # Redirects
        (
            route('request_headers.set = { Content_Length = "5" }'),
            (
                f"6: {_ROUTE}request_headers.set: cannot have Content_Length, which belongs to one "
                "connection and is written anew"
            ),
        ),
        (
            route(
                'hosts = ["www.example.com", "example.com"]\n'
                'redirect = { to = "http://www.example.com{target}" }'
            ),
            f"7: {_ROUTE}redirect.to: leads back to this route, which takes the same host",
        ),
        (
            route("redirect = {}"),
            f'6: {_ROUTE}redirect.to: is required, such as to = "https://{{host}}{{target}}"',
        ),
        (
            route('redirect = { to = "https://a.example/", status = 304 }'),
            f"6: {_ROUTE}redirect.status: must be 301, 302, 303, 307 or 308, got 304",
        ),
        (
            route('redirect = { to = "https://{name}/" }'),
            (
                f'6: {_ROUTE}redirect.to: {_TO}"https://{{name}}/": {{name}} is none of the placeholders '
                "{host}, {target}, {path}, {query}"
            ),
        ),
        (
            route('redirect = { to = "https://$host/" }'),
            f'6: {_ROUTE}redirect.to: {_TO}"https://$host/": a host has to stand behind ://',
        ),
        (
            route('redirect = { to = "https://a.example/{" }'),
            (
                f'6: {_ROUTE}redirect.to: {_TO}"https://a.example/{{": a brace belongs to a placeholder, '
                "another one is written as %7B or %7D"
            ),
        ),
        (
            route('redirect = { to = "www.example.com" }'),
            (f'6: {_ROUTE}redirect.to: {_TO}"www.example.com": it must begin with https://, http:// or /'),
        ),
        (
            route('redirect = { to = "{target}" }'),
            f'6: {_ROUTE}redirect.to: {_TO}"{{target}}": it must begin with https://, http:// or /',
        ),
        (
            route('redirect = { to = "//evil.example" }'),
            (
                f'6: {_ROUTE}redirect.to: {_TO}"//evil.example": a path that begins with two slashes is a '
                "host to browsers"
            ),
        ),
        (
            route('redirect = { to = "/{path}" }'),
            (
                f'6: {_ROUTE}redirect.to: {_TO}"/{{path}}": a path that begins with two slashes is a host '
                "to browsers"
            ),
        ),
        (
            route('redirect = { to = "https://{path}" }'),
            f'6: {_ROUTE}redirect.to: {_TO}"https://{{path}}": a host has to stand behind ://',
        ),
        (
            route('redirect = { to = "https://a@b.example/" }'),
            f'6: {_ROUTE}redirect.to: {_TO}"https://a@b.example/": a host has to stand behind ://',
        ),
        (
            route('redirect = { to = "/new?{query}" }'),
            (
                f'6: {_ROUTE}redirect.to: {_TO}"/new?{{query}}": a query is put in with its ?, leave out '
                "the ? before it"
            ),
        ),
        (
            route('redirect = { to = "/new page" }'),
            (
                f'6: {_ROUTE}redirect.to: {_TO}"/new page": what a URL cannot have is written as % and '
                "two digits, as %20 for a space"
            ),
        ),
        (
            route('redirect = { to = "/a\\r\\nSet-Cookie: b" }'),
            (
                f'6: {_ROUTE}redirect.to: {_TO}"/a\\r\\nSet-Cookie: b": what a URL cannot have is written '
                "as % and two digits, as %20 for a space"
            ),
        ),
        (
            route('redirect = { to = "http://{host}{target}" }'),
            (
                f"6: {_ROUTE}redirect.to: leads back to this frontend, did you mean "
                '"https://{host}{target}"?'
            ),
        ),
        (
            https('routes = [{ redirect = { to = "https://{host}{path}{query}" } }]'),
            (
                f"6: {_ROUTE}redirect.to: leads back to this frontend, did you mean "
                '"http://{host}{path}{query}"?'
            ),
        ),
        (
            route('paths = ["/old/*"]\nredirect = { to = "/old/new" }'),
            f"7: {_ROUTE}redirect.to: leads back to this route, name another path",
        ),
        (
            route('redirect = { to = "/login{query}" }'),
            f"6: {_ROUTE}redirect.to: leads back to this route, name another path",
        ),
        # Answers
        (route("answer = {}"), f"6: {_ROUTE}answer.status: is required, such as status = 410"),
        (
            route("answer = { status = 302 }"),
            (f"6: {_ROUTE}answer.status: must be 200 to 299 or 400 to 599, got 302, for which redirect is"),
        ),
        (
            route("answer = { status = 100 }"),
            f"6: {_ROUTE}answer.status: must be 200 to 299 or 400 to 599, other than 206, got 100",
        ),
        (
            route("answer = { status = 206 }"),
            f"6: {_ROUTE}answer.status: must be 200 to 299 or 400 to 599, other than 206, got 206",
        ),
        (
            route('answer = { status = 204, file = "a.html" }'),
            f"6: {_ROUTE}answer.file: has no effect with status = 204, which has no body",
        ),
        (route('answer = { status = 410, file = "gone" }'), f'6: {_ROUTE}answer.file: {_ENDINGS}"gone"'),
        # The log of requests
        (f"{site('')}{COMBINED}", None),
        (f'{site("")}[frontends.db]\nlisten = "0.0.0.0:5432"\npool = "web"\n{COMBINED}', None),
        (
            f"{site('').replace('http', 'tcp')}{COMBINED}",
            (
                '10: access_log.format: must be "text" or "json" where no frontend has mode = "http": '
                '"combined" has lines for requests alone'
            ),
        ),
        # Ties
        (
            routes('paths = ["/a"]', 'paths = ["/b", "/a"]'),
            (
                f"7: {_WEB}routes[1]: takes the same requests as {_WEB}routes[0], any host and /a: give "
                "one of them another host or path, or more headers or methods"
            ),
        ),
        (
            routes('hosts = ["a.example"]', 'hosts = ["a.example"], paths = ["/*"]'),
            (
                f"7: {_WEB}routes[1]: takes the same requests as {_WEB}routes[0], a.example and /*: give "
                "one of them another host or path, or more headers or methods"
            ),
        ),
        (
            routes('methods = ["GET", "POST"]', 'methods = ["PUT", "GET"]'),
            (
                f"7: {_WEB}routes[1]: takes the same requests as {_WEB}routes[0], any host and /*: give "
                "one of them another host or path, or more headers or methods"
            ),
        ),
        (
            routes('headers = { X-A = "1" }', 'headers = { X-B = "1" }'),
            (
                f"7: {_WEB}routes[1]: takes the same requests as {_WEB}routes[0], any host and /*: give "
                "one of them another host or path, or more headers or methods"
            ),
        ),
        (
            routes('headers = { X-A = "1", X-B = "*" }', 'headers = { X-C = "*", x-a = "1" }'),
            (
                f"7: {_WEB}routes[1]: takes the same requests as {_WEB}routes[0], any host and /*: give "
                "one of them another host or path, or more headers or methods"
            ),
        ),
    ],
)
def test_refused(tmp_path: Path, text: str, problem: str | None) -> None:
    assert problems(tmp_path, text) == ([] if problem is None else [problem])

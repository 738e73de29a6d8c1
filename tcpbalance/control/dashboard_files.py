"""The dashboard: the files of a page that asks the API; they have nothing of this balancer in them."""

from __future__ import annotations

from pathlib import Path

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.routes import ApiRoute

FOLDER_OF_DASHBOARD = Path(__file__).with_name("dashboard")

_INDEX = "index.html"

_CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
"""What the page may do: nothing that comes from elsewhere, nothing inline, and no frame around it."""

_HEADERS = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer"}


class DashboardHandler:
    """Serves the files, which are read once."""

    def __init__(self) -> None:
        files = sorted(FOLDER_OF_DASHBOARD.iterdir())
        self._routes = [_route_of(file) for file in files if file.suffix in _CONTENT_TYPES]

    def routes(self) -> list[ApiRoute]:
        """Give the operations: one for each file."""
        return self._routes


def _route_of(file: Path) -> ApiRoute:
    content = file.read_bytes()
    headers = {"content-length": str(len(content)), **_HEADERS}
    answer = ApiAnswer(content_type=_CONTENT_TYPES[file.suffix], body=[content], headers=headers)

    def show(request: ApiRequest) -> ApiAnswer:
        return answer

    # The page has to be seen before a token can be given.
    path = "/" if file.name == _INDEX else f"/dashboard/{file.name}"
    return ApiRoute("GET", path, show, open=True)

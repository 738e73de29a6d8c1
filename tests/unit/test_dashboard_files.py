"""The files of the dashboard: how they are served, and that none needs anything from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tcpbalance.control.api_request import ApiAnswer, ApiRequest
from tcpbalance.control.dashboard_files import FOLDER_OF_DASHBOARD, DashboardHandler
from tcpbalance.control.routes import ApiRoutes

FILES = sorted(FOLDER_OF_DASHBOARD.iterdir())
SCRIPTS = [file for file in FILES if file.suffix == ".js"]
PAGE = (FOLDER_OF_DASHBOARD / "index.html").read_text()

_IMPORT = re.compile(r'from "\./(\w+\.js)"')


def answer_to(path: str) -> ApiAnswer:
    routes = ApiRoutes(DashboardHandler().routes())
    route, request = routes.find(ApiRequest(method="GET", path=path))
    assert route.open
    answer = route.handler(request)
    assert isinstance(answer, ApiAnswer)
    return answer


def path_of(file: Path) -> str:
    return "/" if file.name == "index.html" else f"/dashboard/{file.name}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_file_is_served_without_a_token(file: Path) -> None:
    answer = answer_to(path_of(file))
    assert b"".join(answer.body) == file.read_bytes()
    assert answer.headers["content-length"] == str(file.stat().st_size)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/dashboard/style.css", "text/css; charset=utf-8"),
        ("/dashboard/main.js", "text/javascript; charset=utf-8"),
        ("/dashboard/icon.svg", "image/svg+xml"),
    ],
)
def test_a_browser_is_allowed_no_more_than_it_needs(path: str, kind: str) -> None:
    answer = answer_to(path)
    assert answer.content_type == kind
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "connect-src": "'self'",
        "img-src": "'self' data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_a_file_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    routes = ApiRoutes(DashboardHandler().routes())
    monkeypatch.delattr(Path, "read_bytes")
    route, request = routes.find(ApiRequest(method="GET", path="/"))
    answer = route.handler(request)
    assert isinstance(answer, ApiAnswer)
    assert b"".join(answer.body) == b"".join(answer.body) == PAGE.encode()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_comes_from_elsewhere(file: Path) -> None:
    text = file.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//\w+\.|@import|url\(", text)


def test_the_page_has_nothing_inline() -> None:
    assert re.findall(r"<script(?! type=\"module\" src=)|<style|\sstyle=|\son\w+=", PAGE) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.name)
def test_a_script_makes_no_markup_of_text(script: Path) -> None:
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", script.read_text()
    )


def test_each_file_is_used_and_there() -> None:
    used = {"index.html", *re.findall(r'"dashboard/([\w.]+)"', PAGE)}
    for script in SCRIPTS:
        used |= set(_IMPORT.findall(script.read_text()))
    assert used == {file.name for file in FILES}


def test_each_element_that_a_script_asks_for_is_in_the_page() -> None:
    ids = set(re.findall(r'\bid="([\w-]+)"', PAGE))
    asked = {
        name
        for script in SCRIPTS
        for name in re.findall(r'\b(?:byId|made|mark)\("([\w-]+)"', script.read_text())
    }
    assert len(asked) > 30
    assert asked <= ids


def test_no_two_scripts_import_each_other() -> None:
    imports = {script.name: set(_IMPORT.findall(script.read_text())) for script in SCRIPTS}
    while imports:
        leaves = {name for name, others in imports.items() if not others & imports.keys()}
        assert leaves, f"import each other: {sorted(imports)}"
        imports = {name: others for name, others in imports.items() if name not in leaves}

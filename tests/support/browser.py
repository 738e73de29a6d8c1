"""A browser that looks at pages, and at the dashboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright

from support.programs import require

WIDE = (1440, 900)
"""Pixels."""


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Run Debian's Chromium, without a window.

    :param arguments: of its command line, further ones.
    """
    (path,) = require("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page in a tab, from `with` to its end, in which nothing may have gone wrong.

    :param browser: shows it.
    :param url: of the page.
    :param size: of the tab in pixels.
    :param may_fail: whether answers that are errors are what the test is about.
    :param options: of the browser's context.
    :ivar page: the tab.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        size: tuple[int, int] = WIDE,
        *,
        may_fail: bool = False,
        **options: Any,
    ) -> None:
        self._context = browser.new_context(viewport={"width": size[0], "height": size[1]}, **options)
        self._may_fail = may_fail
        self._errors: list[str] = []
        self.url = url
        self.page: Page = self._context.new_page()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self._errors.append(str(error)))

    def __enter__(self) -> Self:
        self.page.goto(self.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.close()
        if kind is None:
            assert self._errors == []

    def _note(self, message: ConsoleMessage) -> None:
        # The browser itself reports each answer that is an error.
        is_answer = message.text.startswith("Failed to load resource")
        if message.type in ("error", "warning") and not (self._may_fail and is_answer):
            self._errors.append(message.text)


class Dashboard(Tab):
    """The dashboard; for the parameters not named here see ``Tab``.

    :param port: of the admin side.
    """

    def __init__(self, browser: Browser, port: int, size: tuple[int, int] = WIDE, **options: Any) -> None:
        super().__init__(browser, f"http://127.0.0.1:{port}/", size, **options)

    def button(self, name: str) -> Locator:
        """Find a button by what a screen reader calls it."""
        return self.page.get_by_role("button", name=name, exact=True)

    def backend(self, name: str) -> Locator:
        """Find the row of a backend."""
        rows = self.page.get_by_role("table", name="Backends of pool web").get_by_role("row")
        return rows.filter(has=self.page.get_by_role("rowheader", name=re.compile(rf"^{name}\b")))

    @property
    def question(self) -> Locator:
        """The dialog that asks before something is done."""
        return self.page.get_by_role("dialog")

    def confirm(self, name: str) -> None:
        """Press the button of the question that does it."""
        self.question.get_by_role("button", name=name, exact=True).click()

    @property
    def results(self) -> Locator:
        """What says what was done."""
        return self.page.get_by_role("region", name="What was done")

"""The files of answers that no backend gives: read when a configuration is prepared, and kept in memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping

from attrs import frozen

from tcpbalance.config.draft import UNREAD, readable
from tcpbalance.config.errors import KeyPath, Mistake
from tcpbalance.config.frontends import FrontendConfig
from tcpbalance.config.http_values import PagePath, StatusRange
from tcpbalance.errors import Fault, TcpbalanceError

MAX_PAGE = 2**20
"""Bytes of a file; an answer is sent at once."""

MAX_PAGES = 32 * 2**20
"""Bytes of all files of a frontend together."""


class PageError(TcpbalanceError):
    """The file of an answer cannot be used."""

    fault = Fault.CONFIGURATION


@frozen
class Page:
    """The body of an answer.

    :param body: what is sent.
    :param media_type: the value of Content-Type.
    """

    body: bytes
    media_type: str


class PageReader:
    """Reads the files of one frontend, each of them once."""

    def __init__(self) -> None:
        self._read: dict[PagePath, Page] = {}
        self._size = 0

    def read(self, path: PagePath) -> Page:
        """Give what is in a file.

        :raises PageError: it cannot be read, or is too large.
        """
        page = self._read.get(path)
        if page is None:
            page = self._read[path] = read_page(path)
            self._size += len(page.body)
            if self._size > MAX_PAGES:
                raise PageError(f"the files of answers are larger than {MAX_PAGES >> 20} MiB together")
        return page

    def by_status(self, pages: Mapping[StatusRange, PagePath]) -> Mapping[int, Page]:
        """Read the pages of errors.

        :raises PageError: see `read`.
        """
        return {code: self.read(path) for status, path in pages.items() for code in status.codes}


def read_page(path: PagePath) -> Page:
    """Read a file.

    :raises PageError: it cannot be read, or is too large.
    """
    try:
        # Opening a pipe would wait for something that writes to it.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise PageError(f"{path} is no file with a content")
        with open(path, "rb") as file:
            body = file.read(MAX_PAGE + 1)
    except OSError as error:
        raise PageError(f"cannot read {path}: {(error.strerror or str(error)).lower()}") from error
    if len(body) > MAX_PAGE:
        raise PageError(f"{path} is larger than {MAX_PAGE >> 20} MiB, leave large files to a backend")
    return Page(body, path.media_type)


def mistakes_in_pages(path: KeyPath, frontend: FrontendConfig) -> Iterator[Mistake]:
    """Try the files of answers that a frontend names.

    :param path: where the frontend stands.
    """
    named: list[tuple[KeyPath, PagePath]] = []
    if frontend.error_pages is not UNREAD:
        pages = frontend.error_pages.items()
        named += [((*path, "error_pages", str(status)), page) for status, page in pages if page is not UNREAD]
    for place, route in readable((*path, "routes"), frontend.routes):
        if route.answer is not UNREAD and route.answer is not None:
            file = route.answer.file
            named += [] if file is UNREAD or file is None else [((*place, "answer", "file"), file)]
    for place, file in named:
        try:
            read_page(file)
        except PageError as error:
            yield Mistake(place, str(error))

"""A client of the admin side's stream of events."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from support.admin import Admin


class Stream:
    """Reads a stream of events from `with` to its end.

    :param admin: where it is asked for.
    :param headers: that it is asked for with.
    """

    def __init__(self, admin: Admin, headers: Mapping[str, str] = {}) -> None:
        self._connection = admin.connection()
        asks = {"Accept": "text/event-stream", **headers}
        self._connection.request("GET", "/api/v1/events", headers=asks)
        self._response = self._connection.getresponse()
        assert self._response.status == 200, self._response.read()
        assert self._response.headers["Content-Type"] == "text/event-stream"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._response.close()
        self._connection.close()

    def _events(self) -> Iterator[dict[str, Any]]:
        for line in self._response:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))

    def wait_for(self, kind: str) -> dict[str, Any]:
        """Read on until there is an event of a kind, which is given."""
        for event in self._events():
            if event.get("kind") == kind:
                return event
        raise AssertionError(f"the stream has ended without {kind}")

    def wait_for_end(self) -> None:
        """Read on until the stream ends as a whole one."""
        assert all(self._events())

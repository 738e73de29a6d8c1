"""The operations of the API that show events."""

from __future__ import annotations

from attrs import frozen

from tcpbalance.config.messages import value_text
from tcpbalance.control.api_request import ApiAnswer, ApiError, ApiRequest
from tcpbalance.control.event_stream import EventStream
from tcpbalance.control.events import Events
from tcpbalance.control.routes import ApiRoute

EVENT_STREAM = "text/event-stream"

_MAX_DIGITS = 18


@frozen
class EventHandlers:
    """Serves the requests.

    :param events: that are shown.
    """

    _events: Events

    def routes(self) -> list[ApiRoute]:
        """Give the operations."""
        return [ApiRoute("GET", "/api/v1/events", self._show)]

    def _show(self, request: ApiRequest) -> ApiAnswer:
        # A browser that comes again asks for the same address, and says in the header what it has got since.
        since = _number(request.headers.get("last-event-id") or request.query.get("since", "0"))
        if EVENT_STREAM in request.headers.get("accept", ""):
            return ApiAnswer(
                content_type=EVENT_STREAM,
                stream=lambda sink: EventStream(self._events, since, sink).begin(),
            )
        missed, events = self._events.after(since)
        shown = b",".join(event.encoded for event in events)
        missing = b"true" if missed else b"false"
        body = b'{"events":[%b],"newest":%d,"missed":%b}\n' % (shown, self._events.newest, missing)
        return ApiAnswer(body=[body], headers={"content-length": str(len(body))})


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise ApiError(
            400, "bad_since", f"since must be the number of an event, or 0, got {value_text(text[:100])}"
        )
    return int(text)

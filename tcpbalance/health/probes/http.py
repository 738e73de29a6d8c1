"""The probe that asks for a page: its keys."""

from __future__ import annotations

from importlib import import_module

from attrs import field, frozen
from attrs.validators import optional

from tcpbalance.config import plain
from tcpbalance.config.metadata import HIDDEN
from tcpbalance.config.statuses import StatusSet
from tcpbalance.config.strict import strict
from tcpbalance.health.probes.base import Target
from tcpbalance.health.probes.keys import matching, some_text

# What RFC 3986 lets stand in a path and a query is printable ASCII; a fragment is never sent.
_path = matching(r'/[!"$-~]*', 'must begin with "/" and be printable ASCII without blanks and "#"')
_host = matching(r"[!-~]+", "must be printable ASCII without blanks")


def _without_query(path: str) -> str:
    """Give what may be shown of a path: a query may have a password."""
    before, mark, _ = path.partition("?")
    return f"{before}?{HIDDEN}" if mark else path


@frozen(field_transformer=strict)
class HttpProbe:
    """Passes when the answer to a GET request has an accepted status, and `contains` in its body if set.

    Redirects are not followed, they are answers; the connection serves this one request.
    """

    path: str = field(
        default="/",
        validator=_path,
        metadata={"doc": "Path of the request; a query may follow.", "shown": _without_query},
    )
    host: str | None = field(
        default=None,
        validator=optional(_host),
        metadata={"doc": "Host header of the request. Absent: the address that is checked."},
    )
    status: StatusSet = field(
        default=StatusSet(((200, 399),)),
        converter=plain.statuses,
        metadata={"doc": 'Status codes that pass: `"200"`, `"200-399"` or `"200,204,300-302"`.'},
    )
    contains: str | None = field(
        default=None,
        validator=optional(some_text),
        metadata={
            "doc": "Text that the first 64 KiB of the body must contain. Absent: the body is not read."
        },
    )

    def __attrs_post_init__(self) -> None:
        """Import Twisted's HTTP client where the configuration is read, and not while clients wait; a process
        that makes no such checks does without."""
        import_module("tcpbalance.health.probes.http_request")

    async def check(self, target: Target) -> None:
        """See `Probe`.

        :raises ProbeFailed: it does not accept, closes, answers something else, or does not speak HTTP.
        """
        from tcpbalance.health.probes.http_request import ask

        await ask(target, self.path, self.host, self.status, self.contains)

"""`[log]` and `[access_log]`: what an operator can write about the logs."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from tcpbalance.config.metadata import doc
from tcpbalance.config.paths import LogPath
from tcpbalance.config.strict import strict

LevelName: TypeAlias = Literal["debug", "info", "warn", "error", "critical"]
"""Of the levels, the least first."""

TRACE: Final = "tcpbalance.trace"
"""The logger of the steps of `debug_clients`: they were asked for, and are logged whatever the level."""


@frozen(kw_only=True, field_transformer=strict)
class LogConfig:
    """`[log]`: what the balancer logs about itself, and how."""

    level: LevelName = field(
        default="info",
        metadata=doc(
            "What is logged: lines of this level and of those behind it, and the traces of `debug_clients`. "
            "`tcpbalance log-level` changes it until the next reload.",
        ),
    )
    format: Literal["text", "json", "journal"] = field(
        default="text",
        metadata=doc(
            '`"text"`: for people; `"json"`: one object a line; `"journal"`: text without a time and with a '
            "priority before each line, for journald. Where the log goes to the journal anyway, lines have "
            "their priority with `text` and `json`, too.",
        ),
    )


@frozen(kw_only=True, field_transformer=strict)
class AccessLogConfig:
    """`[access_log]`: one line for each session or request; without this table there is none."""

    path: LogPath = field(
        default=LogPath("-"),
        converter=LogPath,
        metadata=doc('The file to write to. SIGUSR1 makes the balancer reopen it. `"-"` is standard output.'),
    )
    format: Literal["text", "json", "combined"] = field(
        default="text",
        metadata=doc(
            '`"text"`: `key=value` pairs; `"json"`: one object a line; `"combined"`: the combined format of '
            'Apache, which has lines for the requests of frontends with `mode = "http"` alone.'
        ),
    )

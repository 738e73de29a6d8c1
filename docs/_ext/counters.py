"""The ``counters`` directive: a table of the counters of one class of ``tcpbalance.stats``, made from it."""

from __future__ import annotations

from typing import ClassVar

import attrs
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata, OptionSpec

from tcpbalance import stats

_LABELS = {"int": "", "Counts": ".*label*", "Durations": ".*bound*", "ResponseCounts": ".*class*"}

HEADER = ("| counter | counts | known as |", "|---|---|---|")


class CountersDirective(SphinxDirective):
    """Puts the table in the place of the directive; its argument is the name of the class."""

    required_arguments = 1
    option_spec: ClassVar[OptionSpec] = {}

    def run(self) -> list[nodes.Node]:
        """Write the table as Markdown and have it read like the page around it."""
        kind: type[stats.SessionStats] = getattr(stats, self.arguments[0])
        table = nodes.container()
        rows = [_row(field) for field in attrs.fields(kind)]
        self.state.nested_parse(StringList([*HEADER, *rows], source=__file__), self.content_offset, table)
        return table.children


def _row(field: attrs.Attribute[int]) -> str:
    label = _LABELS[str(field.type)]
    name = f"`{field.name}`" + label
    return f"| {name} | {field.metadata['doc']} | {field.metadata['like']} |"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Called by Sphinx."""
    app.add_directive("counters", CountersDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

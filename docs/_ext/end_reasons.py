"""The ``end-reasons`` directive: a table of every ``EndReason``, made from the enum itself."""

from __future__ import annotations

from typing import ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata, OptionSpec

from tcpbalance.proxy.reasons import EndReason

HEADER = ("| reason | closed by | open sides are closed with | meaning |", "|---|---|---|---|")


class EndReasonsDirective(SphinxDirective):
    """Puts the table in its place."""

    option_spec: ClassVar[OptionSpec] = {}

    def run(self) -> list[nodes.Node]:
        """Write the table as Markdown and have it read like the page around it."""
        table = nodes.container()
        lines = StringList([*HEADER, *[_row(reason) for reason in EndReason]], source=__file__)
        self.state.nested_parse(lines, self.content_offset, table)
        return table.children


def _row(reason: EndReason) -> str:
    seen = "FIN" if reason.orderly else "RST"
    return f"| `{reason.word}` | {reason.closer} | {seen} | {reason.meaning} |"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Called by Sphinx."""
    app.add_directive("end-reasons", EndReasonsDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

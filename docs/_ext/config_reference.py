"""The ``config-reference`` directive: the keys of one table of the configuration, made from its model.

Its argument is the table as the operator writes it, such as ``pools.NAME``, ``top`` for the keys before the
first table, or ``checks`` for the keys of each health check.
"""

from __future__ import annotations

from typing import ClassVar

from docutils import nodes
from docutils.statemachine import StringList
from reference_tables import checks, markdown_table, rows, tables
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata, OptionSpec

from tcpbalance.health.extensions import probes
from tcpbalance.pool.extensions import policies


class ConfigReferenceDirective(SphinxDirective):
    """Puts the table in its place."""

    required_arguments = 1
    option_spec: ClassVar[OptionSpec] = {}

    def run(self) -> list[nodes.Node]:
        """Write the table as Markdown and have it read like the page around it."""
        container = nodes.container()
        lines = StringList(self._lines(self.arguments[0]), source=__file__)
        self.state.nested_parse(lines, self.content_offset, container)
        return container.children

    def _lines(self, name: str) -> list[str]:
        if name == "checks":
            return list(checks(probes()))
        if name not in tables():
            raise self.error(f"no table {name!r}; there are {', '.join([*tables(), 'checks'])}")
        return markdown_table(rows(tables()[name], {"balance": policies(), "check": probes()}))


def setup(app: Sphinx) -> ExtensionMetadata:
    """Called by Sphinx."""
    app.add_directive("config-reference", ConfigReferenceDirective)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

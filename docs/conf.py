"""How the documentation is built; `make docs` builds it with every warning an error."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

# Our own directives: pages that are made from the code cannot drift away from it.
sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "tcpbalance"
author = "The tcpbalance authors"
copyright = author
release = version = installed_version("tcpbalance")

extensions = ["myst_parser", "config_reference", "counters", "end_reasons"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
nitpicky = True
exclude_patterns = ["_build", "_ext"]

html_theme = "alabaster"
html_theme_options = {"description": "A TCP load balancer on Twisted", "fixed_sidebar": True}
html_show_sourcelink = False

"""The addresses of host names: asked for in the background, and kept while the name servers fail."""

LOOKUP_TIMEOUT = 5.0
"""Seconds that looking names up beforehand may take."""

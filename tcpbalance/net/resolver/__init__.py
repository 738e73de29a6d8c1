"""The addresses of host names: asked for in the background, and kept while the name servers fail."""

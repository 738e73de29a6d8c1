"""The life of one HTTP request: what a frontend with ``mode = "http"`` adds to a connection."""

"""Several processes that serve behind the same addresses."""

"""Who may come in, and on whose word."""

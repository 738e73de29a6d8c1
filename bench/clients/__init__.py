"""Our own clients, each a process of its own, so that what they use is not counted as a proxy's."""

"""The affinity of a pool on disk: a journal that survives a restart and a crash."""

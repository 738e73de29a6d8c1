"""Faults at random, over streams whose every byte is checked: `make soak`."""

"""Admission control: which clients may connect."""

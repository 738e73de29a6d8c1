"""Looks and levers for whoever runs the balancer."""

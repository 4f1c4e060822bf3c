"""Sensors that the server measures with: one module a kind, and the rack that holds those of an episode."""

"""Driving policies that other projects released: what they need, their frames and files, and how they are run."""

"""Concrete architectures, one file each, found by listing this directory."""

"""Tiny policies and checks for users' own tests."""

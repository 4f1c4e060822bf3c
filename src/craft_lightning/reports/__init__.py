"""Pictures, tables and comparisons for people."""

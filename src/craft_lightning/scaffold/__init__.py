"""A new adapter with its recipe and its test, from templates: one file a family."""

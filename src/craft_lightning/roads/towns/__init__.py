"""Built-in towns as package data."""

"""Recipes: YAML files that ``lightning fit --config NAME`` finds by name."""

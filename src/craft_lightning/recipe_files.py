"""Finds recipes: YAML files that ship with the package, by name, and the user's own, by path."""

import difflib
from importlib.resources import files
from pathlib import Path

from craft_lightning.errors import CraftError

RECIPES = "craft_lightning.recipes"


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    return sorted(
        entry.name.removesuffix(".yaml") for entry in files(RECIPES).iterdir() if entry.name.endswith(".yaml")
    )


def find_recipe(name_or_path: str) -> Path:
    """Return the file of a recipe.

    Args:
        name_or_path: path of a YAML file, or the name of a shipped recipe with or without ``.yaml``; a file wins.

    Raises:
        CraftError: neither a file nor a recipe; names the closest recipes.

    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    name, names = name_or_path.removesuffix(".yaml"), recipe_names()
    if name in names:
        return Path(str(files(RECIPES) / f"{name}.yaml"))
    near = difflib.get_close_matches(path.stem, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"recipes are: {', '.join(names) or 'none installed'}"
    raise CraftError(f"--config {name_or_path}: neither a file nor a recipe; {hint}")

"""From the configuration that an evaluator hands to its agent to a policy that drives."""

from pathlib import Path

import yaml

from craft_lightning.errors import CraftError
from craft_lightning.plugins import load_adapters
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.checkpoint import load_policy
from craft_lightning.recipe_files import find_recipe, recipe_names

_SUFFIXES = (".yaml", ".yml")


def configured_policy(config: str) -> PolicyAdapter:
    """Return the policy that a configuration names, in evaluation mode.

    Args:
        config: a policy file or the name of a shipped one; or a recipe (a YAML file or a shipped recipe's name), whose
            ``model`` section says which adapter drives with which checkpoint.

    Raises:
        CraftError: nothing is given, or what is given cannot be read.

    """
    if not config:
        raise CraftError("--agent-config is empty; give a policy file, a shipped policy's name or a recipe")
    load_adapters()
    if config.endswith(_SUFFIXES) or (config in recipe_names() and not Path(config).exists()):
        return _from_recipe(find_recipe(config)).eval()
    return load_policy(config).eval()


def _from_recipe(path: Path) -> PolicyAdapter:
    """Build the recipe's model with the parser that a fit uses."""
    from jsonargparse import ArgumentError, ArgumentParser

    from craft_lightning.module import CraftModule

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CraftError(f"{path} cannot be read ({' '.join(str(error).split())}); give a recipe") from error
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not model.get("checkpoint"):
        raise CraftError(f"{path} names no model.checkpoint, so that nobody could drive; add it or give a policy file")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(CraftModule, "model")
    try:
        module = parser.instantiate_classes(parser.parse_object({"model": model})).model
    except ArgumentError as error:
        raise CraftError(f"{path}: {' '.join(str(error).split())}") from error
    policy: PolicyAdapter = module.adapter
    return policy

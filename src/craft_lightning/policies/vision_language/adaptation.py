"""Low-rank adapters (LoRA, arXiv 2106.09685) in the decoder's upper layers, through peft."""

import re
from typing import Any

from torch import nn

from craft_lightning.errors import CraftError

MARK = "lora_"
"""What the names of low-rank parameters have in common."""


def decoder_name(model: Any) -> str:
    """Return the decoder's name among the model's modules, such as ``model.text_model``."""
    decoder = model.get_decoder()
    return next(name for name, module in model.named_modules() if module is decoder)


def add_low_rank(model: Any, first_layer: int, rank: int, alpha: int, dropout: float) -> None:
    """Put low-rank adapters beside the attention's projections of the layers from ``first_layer`` on.

    Their second factor starts at zero, so the model answers as before.

    Raises:
        CraftError: the layers' projections have other names.

    """
    from peft import LoraConfig, inject_adapter_in_model

    layers = range(first_layer, len(model.get_decoder().layers))
    numbers = "|".join(map(str, layers))
    targets = rf"{re.escape(decoder_name(model))}\.layers\.({numbers})\.self_attn\.(q|k|v|o)_proj"
    try:
        config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=targets)
        inject_adapter_in_model(config, model)
    except ValueError as error:
        raise CraftError(
            f"{type(model).__name__} has no q_proj, k_proj, v_proj, o_proj to adapt ({error}); set lora_rank: 0"
        ) from error


def merge_low_rank(model: Any) -> None:
    """Fold low-rank adapters into the weights that they stand beside, and take them out."""
    for name, module in list(model.named_modules()):
        if hasattr(module, "get_base_layer") and hasattr(module, "merge"):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())


def is_low_rank(name: str) -> bool:
    """Return whether a parameter's name is that of a low-rank factor."""
    return any(part.startswith(MARK) for part in name.split("."))


def low_rank_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the low-rank factors by name."""
    return {name: parameter for name, parameter in module.named_parameters() if is_low_rank(name)}

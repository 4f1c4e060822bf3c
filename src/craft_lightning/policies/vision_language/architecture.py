"""What differs between image-text-to-text models, in one place: inputs they need, and the layers of their decoder."""

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from craft_lightning.errors import CraftError


@dataclasses.dataclass
class Prefix:
    """A prompt as the decoder's first layer receives it; what B states share with all their answers.

    hidden [B, L, H] embedded tokens, those of the picture included; valid [B, L] bool, False where padded (on the
    left); positions [B, D, L] int64, D = 1, or 3 where a model counts time, rows and columns; deepstack [B, N, L, H]
    what the vision tower adds after each of the first N layers, None for most models.
    """

    hidden: Tensor
    valid: Tensor
    positions: Tensor
    deepstack: Tensor | None = None


class _Entered(Exception):
    """Carries the decoder's arguments out of a forward pass that need not go on."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        super().__init__("the decoder was entered")
        self.arguments = arguments


def complete_inputs(model: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a processor's answer with what the architecture needs besides.

    Models with rotary positions in three dimensions (Qwen-VL) find them by ``mm_token_type_ids``; Qwen2.5-VL goes on
    without it, silently with other positions. All others get positions that count real tokens, whatever the padding.
    """
    complete = dict(inputs)
    if hasattr(model.model, "get_rope_index"):
        if complete.get("mm_token_type_ids") is None:
            complete["mm_token_type_ids"] = (complete["input_ids"] == model.config.image_token_id).int()
    else:
        complete["position_ids"] = (complete["attention_mask"].cumsum(-1) - 1).clamp_min(0)
    return complete


def read_prompt(model: Any, inputs: Mapping[str, Any]) -> Prefix:
    """Run the vision tower and embed the prompt, stopping where the decoder begins.

    Args:
        model: an ``AutoModelForImageTextToText``.
        inputs: what its processor answered for B prompts of one picture each, padded on the left to one length.

    Raises:
        CraftError: the model prepares its own attention masks (prefix models such as PaliGemma), so that answers
            appended to the prompt would change what the prompt's tokens see.

    """

    def leave(module: nn.Module, arguments: Any, keywords: dict[str, Any]) -> None:
        raise _Entered(keywords)

    given = complete_inputs(model, inputs)
    handle = model.get_decoder().register_forward_pre_hook(leave, with_kwargs=True)
    try:
        model.model(**given, use_cache=False)
    except _Entered as entered:
        found = entered.arguments
    finally:
        handle.remove()
    mask = found.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        raise CraftError(
            f"{type(model).__name__} prepares attention masks of its own, so its answers cannot be enumerated; use a "
            "model whose prompt is read causally (SmolVLM, Idefics3, InternVL, Qwen-VL)"
        )
    positions = found["position_ids"]
    positions = positions.unsqueeze(0) if positions.ndim == 2 else positions[-3:]
    hidden, deepstack = found["inputs_embeds"], found.get("deepstack_visual_embeds")
    if deepstack:
        where = found["visual_pos_masks"]
        dense = [torch.zeros_like(hidden).index_put(tuple(where.nonzero().T), level) for level in deepstack]
        deepstack = torch.stack(dense, 1)
    return Prefix(hidden, mask.bool(), positions.transpose(0, 1), deepstack if deepstack is not None else None)


def check_decoder(model: Any) -> None:
    """Refuse a model whose decoder cannot be run in parts.

    Raises:
        CraftError: it has no plain list of layers, or layers that do not see the whole prompt.

    """
    decoder = model.get_decoder()
    kinds = set(getattr(decoder.config, "layer_types", None) or ["full_attention"])
    if not (isinstance(getattr(decoder, "layers", None), nn.ModuleList) and hasattr(decoder, "norm")):
        raise CraftError(f"the decoder {type(decoder).__name__} has no list of layers with a norm; use another model")
    if kinds != {"full_attention"}:
        raise CraftError(
            f"the decoder {type(decoder).__name__} has layers of kind {sorted(kinds)}; need full attention"
        )


def run_layers(model: Any, start: int, stop: int, packed: Prefix, mask: Tensor) -> Tensor:
    """Run some layers of the decoder, with the final norm if the last is among them.

    Args:
        model: the image-text-to-text model.
        start: first layer.
        stop: layer after the last one.
        packed: hidden states [B, N, H] that enter layer ``start``, with their positions.
        mask: [B, 1, N, N] additive attention mask.

    Returns:
        [B, N, H].

    """
    decoder = model.get_decoder()
    # A view of the decoder with fewer layers: parameters are the same objects, so functional calls reach them.
    part = copy.copy(decoder)
    part._modules = dict(decoder._modules)
    part._modules["layers"] = nn.ModuleList(decoder.layers[start:stop])
    if stop < len(decoder.layers):
        part._modules["norm"] = nn.Identity()
    extra: dict[str, Any] = {}
    if packed.deepstack is not None and start == 0:
        count = packed.deepstack.shape[2]
        where = torch.zeros_like(packed.valid)
        where[:, :count] = True
        extra = {
            "visual_pos_masks": where,
            "deepstack_visual_embeds": [level.flatten(0, 1) for level in packed.deepstack.unbind(1)],
        }
    positions = packed.positions.transpose(0, 1)
    answer = part(
        inputs_embeds=packed.hidden,
        attention_mask=mask,
        position_ids=positions[0] if len(positions) == 1 else positions,
        use_cache=False,
        **extra,
    )
    return answer.last_hidden_state

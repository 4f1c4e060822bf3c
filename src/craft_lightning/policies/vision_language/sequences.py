"""Answers of several tokens: distinct sequences drawn without replacement, and scored again as they were drawn."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from craft_lightning.policies.vision_language.architecture import Prefix

Step = Callable[[Tensor, Tensor], Tensor]
"""(parents [B, n] of the last beams, their new tokens [B, n]) -> log-probabilities [B, n, C] of the next token."""


def draw_sequences(first: Tensor, step: Step, length: int, count: int, noise: Tensor | None) -> Tensor:
    """Return sequences of tokens without replacement, by stochastic beam search (arXiv 1903.06059).

    The perturbed log-probability of a sequence is a Gumbel variable around its log-probability, drawn top down, so
    that the ``count`` largest of all sequences are found while only ``count`` are ever extended.

    Args:
        first: [B, C] log-probabilities of the first token.
        step: extends beams by one token.
        length: tokens of a sequence.
        count: sequences wanted; fewer first tokens than that are all kept.
        noise: [B, length * count * C] uniform numbers in [0, 1); None keeps the most probable sequences instead.

    Returns:
        [B, n, length] int64, distinct, n at most ``count``, the largest perturbed log-probability first.

    """
    states, size = first.shape
    tokens = torch.zeros(states, 1, 0, dtype=torch.int64, device=first.device)
    log_prob = torch.zeros(states, 1, dtype=torch.float64, device=first.device)
    perturbed = torch.zeros_like(log_prob)
    following = first[:, None]
    for level in range(length):
        reached = log_prob[..., None] + following.double()
        score = reached
        if noise is not None:
            used = noise[:, level * count * size : (level + 1) * count * size].view(states, count, size)
            uniform = used[:, : reached.shape[1]].double().clamp(1e-300, 1.0 - 2.0**-53)
            score = _conditioned(reached - torch.log(-torch.log(uniform)), perturbed)
        kept = min(count, score[0].numel())
        best, place = score.flatten(1).topk(kept, 1)
        parent, token = place // size, place % size
        tokens = torch.cat([tokens.gather(1, parent[..., None].expand(-1, -1, level)), token[..., None]], 2)
        log_prob, perturbed = reached.flatten(1).gather(1, place), best
        if level + 1 < length:
            following = step(parent, token)
    return tokens


def _conditioned(gumbel: Tensor, parent: Tensor) -> Tensor:
    """Return the children's Gumbel variables [B, n, C] given that their maximum is the parent's [B, n]."""
    peak = gumbel.amax(-1, keepdim=True)
    gap = parent[..., None] - gumbel + torch.log1p(-torch.exp(gumbel - peak).clamp_max(1.0))
    return parent[..., None] - gap.clamp_min(0.0) - torch.log1p(torch.exp(-gap.abs()))


class CachedDecoder:
    """Extends many answers token by token over one pass of their prompt: its key-value cache is repeated, not redone.

    Args:
        model: the image-text-to-text model.
        prefix: B prompts at the decoder's first layer.

    """

    def __init__(self, model: Any, prefix: Prefix) -> None:
        from transformers import DynamicCache

        self.decoder, self.prefix = model.get_decoder(), prefix
        self.cache: Any = DynamicCache(config=self.decoder.config)
        self.position = prefix.positions.amax((1, 2)) + 1
        self.valid, self.beams = prefix.valid, 1
        extra: dict[str, Any] = {}
        if prefix.deepstack is not None:
            extra["visual_pos_masks"] = torch.ones_like(prefix.valid)
            extra["deepstack_visual_embeds"] = [level.flatten(0, 1) for level in prefix.deepstack.unbind(1)]
        positions = prefix.positions.transpose(0, 1)
        self.last = self._run(prefix.hidden, positions[0] if len(positions) == 1 else positions, **extra)[:, -1]

    def extend(self, parent: Tensor, embedded: Tensor) -> Tensor:
        """Return final states [B, n, H] after one more token of every beam.

        Args:
            parent: [B, n] which of the last beams each new one goes on from.
            embedded: [B, n, H] embeddings of the new tokens.

        """
        states, beams = parent.shape
        rows = torch.arange(states, device=parent.device)[:, None] * self.beams + parent
        self.cache.reorder_cache(rows.flatten())
        self.valid = self.valid[rows.flatten()]
        self.valid = torch.cat([self.valid, self.valid.new_ones(len(self.valid), 1)], 1)
        self.beams = beams
        dimensions = self.prefix.positions.shape[1]
        positions = self.position.repeat_interleave(beams)[None, :, None].expand(dimensions, -1, -1)
        self.position = self.position + 1
        hidden = self._run(embedded.flatten(0, 1).unsqueeze(1), positions[0] if dimensions == 1 else positions)
        return hidden[:, -1].unflatten(0, (states, beams))

    def _run(self, hidden: Tensor, positions: Tensor, **extra: Any) -> Tensor:
        # The argument's name changed within transformers 5.
        keyword = "cache" if "cache" in inspect.signature(self.decoder.forward).parameters else "past_key_values"
        answer = self.decoder(
            inputs_embeds=hidden,
            attention_mask=self.valid.long(),
            position_ids=positions,
            use_cache=True,
            **{keyword: self.cache},
            **extra,
        )
        return answer.last_hidden_state

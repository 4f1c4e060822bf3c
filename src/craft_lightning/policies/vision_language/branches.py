"""Many answers to one prompt in one pass: the tokens of all answers behind the prompt, each seeing its own past only.

The same numbers as expanding a key-value cache of the prompt once for every answer and going on from there, without a
copy of the cache: with P first tokens behind a prompt of L, one pass over L + P positions gives the distribution of the
second token after each of them.
"""

import torch
from torch import Tensor

from craft_lightning.policies.vision_language.architecture import Prefix


def sibling_pattern(count: int, length: int = 1, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Return which tokens of ``count`` answers of ``length`` tokens see each other, and how deep they stand.

    Returns:
        [M, M] bool, row sees column (a token sees itself and the earlier ones of its answer), and [M] int64 depths,
        where M = count * length and an answer's tokens are neighbours.

    """
    answer = torch.arange(count, device=device).repeat_interleave(length)
    depth = torch.arange(length, device=device).repeat(count)
    return (answer[:, None] == answer) & (depth[:, None] >= depth), depth


def attach(prefix: Prefix, tokens: Tensor, depth: Tensor) -> Prefix:
    """Return the prompt with M tokens behind it.

    Args:
        prefix: B prompts of L tokens.
        tokens: [B, M, H] hidden states of the tokens at the layer that ``prefix`` is about.
        depth: [M] places in their answers, 0 for a token that follows the prompt at once.

    """
    hidden = torch.cat([prefix.hidden, tokens.to(prefix.hidden.dtype)], 1)
    valid = torch.cat([prefix.valid, prefix.valid.new_ones(len(hidden), tokens.shape[1])], 1)
    return Prefix(hidden, valid, attached_positions(prefix, depth), prefix.deepstack)


def attached_positions(prefix: Prefix, depth: Tensor) -> Tensor:
    """Return positions [B, D, L + M]; text goes on after the largest position of the prompt, in every dimension."""
    last = prefix.positions.amax((1, 2))
    behind = (last[:, None] + 1 + depth)[:, None].expand(-1, prefix.positions.shape[1], -1)
    return torch.cat([prefix.positions, behind], 2)


def packed_mask(valid: Tensor, pattern: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the additive attention mask [B, 1, N, N] of prompts with M tokens behind them.

    Args:
        valid: [B, N] bool over prompt and tokens, N = L + M.
        pattern: [M, M] as ``sibling_pattern`` answers.
        dtype: of the mask.

    """
    total, behind = valid.shape[1], len(pattern)
    sees = torch.ones(total, total, dtype=torch.bool, device=valid.device).tril()
    sees[total - behind :, total - behind :] = pattern
    # Padding sees itself: a row that sees nothing would be NaN.
    sees = (sees & valid[:, None, :]) | torch.eye(total, dtype=torch.bool, device=valid.device)
    mask = torch.zeros(sees.shape, dtype=dtype, device=valid.device)
    return mask.masked_fill(~sees, torch.finfo(dtype).min).unsqueeze(1)

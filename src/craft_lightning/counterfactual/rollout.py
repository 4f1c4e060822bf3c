"""What the counterfactual world answers."""

import dataclasses

import torch
from torch import Tensor

from craft_lightning.counterfactual.parameters import FLAGS


@dataclasses.dataclass
class Rollout:
    """Scores of B states x K candidates; entries where the mask is False hold 0 (-1 in ``collision_step``).

    Attributes:
        returns: [B, K] float32, the return R of equation (37).
        first_returns: [B, K] float32, the part of R that falls into the first 0.5 s, the piece executed before the next
            decision; charges a trajectory count if they fall into it.
        collision_step: [B, K] int64, step of 0.1 s (0 = the first) of the first virtual collision, -1 if there is none.
        flags: [B, K, 7] bool, what happened at least once, in the order of ``FLAGS``.
        progress: [B, K] float32, metres of route gained.
        final: [B, K, 4] float32, x, y, yaw (ego frame of the visited state, not wrapped) and speed at the horizon.
        mask: [B, K] bool, the mask that was given.
        rewards: [B, K, steps] float32 undiscounted rewards, or None unless asked for.
        states: [B, K, steps + 1, 4] float32, the tracked ego now and after every step: x, y, yaw (as in ``final``) and
            speed; None unless asked for.

    """

    returns: Tensor
    first_returns: Tensor
    collision_step: Tensor
    flags: Tensor
    progress: Tensor
    final: Tensor
    mask: Tensor
    rewards: Tensor | None = None
    states: Tensor | None = None

    def flag(self, name: str) -> Tensor:
        """[B, K] bool, the flag called ``name``, one of ``FLAGS``."""
        return self.flags[..., FLAGS.index(name)]

    def distinct(self, tolerance: float = 0.25) -> Tensor:
        """How many of each state's candidates end up in different places once they are tracked.

        Candidates count as one where the tracked ego ends in the same cell of ``tolerance`` metres (x, y) and m/s
        (speed). A vocabulary of which less than a quarter stays distinct is finer than its controller.

        Args:
            tolerance: size of a cell.

        Returns:
            [B] int64.

        """
        cells = torch.round(self.final[..., [0, 1, 3]] / tolerance).to(torch.int64)
        # One number a cell; 2 ** 20 cells of 0.25 m reach farther than any rollout.
        code = ((cells[..., 0] << 40) + (cells[..., 1] << 20) + cells[..., 2]).masked_fill(
            ~self.mask, torch.iinfo(torch.int64).max
        )
        ordered = code.sort(dim=-1).values
        fresh = torch.ones_like(ordered, dtype=torch.bool)
        fresh[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
        fresh &= ordered != torch.iinfo(torch.int64).max
        return fresh.sum(-1)

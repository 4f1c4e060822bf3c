"""What is repeated: the same numbers in give the same numbers out, in whatever batch."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from craft_lightning.structures import CandidateSet
from craft_lightning.testing.checks.registry import check
from craft_lightning.testing.subject import Subject, leaves, require, violated

_ENCODED = 1e-2  # of a context and of a log-probability; stored contexts are rounded to half precision
_SCORED = 1e-4


@check("candidates")
def determinism(subject: Subject) -> None:
    """The same observation and the same noise give the same bits, and no global random state is used."""
    context, found = subject.driven
    torch_state, numpy_state = torch.random.get_rng_state(), _numpy_state()
    again_context, again = subject.drive()
    with torch.no_grad():
        subject.adapter.score(again_context, again)
    for key, value in leaves(context).items():
        require(_same(value, again_context[key]), f"context[{key!r}] differs between two calls of encode")
    for name in ("ids", "mask", "log_probs", "log_mass", "trajectories"):
        first, second = getattr(found, name), getattr(again, name)
        if first is not None:
            require(_same(first, second), f"{name} differs between two calls of propose with the same noise")
    used = not torch.equal(torch_state, torch.random.get_rng_state())
    used |= not np.array_equal(numpy_state, _numpy_state())
    require(not used, "a global random generator is used; take randomness from the noise that propose is given")


@check("determinism")
def proposal_noise(subject: Subject) -> None:
    """Proposal noise moves what is drawn, at its extremes too; a policy without any needs none."""
    adapter = subject.adapter
    if not adapter.proposal_noise:
        require(
            adapter.spec.support != "generated",
            "support is 'generated' but proposal_noise is 0; draw candidates from the noise that propose is given",
        )
        return
    context, found = subject.driven
    usual = subject.noise()
    assert usual is not None  # the policy asks for some
    with torch.no_grad():
        other = adapter.propose(context, noise=subject.noise(seed=subject.seed + 100))
        require(
            not _same(adapter.trajectories(found), adapter.trajectories(other)),
            "other noise gives the very same candidates; proposal_noise is not used",
        )
        for value in (0.0, 1.0 - 2.0**-53):
            noise = torch.full_like(usual, value)
            drawn = adapter.propose(context, noise=noise)
            table = adapter.trajectories(drawn).expand(subject.states, -1, -1, -1)
            require(torch.isfinite(table[drawn.mask]), f"noise of {value:g} gives trajectories that are not finite")
            require(~torch.isnan(drawn.log_probs[drawn.mask]), f"noise of {value:g} gives log_probs that are NaN")


@check("determinism", "distribution")
def rows(subject: Subject) -> None:
    """A state's numbers do not depend on which other states stand in the batch."""
    adapter = subject.adapter
    context, found = subject.driven
    observation, noise = subject.observation(), subject.noise()
    for row in (0, subject.states - 1):
        with torch.no_grad():
            alone = adapter.encode(observation[row : row + 1])
            single = adapter.propose(alone, noise=None if noise is None else noise[row : row + 1])
        for key, value in leaves(context).items():
            gap = (alone[key][0].double() - value[row].double()).abs()
            require(
                gap <= _ENCODED * (1.0 + value[row].double().abs()),
                f"context[{key!r}] of a state alone differs by {float(gap.max()):.2g} from that in a batch",
            )
        _compare(_by_id(found, row), _by_id(single, 0))
    # Stored states are scored in mini-batches of another size and order than they were driven in.
    order = torch.arange(subject.states - 1, -1, -2, device=subject.device)
    kept = subject.stored(found)
    with torch.no_grad():
        whole = adapter.score(context, kept).joint[order]
        part = adapter.score(context[order], kept[order]).joint
    gap = (part - whole)[found.mask[order]].abs().max()
    require(
        gap <= _SCORED, f"a stored state scores otherwise by {float(gap):.2g} in another mini-batch; keep rows apart"
    )


def _numpy_state() -> np.ndarray:
    return np.array(np.random.get_state(legacy=False)["state"]["key"])


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(torch.equal(first.nan_to_num(), second.nan_to_num()))


def _by_id(found: CandidateSet, row: int) -> dict[Any, float]:
    """Unrestricted log-probability of every valid candidate of a state by its ids."""
    log_probs = (found.log_probs[row] + found.log_mass[row]).tolist()
    ids, mask = found.ids[row].tolist(), found.mask[row].tolist()
    return {tuple(key): value for key, value, valid in zip(ids, log_probs, mask, strict=True) if valid}


def _compare(batch: dict[Any, float], alone: dict[Any, float]) -> None:
    common = batch.keys() & alone.keys()
    # The last places of a filtered support may go to others by the last bit.
    if len(common) < 0.8 * max(len(batch), len(alone)):
        violated("a state alone gets other candidates than in a batch; keep rows apart")
    gap = max(
        (abs(batch[key] - alone[key]) for key in common if max(batch[key], alone[key]) > -20.0),
        default=0.0,
    )
    if not gap <= _ENCODED:
        violated(f"a log-probability of a state alone differs by {gap:.2g} from that in a batch; keep rows apart")

"""What is scored: log-probabilities of stored candidates, in whole and by factors."""

from typing import cast

import torch
from torch import Tensor

from craft_lightning.structures import Context
from craft_lightning.testing.checks.registry import check
from craft_lightning.testing.subject import Subject, leaves, require

RATIO = 1e-5  # of a log-probability, at the first scoring
_TOLERANCE = 1e-4
_KERNELS = 1e-4  # of a feature near one: what two kernels for the same sum round differently


@check("determinism", "distribution")
def scores(subject: Subject) -> None:
    """Scores are normalised over the mask and -inf outside it."""
    context, found = subject.driven
    with torch.no_grad():
        joint = subject.adapter.score(context, found).joint
    require(joint.shape == found.mask.shape, f"joint has shape {list(joint.shape)}; give {list(found.mask.shape)}")
    require(~torch.isnan(joint), "joint holds NaN")
    total = joint.double().masked_fill(~found.mask, -torch.inf).exp().sum(1)
    require(
        (total - 1.0).abs() <= _TOLERANCE,
        f"the scored probabilities of a state add up to {float(total[(total - 1.0).abs().argmax()]):.4f}; normalise "
        "joint over the mask",
    )
    require(joint[~found.mask] == -torch.inf, "joint of a masked candidate is not -inf")


@check("scores")
def ratio(subject: Subject) -> None:
    """The first scoring of a proposal gives its own log-probabilities: the ratio is 1."""
    context, found = subject.driven
    with torch.no_grad():
        joint = subject.adapter.score(context, found).joint
    both = found.mask & (found.log_probs > -20.0)
    gap = (joint - found.log_probs)[both].abs().max()
    require(
        gap <= RATIO,
        f"score and propose differ by {float(gap):.2g} in a log-probability; both must use the same temperature, mask "
        "and arithmetic",
    )


@check("ratio")
def storage(subject: Subject) -> None:
    """Kept as rollouts keep them, candidates have the same trajectories and the ratio 1."""
    adapter = subject.adapter
    context, found = subject.driven
    kept = subject.stored(found)
    rows = cast(Context, torch.stack(cast("list[Tensor]", list(context.detach().clone().unbind(0)))))
    geometry = adapter.trajectories(kept).expand(subject.states, -1, -1, -1)
    require(
        geometry[found.mask] == adapter.trajectories(found).expand_as(geometry)[found.mask],
        "trajectories of stored candidates are not those proposed; set stores_geometry where they follow "
        "from more than the ids",
    )
    with torch.no_grad():
        joint = adapter.score(rows, kept).joint
    gap = (joint - found.log_probs)[found.mask & (found.log_probs > -20.0)].abs().max()
    require(
        gap <= RATIO,
        f"stored candidates score otherwise by {float(gap):.2g}; score needs ids, mask and latent alone",
    )


@check("ratio")
def live_context(subject: Subject) -> None:
    """A context that pre-training differentiates holds the very numbers that it holds without gradients.

    A frozen trunk may run other kernels: what fine-tuning stores may differ by what they round differently, no more.
    """
    adapter = subject.adapter
    context, found = subject.driven
    adapter.set_trainable("all").eval()
    alive = adapter.encode(subject.observation())
    with torch.no_grad():
        still = adapter.encode(subject.observation())
    stored = leaves(context)
    for key, value in leaves(still).items():
        require(
            torch.equal(alive[key].detach().float(), value.float()),
            f"context[{key!r}] holds other numbers with gradients than without; round in both cases alike",
        )
        step = 2.0 * torch.finfo(value.dtype).eps if value.is_floating_point() else 0.0
        require(
            torch.allclose(stored[key].double(), value.double(), rtol=step, atol=max(step, _KERNELS) if step else 0.0),
            f"context[{key!r}] holds other numbers when the policy is frozen than in pre-training",
        )
    with torch.no_grad():
        gap = (adapter.score(alive, found).joint - adapter.score(still, found).joint)[found.mask].abs().max()
    require(gap <= RATIO, f"a live context scores otherwise by {float(gap):.2g} than the stored one")


@check("scores")
def factors(subject: Subject) -> None:
    """The joint is the sum of its factors up to renormalisation, and factors are entries of their tables."""
    context, found = subject.driven
    spec, mask = subject.adapter.spec, found.mask
    count = len(spec.factors)
    with torch.no_grad():
        answer = subject.adapter.score(context, subject.stored(found))
    shape = (*mask.shape, count)
    require(tuple(answer.factors.shape) == shape, f"factors has shape {list(answer.factors.shape)}; give {list(shape)}")
    require(
        len(answer.tables) == count and len(answer.prefix) == count,
        f"there are {len(answer.tables)} tables and {len(answer.prefix)} prefixes; give one a factor, {count}",
    )
    rest = (answer.joint - answer.factors.sum(-1)).double()
    for row in range(subject.states):
        own = rest[row][mask[row]]
        require(
            own.amax() - own.amin() <= 1e-3,
            f"joint minus the sum of factors moves by {float(own.amax() - own.amin()):.2g} among the candidates of a "
            "state; they may differ by one constant (the renormalisation) alone",
        )
    states = torch.arange(subject.states, device=mask.device)[:, None].expand_as(mask)[mask]
    for number, (factor, table, prefix) in enumerate(zip(spec.factors, answer.tables, answer.prefix, strict=True)):
        require(
            table.dim() == 3 and len(table) == subject.states and prefix.shape == mask.shape,
            f"table and prefix of '{factor.name}' are {list(table.shape)} and {list(prefix.shape)}; give [B, rows, "
            "values] and [B, K]",
        )
        lines = prefix[mask].long()
        require((lines >= 0) & (lines < table.shape[1]), f"a prefix of '{factor.name}' points outside its table")
        visited = table[states, lines]
        require(
            (visited.double().exp().sum(-1) - 1.0).abs() <= 1e-3,
            f"a visited row of the table of '{factor.name}' is no distribution; give a log-softmax",
        )
        ids = found.ids[..., number][mask].long()
        require(ids < table.shape[2], f"the table of '{factor.name}' has {table.shape[2]} columns; ids reach farther")
        gap = (visited.gather(-1, ids[:, None]).squeeze(-1) - answer.factors[..., number][mask]).abs().max()
        require(gap <= 1e-3, f"factor '{factor.name}' differs by {float(gap):.2g} from its table at (prefix, id)")


@check("ratio")
def temperature(subject: Subject) -> None:
    """A calibrated temperature is kept in the spec and shared by what is drawn and what is scored."""
    adapter = subject.adapter
    from craft_lightning.policies.base import PolicyAdapter

    if type(adapter).calibrate_temperature is PolicyAdapter.calibrate_temperature:
        return
    context, cold = subject.driven
    before = {name: buffer.clone() for name, buffer in adapter.state_dict().items()}
    mean = float(cold.log_probs.exp().amax(1).mean())
    target = 0.5 * (1.0 + max(mean, float(1.0 / cold.mask.sum(1).min())))
    try:
        found = adapter.calibrate_temperature(context, target)
        require(
            abs(adapter.spec.temperature - found) <= 1e-6 * found,
            f"calibrate_temperature answers {found:.4g} and spec.temperature is {adapter.spec.temperature:.4g}",
        )
        with torch.no_grad():
            warm = adapter.propose(context, noise=subject.noise())
            joint = adapter.score(context, warm).joint
        gap = (joint - warm.log_probs)[warm.mask & (warm.log_probs > -20.0)].abs().max()
        require(gap <= RATIO, f"after a calibration score and propose differ by {float(gap):.2g}")
        reached = float(warm.log_probs.exp().amax(1).mean())
        if adapter.spec.support != "generated":
            require(
                abs(reached - target) <= 0.02,
                f"the greedy candidate has a mean probability of {reached:.3f} after a calibration to {target:.3f}",
            )
    finally:
        adapter.load_state_dict(before)

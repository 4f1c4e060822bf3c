"""What is kept: a stored support is rebuilt exactly, and masked candidates take no part."""

import torch

from craft_lightning.testing.checks.registry import check
from craft_lightning.testing.checks.scoring import RATIO
from craft_lightning.testing.subject import Subject, require

_TOLERANCE = 1e-4


@check("ratio")
def replay(subject: Subject) -> None:
    """A stored support is rebuilt exactly, in its own order, renormalised, with its mass."""
    adapter = subject.adapter
    context, everything = subject.driven
    index = subject.subset(everything)
    rows = torch.arange(subject.states, device=index.device)[:, None]
    ids = everything.ids[rows, index]
    with torch.no_grad():
        part = adapter.propose(context, support=ids, noise=subject.noise())
    require(
        part.ids.shape == ids.shape and bool((part.ids == ids).all()),
        "propose(support=ids) answers other ids or another order; rebuild the support as it is",
    )
    require(part.mask, "propose(support=ids) masks candidates of the support; never filter a stored one again")
    expected = everything.log_probs[rows, index]
    gap = (part.log_probs - expected.log_softmax(1)).abs().max()
    require(
        gap <= _TOLERANCE,
        f"log_probs of a rebuilt support differ by {float(gap):.2g} from those proposed, renormalised on it",
    )
    mass = everything.log_mass + expected.logsumexp(1)
    gap = (part.log_mass - mass).abs().max()
    require(
        gap <= 1e-3,
        f"log_mass of a rebuilt support is off by {float(gap):.2g}; it is the log of its share",
    )
    require(
        torch.equal(
            adapter.trajectories(part).expand(subject.states, -1, -1, -1),
            adapter.trajectories(everything).expand(subject.states, -1, -1, -1)[rows, index],
        ),
        "a rebuilt support has other trajectories than were proposed",
    )
    with torch.no_grad():
        joint = adapter.score(context, subject.stored(part)).joint
    gap = (joint - part.log_probs).abs().max()
    require(gap <= RATIO, f"a rebuilt support scores otherwise by {float(gap):.2g} than it was proposed")


@check("ratio")
def masked(subject: Subject) -> None:
    """Candidates masked later get nothing, the others keep their proportions, and gradients stay finite."""
    adapter = subject.adapter
    context, found = subject.driven
    every = torch.arange(subject.states, device=found.mask.device)
    mask = found.mask.clone()
    several = mask.sum(1) > 1
    top = found.log_probs.masked_fill(~mask, -torch.inf).argmax(1)
    mask[every[several], top[several]] = False
    require(several, "a state has one candidate alone; give the example at least two everywhere")
    part = found.clone(recurse=False)
    part.mask = mask
    joint = adapter.score(context, part).joint
    require(joint[~mask] == -torch.inf, "a masked candidate gets probability; score must use the mask it is given")
    total = joint.detach().double().exp().sum(1)
    require((total - 1.0).abs() <= _TOLERANCE, "scores are not normalised over the mask they were given")
    both = mask & (found.log_probs > -20.0)
    shift = (joint.detach() - found.log_probs).double()
    spread = shift.masked_fill(~both, -torch.inf).amax(1) - shift.masked_fill(~both, torch.inf).amin(1)
    require(
        (spread <= 1e-3) | (both.sum(1) == 0),
        "masking one candidate changes the proportions of the others; a score must not depend on who else is listed",
    )
    if joint.requires_grad:
        joint.masked_fill(~mask, 0.0).sum().backward()
        bad = [
            name
            for name, parameter in adapter.named_parameters()
            if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all())
        ]
        require(not bad, f"masked candidates make the gradient of {', '.join(bad[:3])} NaN or infinite")

"""What is executed: one candidate a state, by the behaviour log-probabilities."""

import torch
from torch import Tensor

from craft_lightning.structures import CandidateSet
from craft_lightning.testing.checks.registry import check
from craft_lightning.testing.subject import Subject, require

_DRAWS = 4000


@check("distribution", "trajectories")
def acts(subject: Subject) -> None:
    """The greedy action is the most probable candidate, and the trajectory is the chosen candidate's.

    A policy that draws its candidates may list its central plan beside them, masked since it is no draw, and execute
    that; then it must not follow from the noise.
    """
    adapter = subject.adapter
    _, found = subject.driven
    best = found.log_probs.masked_fill(~found.mask, -torch.inf)
    index, trajectory = adapter.act(found, greedy=True)
    require(index.shape == (subject.states,), f"act answers indices {list(index.shape)}; give [{subject.states}]")
    drawn = found.mask.gather(1, index[:, None]).squeeze(1)
    require(
        (best.gather(1, index[:, None]).squeeze(1) == best.amax(1)) | (~drawn & bool(adapter.proposal_noise)),
        "the greedy action is not the most probable candidate of the proposal",
    )
    if not drawn.all():
        context, _ = subject.driven
        with torch.no_grad():
            other = adapter.propose(context, noise=subject.noise(seed=subject.seed + 11))
        require(
            torch.equal(adapter.act(other, greedy=True)[1][~drawn], trajectory[~drawn]),
            "the greedy plan is masked, so no draw, and yet follows from the noise of the proposal",
        )
    _belongs(subject, found, index, trajectory)
    generator = torch.Generator().manual_seed(subject.seed + 5)
    drawn = torch.rand(found.mask.shape, generator=generator)
    for noise in (torch.zeros_like(drawn), torch.ones_like(drawn), drawn):
        index, trajectory = adapter.act(found, noise=noise.to(subject.device))
        require(found.mask.gather(1, index[:, None]), "noise within [0, 1] draws a masked candidate")
        _belongs(subject, found, index, trajectory)


@check("acts")
def sampling(subject: Subject) -> None:
    """Drawn actions follow the behaviour probabilities, and the same noise draws the same."""
    adapter = subject.adapter
    _, found = subject.driven
    width = found.mask.shape[1]
    generator = torch.Generator().manual_seed(subject.seed + 3)
    rows = max(1, min(_DRAWS, 2_000_000 // (width * adapter.spec.num_poses * 3)))
    counts, drawn = torch.zeros(width), 0
    while drawn < _DRAWS:
        many = found[:1].expand(rows)
        noise = torch.rand(rows, width, generator=generator).to(subject.device)
        index, _ = adapter.act(many, noise=noise)
        if drawn == 0:
            require(torch.equal(index, adapter.act(many, noise=noise)[0]), "the same noise draws another candidate")
        counts += torch.bincount(index.cpu(), minlength=width)
        drawn += rows
    gap = (counts / drawn - found.log_probs[0].exp().cpu()).abs().max()
    # Five standard errors of a share of at most one half.
    require(
        gap <= 5 * 0.5 / drawn**0.5, f"a candidate is drawn with a share that is {float(gap):.2g} off its probability"
    )


def _belongs(subject: Subject, found: CandidateSet, index: Tensor, trajectory: Tensor) -> None:
    table = subject.adapter.trajectories(found).expand(subject.states, -1, -1, -1)
    every = torch.arange(subject.states, device=index.device)
    require(
        trajectory.shape == table[:, 0].shape and torch.equal(trajectory, table[every, index]),
        "act answers another trajectory than that of the candidate it names",
    )

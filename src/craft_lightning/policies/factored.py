"""Two-factor distributions pi(path) pi(speed | path): from logits to one list of candidates, and back to factors.

Candidate k of the full list is path k // V with speed profile k % V. Whoever has two tables of logits, a hierarchy of
queries, two action tokens or a factorised scorer, comes through here.
"""

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.candidates import merge_logits
from craft_lightning.structures import CandidateSet, FactorLogProbs

_EVERY = 4  # poses between those that tell two plans apart


def joint_logits(path_logits: Tensor, speed_logits: Tensor, temperature: Tensor | float) -> Tensor:
    """Return log pi(path) + log pi(speed | path) [B, P * V], each factor a softmax at the temperature.

    Args:
        path_logits: [B, P].
        speed_logits: [B, P, V], or [B, 1, V] where the speed does not depend on the path.
        temperature: divides the logits of both factors.

    """
    path = (path_logits / temperature).log_softmax(-1)
    speed = (speed_logits / temperature).log_softmax(-1)
    return (path.unsqueeze(-1) + speed).flatten(1)


def plan_ids(paths: int, speeds: int, device: torch.device | None = None) -> Tensor:
    """Return the ids [P * V, 2] of all candidates in their order."""
    index = torch.arange(paths * speeds, device=device)
    return torch.stack([index // speeds, index % speeds], -1)


def flat_ids(ids: Tensor, paths: int, speeds: int) -> Tensor:
    """Return the places [B, K] of candidates with ids [B, K, 2] in the full list.

    Raises:
        CraftError: an id lies outside its factor.

    """
    path, speed = ids.unbind(-1)
    if ids.numel() and not (int(ids.min()) >= 0 and int(path.max()) < paths and int(speed.max()) < speeds):
        raise CraftError(f"an id of the support lies outside {paths} paths x {speeds} speeds; it is of another grid")
    return path * speeds + speed


def duplicate_plans(plans: Tensor, tolerance: float) -> Tensor:
    """Return for every plan of every state the first one that it duplicates (itself where there is none).

    An ego that stands still shows why: with any braking profile all paths are the same trajectory.

    Args:
        plans: [B, K, T, 3].
        tolerance: metres, root mean square over the poses' positions.

    Returns:
        [B, K] int64; a value is always the index of a plan that represents itself.

    """
    states, count = plans.shape[:2]
    points = plans[:, :, _EVERY - 1 :: _EVERY, :2]
    flat = points.flatten(2)
    near = torch.cdist(flat, flat) < tolerance * points.shape[2] ** 0.5
    earlier = near & torch.ones(count, count, dtype=torch.bool, device=plans.device).tril(-1)
    # A plan stands for itself unless an earlier one near it does. Settles from the front, in as many rounds as the
    # longest chain of neighbours has links.
    alone = torch.ones(states, count, dtype=torch.bool, device=plans.device)
    while True:
        settled = ~(earlier & alone.unsqueeze(1)).any(-1)
        if torch.equal(settled, alone):
            break
        alone = settled
    # argmax answers the first of equals.
    first = (earlier & alone.unsqueeze(1)).to(torch.uint8).argmax(-1)
    return torch.where(alone, torch.arange(count, device=plans.device), first)


def list_plans(logits: Tensor, representative: Tensor, speeds: int, support: Tensor | None = None) -> CandidateSet:
    """List the candidates of B states from their joint logits.

    Args:
        logits: [B, P * V] joint logits, temperature included.
        representative: [B, P * V] as ``duplicate_plans`` answers; the mass of duplicates is pooled on it.
        speeds: V.
        support: [B, K, 2] ids of a stored support to list instead of everything.

    Returns:
        Candidates without trajectories and without latents; log-probabilities are normalised over the mask.

    """
    states, count = logits.shape
    index = torch.arange(count, device=logits.device)
    mask = representative == index
    log_probs = merge_logits(logits, representative).log_softmax(1)
    multiplicity = torch.zeros_like(representative).scatter_add(1, representative, torch.ones_like(representative))
    ids = plan_ids(count // speeds, speeds, logits.device).expand(states, -1, -1)
    log_mass = log_probs.new_zeros(states)
    if support is not None:
        flat = flat_ids(support, count // speeds, speeds)
        ids, mask, multiplicity = support, mask.gather(1, flat), multiplicity.gather(1, flat)
        log_probs = log_probs.gather(1, flat).masked_fill(~mask, -torch.inf)
        log_mass = log_probs.logsumexp(1)
        log_probs = log_probs.log_softmax(1)
    return CandidateSet(
        trajectories=None,
        ids=ids,
        mask=mask,
        log_probs=log_probs,
        log_mass=log_mass,
        multiplicity=multiplicity,
        chosen=torch.full((states,), -1, device=logits.device),
        batch_size=[states],
    )


def score_plans(logits: Tensor, representative: Tensor, speeds: int, candidates: CandidateSet) -> FactorLogProbs:
    """Return the log-probabilities of stored candidates, normalised over their mask, and the factors behind them.

    The factors are those of the renormalised joint distribution: what is pooled, masked or left out of the support
    moves mass between paths too. So the chain rule holds exactly, factor by factor.

    Args:
        logits: [B, P * V] joint logits under current parameters, temperature included.
        representative: [B, P * V] duplicates as they were when the candidates were proposed.
        speeds: V.
        candidates: the stored support, ids [B, K, 2].

    Returns:
        joint [B, K], factors [B, K, 2], tables [B, 1, P] and [B, P, V] and their rows; -inf where there is no mass.

    """
    count = logits.shape[1]
    merged = merge_logits(logits, representative)
    flat = flat_ids(candidates.ids, count // speeds, speeds)
    everything = flat.shape[1] == count and bool((flat == torch.arange(count, device=flat.device)).all())
    if not everything:
        merged = merged.gather(1, flat)
    joint = merged.masked_fill(~candidates.mask, -torch.inf).log_softmax(1)
    full = joint
    if not everything:
        # A masked twin of a listed id must not overwrite it.
        full = joint.new_full((len(joint), count), -torch.inf).scatter_reduce(1, flat, joint, "amax")
    path, speed = split_joint(full.unflatten(1, (-1, speeds)))
    rows, columns = candidates.ids.unbind(-1)
    factors = torch.stack([path.gather(1, rows), speed.flatten(1).gather(1, rows * speeds + columns)], -1)
    return FactorLogProbs(joint, factors, [path.unsqueeze(1), speed], [torch.zeros_like(rows), rows])


def split_joint(joint: Tensor) -> tuple[Tensor, Tensor]:
    """Return log pi(path) [B, P] and log pi(speed | path) [B, P, V] of log-probabilities [B, P, V].

    Paths without any mass get -inf in both, and no gradient.
    """
    empty = joint.isneginf().all(-1)
    # logsumexp of a row of -inf has a gradient of NaN.
    path = joint.masked_fill(empty.unsqueeze(-1), 0.0).logsumexp(-1)
    speed = joint - path.masked_fill(empty, 0.0).unsqueeze(-1)
    return path.masked_fill(empty, -torch.inf), speed

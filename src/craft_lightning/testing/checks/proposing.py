"""What is proposed: the plan's description, the context, the candidates, their probabilities and trajectories."""

import math

import torch

from craft_lightning.conventions import TRACKER_SECONDS
from craft_lightning.structures import CandidateSet, PlanSpec
from craft_lightning.testing.checks.registry import check
from craft_lightning.testing.subject import Subject, leaves, require

SUPPORTS = ("static", "filtered", "generated")
FASTEST = 80.0  # m/s; a pose farther from the last one is no driving
_TOLERANCE = 1e-4


@check()
def drives(subject: Subject) -> None:
    """Encoding, proposing and acting run, and return what the contract names."""
    context, candidates = subject.driven
    require(
        hasattr(context, "batch_size") and hasattr(context, "keys"),
        f"encode answers a {type(context).__name__}; return a Context (a TensorDict)",
    )
    require(
        isinstance(candidates, CandidateSet), f"propose answers a {type(candidates).__name__}; return a CandidateSet"
    )
    subject.adapter.act(candidates, greedy=True)


@check("drives")
def plan_spec(subject: Subject) -> None:
    """The PlanSpec describes a plan that the counterfactual world can track."""
    spec = subject.adapter.spec
    require(isinstance(spec, PlanSpec), f"spec is a {type(spec).__name__}; return a PlanSpec")
    require(spec == subject.adapter.spec, "spec answers something else at every call; it must follow from the policy")
    require(spec.num_poses >= 1, f"spec.num_poses is {spec.num_poses}; give at least 1")
    require(
        abs(spec.dt - TRACKER_SECONDS) < 1e-6,
        f"spec.dt is {spec.dt} s; resample candidates to the tracker's {TRACKER_SECONDS} s",
    )
    require(
        math.isfinite(spec.temperature) and spec.temperature > 0.0,
        f"spec.temperature is {spec.temperature}; give a positive number",
    )
    require(len(spec.factors) >= 1, "spec.factors is empty; name at least one factor")
    require(all(factor.size >= 1 for factor in spec.factors), "spec.factors has a factor without any value")
    require(spec.support in SUPPORTS, f"spec.support is {spec.support!r}; it is one of {', '.join(SUPPORTS)}")


@check("drives")
def context(subject: Subject) -> None:
    """A context has one finite row a state."""
    found, _ = subject.driven
    require(
        tuple(found.batch_size) == (subject.states,),
        f"the context's batch_size is {list(found.batch_size)}; give [{subject.states}], one row a state",
    )
    for key, value in leaves(found).items():
        if value.is_floating_point():
            require(torch.isfinite(value), f"context[{key!r}] holds NaN or infinity")


@check("plan_spec", "context")
def candidates(subject: Subject) -> None:
    """Candidates have the shapes and types of the contract, and ids within their factors."""
    _, found = subject.driven
    spec, states = subject.adapter.spec, subject.states
    mask = found.mask
    require(
        mask.dim() == 2 and len(mask) == states and mask.dtype == torch.bool,
        f"mask is {mask.dtype} {list(mask.shape)}; give booleans [{states}, K], True = valid",
    )
    shape = tuple(mask.shape)
    for name, wanted, integral in (
        ("ids", (*shape, len(spec.factors)), True),
        ("log_probs", shape, False),
        ("log_mass", shape[:1], False),
        ("multiplicity", shape, True),
        ("chosen", shape[:1], True),
    ):
        value = getattr(found, name)
        require(tuple(value.shape) == wanted, f"{name} has shape {list(value.shape)}; give {list(wanted)}")
        kind = "whole" if integral else "floating"
        require(value.is_floating_point() != integral, f"{name} is {value.dtype}; give {kind} numbers")
    require(mask.any(1), "a state has no valid candidate; keep at least one (a stop, for example)")
    require(found.chosen == -1, "chosen is set by propose; leave it at -1, rollouts fill it in")
    require(found.multiplicity[mask] >= 1, "multiplicity of a valid candidate is below 1; it counts itself")
    for number, factor in enumerate(spec.factors):
        ids = found.ids[..., number][mask]
        require(
            (ids >= 0) & (ids < factor.size),
            f"ids of factor '{factor.name}' reach from {int(ids.min())} to {int(ids.max())}; its size is {factor.size}",
        )
    for row in range(states):
        own = found.ids[row][mask[row]]
        require(
            len(own.unique(dim=0)) == len(own), f"state {row} lists the same ids twice; mask or merge one of the two"
        )


@check("candidates")
def distribution(subject: Subject) -> None:
    """Behaviour log-probabilities are normalised over the mask and -inf outside it."""
    _, found = subject.driven
    inside, outside = found.log_probs[found.mask], found.log_probs[~found.mask]
    require(~torch.isnan(inside), "log_probs holds NaN")
    total = found.log_probs.double().masked_fill(~found.mask, -torch.inf).exp().sum(1)
    require(
        (total - 1.0).abs() <= _TOLERANCE,
        f"the probabilities of a state add up to {float(total[(total - 1.0).abs().argmax()]):.4f}; normalise log_probs "
        "over the mask",
    )
    require(outside == -torch.inf, "log_probs of a masked candidate is not -inf")
    require(found.log_mass <= _TOLERANCE, "log_mass is above 0; it is the log of a share")
    if subject.adapter.spec.support == "static":
        require(
            found.log_mass.abs() <= _TOLERANCE, "log_mass of an enumerated support is not 0; it holds the whole mass"
        )


@check("candidates")
def trajectories(subject: Subject) -> None:
    """Trajectories are finite, of a speed that a car can have, and not all the same."""
    _, found = subject.driven
    spec = subject.adapter.spec
    table = subject.adapter.trajectories(found)
    count = found.mask.shape[1]
    shapes = [(rows, count, spec.num_poses, 3) for rows in (1, subject.states)]
    require(
        tuple(table.shape) in shapes,
        f"trajectories has shape {list(table.shape)}; give [{subject.states} or 1, {count}, {spec.num_poses}, 3]",
    )
    valid = table.expand(subject.states, -1, -1, -1)[found.mask]
    require(torch.isfinite(valid), "the trajectory of a valid candidate holds NaN or infinity")
    speed = subject.adapter.control_view(valid)["speed"].amax()
    require(speed <= FASTEST, f"a candidate drives at {float(speed):.0f} m/s; poses are metres, {spec.dt} s apart")
    for row in range(subject.states):
        own = table.expand(subject.states, -1, -1, -1)[row][found.mask[row]]
        require(len(own) == 1 or bool((own != own[:1]).any()), f"all candidates of state {row} are the same trajectory")


@check("candidates")
def listing(subject: Subject) -> None:
    """Listing for imitation gives the candidates of a proposal with valid log-probabilities."""
    made, found = subject.driven
    if subject.adapter.spec.support != "static":
        return  # a listing without noise, or without the filter, may hold other candidates
    with torch.no_grad():
        listed = subject.adapter.listing(made)
    require(
        listed.mask.shape == found.mask.shape and bool((listed.mask == found.mask).all()),
        "listing has another mask than propose",
    )
    require(listed.ids[found.mask] == found.ids[found.mask], "listing names other ids than propose")
    total = listed.log_probs.double().masked_fill(~listed.mask, -torch.inf).exp().sum(1)
    require((total - 1.0).abs() <= _TOLERANCE, "the log_probs of listing are not normalised over the mask")


@check("plan_spec")
def control_view(subject: Subject) -> None:
    """A controller gets the path in metres and the speed in metres per second."""
    spec = subject.adapter.spec
    line = torch.zeros(spec.num_poses, 3, device=subject.device)
    line[:, 0] = torch.arange(1, spec.num_poses + 1) * 5.0 * spec.dt
    view = subject.adapter.control_view(line)
    require({"path", "speed"} <= view.keys(), f"control_view answers {', '.join(view)}; it needs path and speed")
    path, speed = view["path"], view["speed"]
    require(path.shape[-1] == 2, f"control_view's path has shape {list(path.shape)}; give x and y")
    require(
        (path.double().cpu()[-1] - line[-1, :2].double().cpu()).abs() <= 1e-3,
        "the path of a straight plan does not end where the plan ends",
    )
    require(
        (speed - 5.0).abs() <= 0.05,
        f"a plan at 5 m/s has the speed {float(speed.flatten()[-1]):.2f}; give metres a second",
    )

"""What is learnt: the profile and nothing else, in evaluation mode, with teachers of the same shape."""

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import Profile
from craft_lightning.testing.checks.registry import check, names
from craft_lightning.testing.checks.scoring import RATIO
from craft_lightning.testing.subject import Subject, require, violated


def profile_names(subject: Subject, profile: Profile) -> set[str]:
    """Return the parameters that a profile trains, by what the adapter declares (``PolicyAdapter.trains``)."""
    if profile == "none":
        return set()
    return {name for name, _ in subject.adapter.named_parameters() if subject.adapter.trains(profile, name)}


@check("drives")
def profiles(subject: Subject) -> None:
    """Every profile selects exactly the parameters that the class declares for it."""
    require(
        {"heads", "decoder"} & set(subject.profiles),
        "profiles names neither 'heads' nor 'decoder'; recipes train one of them",
    )
    for profile in (*subject.profiles, "all", "none"):
        subject.adapter.set_trainable(profile)
        found, wanted = set(subject.adapter.trainable_parameters()), profile_names(subject, profile)
        extra, missing = found - wanted, wanted - found
        require(not extra, f"profile '{profile}' trains {names(list(extra))}, which it does not declare")
        require(not missing, f"profile '{profile}' declares {names(list(missing))} and does not train it")
        require(bool(found) == (profile != "none"), f"profile '{profile}' selects no parameter; name its sub-modules")
        require(subject.adapter.profile == profile, f"set_trainable('{profile}') leaves profile at another value")


@check("profiles", "scores")
def gradients(subject: Subject) -> None:
    """A gradient reaches every module of the profile and nothing outside; fine-tuning detaches the context."""
    adapter = subject.adapter
    for profile in (*subject.profiles, "all", "none"):
        adapter.zero_grad(set_to_none=True)
        adapter.set_trainable(profile).eval()
        allowed = profile_names(subject, profile)
        context = adapter.encode(subject.observation())
        if profile != "all":
            alive = [str(key) for key, value in context.items(True, True) if value.requires_grad]
            require(
                not alive, f"under profile '{profile}' context[{names(alive)}] carries a gradient into the frozen trunk"
            )
        found = adapter.propose(context, noise=subject.noise())
        require(
            not found.log_probs.requires_grad,
            f"under profile '{profile}' log_probs of propose carry a gradient; behaviour is a constant",
        )
        joint = adapter.score(context, found).joint[found.mask]
        require(
            joint.requires_grad == (profile != "none"),
            f"under profile '{profile}' the score {'carries a' if joint.requires_grad else 'has no'} gradient",
        )
        after = set(adapter.trainable_parameters())
        require(after == allowed, f"score changes which parameters are trained: {names(list(after ^ allowed))}")
        if profile == "none":
            continue
        (joint * torch.linspace(-1.0, 1.0, len(joint), device=joint.device)).sum().backward()
        touched = {name for name, parameter in adapter.named_parameters() if parameter.grad is not None}
        require(touched <= allowed, f"profile '{profile}' sends a gradient to {names(list(touched - allowed))}")
        for prefix in type(adapter).profiles.get(profile, ()):
            require(
                any(f"{name}.".startswith(f"{prefix}.") for name in touched),
                f"'{prefix}' of profile '{profile}' gets no gradient from the score",
            )


@check("ratio", "profiles")
def teacher(subject: Subject) -> None:
    """Scoring with a teacher's parameters equals swapping the weights, and moves nothing."""
    adapter = subject.adapter
    context, found = subject.driven
    generator = torch.Generator().manual_seed(subject.seed + 4)
    before = {name: parameter.detach().clone() for name, parameter in adapter.named_parameters()}
    weights: dict[str, Tensor] = {}
    for name, parameter in adapter.trainable_parameters().items():
        step = torch.randn(parameter.shape, generator=generator).to(parameter)
        weights[name] = parameter.detach() + 0.05 * step
    if not weights:
        return
    with torch.no_grad():
        by_call = adapter.score(context, found, params=weights).joint
        own = adapter.score(context, found).joint
        with subject.swapped(weights):
            by_swap = adapter.score(context, found).joint
    mask = found.mask & (by_swap > -20.0)
    gap = (by_call - by_swap)[mask].abs().max()
    require(
        gap <= RATIO,
        f"scoring with params differs by {float(gap):.2g} from scoring with those weights; forward must read its "
        "parameters from the module",
    )
    require(
        (by_swap - own)[mask].abs().max() > 0.0, "other weights give the same scores; the profile does not reach them"
    )
    for name, parameter in adapter.named_parameters():
        require(torch.equal(parameter, before[name]), f"scoring with params changes the policy's own {name}")


@check("ratio", "profiles")
def evaluation_mode(subject: Subject) -> None:
    """In fine-tuning train() can move neither a score nor a running statistic."""
    adapter = subject.adapter
    context, found = subject.driven
    for profile in subject.profiles:
        for first in (profile, "all"):
            # The second time pre-training is left without another call of eval().
            adapter.set_trainable(first).train()
            adapter.set_trainable(profile)
            adapter.train()
            awake = [name or type(adapter).__name__ for name, module in adapter.named_modules() if module.training]
            require(not awake, f"under profile '{profile}' train() wakes {names(awake)}; keep them in evaluation mode")
            before = {name: buffer.clone() for name, buffer in adapter.named_buffers()}
            with torch.no_grad():
                joint = adapter.score(context, found).joint
                adapter.propose(adapter.encode(subject.observation()), noise=subject.noise())
            gap = (joint - found.log_probs)[found.mask & (found.log_probs > -20.0)].abs().max()
            require(gap <= RATIO, f"train() moves a log-probability by {float(gap):.2g}; switch dropout off")
            for name, buffer in adapter.named_buffers():
                require(torch.equal(before[name], buffer), f"driving changes the running statistic {name}")


@check("teacher")
def teacher_names(subject: Subject) -> None:
    """A teacher with unknown names or shapes is refused in one sentence."""
    adapter = subject.adapter
    context, found = subject.driven
    name, parameter = next(iter(adapter.named_parameters()))
    for params in ({"no.such.parameter": torch.zeros(1)}, {name: torch.zeros(*parameter.shape, 2)}):
        try:
            adapter.score(context, found, params=params)
        except CraftError:
            continue
        violated(f"score takes params[{next(iter(params))!r}] of another name or shape without a word")

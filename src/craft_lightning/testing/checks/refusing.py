"""What is refused: broken candidates and unknown profiles, each in one sentence."""

from typing import Any

import torch

from craft_lightning.errors import CraftError
from craft_lightning.testing.checks.registry import check
from craft_lightning.testing.subject import Subject, require, violated


@check("ratio")
def refusals(subject: Subject) -> None:
    """Candidates of a wrong shape, with NaN, without a valid one or of foreign ids are refused in one sentence."""
    adapter = subject.adapter
    context, found = subject.driven
    table = adapter.trajectories(found).expand(subject.states, -1, -1, -1)
    foreign = found.ids.clone()
    for number, factor in enumerate(adapter.spec.factors):
        foreign[..., number] += factor.size
    broken: list[tuple[str, str, Any]] = [
        ("an empty mask", "mask", torch.zeros_like(found.mask)),
        ("a mask that is not boolean", "mask", found.mask.float()),
        ("ids without their last axis", "ids", found.ids[..., 0]),
        ("ids of another vocabulary", "ids", foreign),
        ("log_probs of NaN", "log_probs", torch.full_like(found.log_probs, torch.nan)),
        ("log_mass of another shape", "log_mass", found.log_probs),
        ("trajectories without a heading", "trajectories", table[..., :2]),
        ("trajectories of NaN", "trajectories", table * torch.nan),
    ]
    for what, field, value in broken:
        wrong = found.clone(recurse=False)
        setattr(wrong, field, value)
        try:
            with torch.no_grad():
                adapter.score(context, wrong)
        except CraftError as error:
            _one_sentence(what, str(error))
            continue
        except Exception as error:
            violated(f"{what} end in a {type(error).__name__} and not in a sentence (CraftError)")
        violated(f"{what} are scored without a word")


@check("acts")
def act_refusals(subject: Subject) -> None:
    """An action without noise, or with noise of another shape, is refused in one sentence."""
    _, found = subject.driven
    for what, noise in (("no noise", None), ("noise of another shape", torch.rand(2, 2, device=subject.device))):
        try:
            subject.adapter.act(found, noise=noise)
        except CraftError as error:
            _one_sentence(what, str(error))
            continue
        violated(f"act takes {what} without a word; it would not be reproducible by number")


@check("profiles")
def profile_refusal(subject: Subject) -> None:
    """A profile that is not offered is refused in one sentence."""
    wrong: Any = "backbones"
    try:
        subject.adapter.set_trainable(wrong)
    except CraftError as error:
        _one_sentence("an unknown profile", str(error))
        return
    violated("set_trainable takes the unknown profile 'backbones' without a word")


def _one_sentence(what: str, words: str) -> None:
    require(bool(words.strip()) and "\n" not in words.strip(), f"{what} is refused, but not in one line: {words!r}")

"""What is kept: checkpoints that rebuild the policy, tables that stay, decisions that fit into memory."""

import tempfile
from pathlib import Path

import torch

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.checkpoint import load_policy, save_policy
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.testing.checks.registry import check, names
from craft_lightning.testing.measure import decision_bytes
from craft_lightning.testing.subject import Subject, leaves, require, violated


@check("determinism")
def checkpoint(subject: Subject) -> None:
    """Saved and loaded, the policy proposes the very same bits."""
    adapter = subject.adapter
    context, found = subject.driven
    loaded = _twin(subject)
    require(type(loaded) is type(adapter), f"a checkpoint comes back as {type(loaded).__name__}")
    require(loaded.spec == adapter.spec, "a checkpoint comes back with another PlanSpec")
    require(loaded.vocabulary_hash == adapter.vocabulary_hash, "a checkpoint comes back with another vocabulary_hash")
    twin = Subject(loaded, subject.observe, subject.states, subject.seed)
    twin.reset()
    again_context, again = twin.drive()
    for key, value in leaves(context).items():
        require(
            torch.equal(value, again_context[key]),
            f"after saving and loading context[{key!r}] differs; keep all state in parameters and buffers",
        )
    for name in ("ids", "mask", "log_probs"):
        require(
            torch.equal(getattr(found, name), getattr(again, name)),
            f"after saving and loading {name} differs; keep all state in parameters, buffers and arguments",
        )
    require(
        torch.equal(adapter.trajectories(found), loaded.trajectories(again)),
        "after saving and loading the trajectories differ; keep tables in buffers",
    )


@check("checkpoint")
def prepared(subject: Subject) -> None:
    """Preparing a policy that is ready changes nothing."""
    twin = _twin(subject)
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    poses = sample_trajectories(256, 1, twin.spec.num_poses, twin.spec.dt)
    twin.prepare(torch.as_tensor(poses).float().to(subject.device), seed=1)
    changed = [name for name, value in twin.state_dict().items() if not torch.equal(value, before[name])]
    require(not changed, f"prepare replaces {names(changed)} of a policy that is ready; ids would change their meaning")


@check("candidates")
def memory(subject: Subject) -> None:
    """A stored decision fits into the memory that rollouts have for it."""
    context, found = subject.driven
    size = decision_bytes(context, subject.stored(found))
    require(
        size <= subject.memory_limit,
        f"a stored decision takes {size:,} bytes, more than {subject.memory_limit:,}; keep less in the context, or in "
        "half precision",
    )


def _twin(subject: Subject) -> PolicyAdapter:
    """Save and load the adapter."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            loaded = load_policy(save_policy(Path(folder) / "policy.safetensors", subject.adapter))
        except CraftError as error:
            violated(f"saving and loading is refused: {error}")
    return loaded.to(subject.device)

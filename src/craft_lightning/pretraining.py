"""Callbacks around a pre-training fit: the table of candidates before it, the policy file with its card after it."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from craft_lightning.errors import CraftError
from craft_lightning.objectives.imitation import same_times
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.checkpoint import save_policy
from craft_lightning.policies.coverage import coverage_report, nearest_entry
from craft_lightning.rollouts.demonstrations import DemonstrationDataModule
from craft_lightning.structures import CandidateSet, Demonstration


class PreparePolicy(Callback):
    """Makes the policy's table of candidates (vocabulary, plan grid) from the demonstrations, where it has none yet.

    Args:
        seed: seed of the held-out split and of whatever is random in it.

    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill the table.

        Raises:
            CraftError: data without demonstrations, or demonstrations that do not suffice.

        """
        policy, data = _policy(pl_module), _data(trainer)
        policy.prepare(data.collect().tensors["trajectory"], self.seed)


class ExportPolicy(Callback):
    """Calibrates the temperature on held-out demonstrations after the fit and writes the policy with a model card.

    Args:
        path: the ``.safetensors`` file; the card lies beside it as ``.md``.
        greedy_probability: mean probability of the greedy candidate that the temperature is fitted to; None leaves the
            temperature as it is.
        title: first line of the card.
        recipe: name of the recipe, for the card.
        sees: a sentence on the policy's input, for the card.

    """

    def __init__(
        self,
        path: str,
        greedy_probability: float | None = 0.5,
        title: str = "Pre-trained driving policy",
        recipe: str = "pretrain_vocabulary",
        sees: str = "Input: one bird's-eye raster, the ego's state and the route; a single frame, so it cannot see how "
        "fast others move.",
    ) -> None:
        self.path, self.greedy_probability, self.title = Path(path), greedy_probability, title
        self.recipe, self.sees = recipe, sees

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files."""
        policy, data = _policy(pl_module), _data(trainer)
        held_out = data.held_out_batch()
        # Lightning brings the module back from its device a moment later anyway.
        policy.cpu().eval()
        with torch.no_grad():
            context = policy.encode(held_out.observation)
            if self.greedy_probability is not None:
                policy.calibrate_temperature(context, self.greedy_probability)
            noise = torch.rand(len(context), policy.proposal_noise, generator=torch.Generator().manual_seed(data.seed))
            notes = self._notes(policy, policy.propose(context, noise=noise), held_out, trainer, data)
        save_policy(self.path, policy, notes)
        self.path.with_suffix(".md").write_text(self._card(policy, notes))

    def _notes(
        self,
        policy: PolicyAdapter,
        candidates: CandidateSet,
        held_out: Demonstration,
        trainer: Trainer,
        data: DemonstrationDataModule,
    ) -> dict[str, Any]:
        chosen, plan = policy.act(candidates, greedy=True)
        plans, shown = same_times(policy.trajectories(candidates), held_out.trajectory, policy.spec.dt)
        valid = plans.masked_fill(~candidates.mask[..., None, None], torch.inf)
        nearest, _ = nearest_entry(valid, shown)
        return {
            "town": data.town,
            "demonstrations": len(data.collect()) - data.held_out,
            "held_out": data.held_out,
            "disturbance": data.disturbance,
            "epochs": int(trainer.current_epoch),
            "seed": data.seed,
            "temperature": policy.spec.temperature,
            "held_out_top1_accuracy": float((chosen == nearest).float().mean()),
            "held_out_displacement_m": float((plan[:, : shown.shape[1]] - shown)[..., :2].norm(dim=-1).mean()),
            "parameters": sum(parameter.numel() for parameter in policy.parameters()),
            "candidates": plans.shape[1],
            "held_out_coverage_m": coverage_report(valid, shown, policy.spec.dt),
        }

    def _card(self, policy: PolicyAdapter, notes: dict[str, Any]) -> str:
        rows = "\n".join(f"| {name} | {value} |" for name, value in notes.items() if not isinstance(value, dict))
        return (
            f"# {self.title}\n\n"
            f"`{type(policy).__module__}.{type(policy).__qualname__}`, trained by imitation of the privileged expert "
            "in the embedded world (SUMO traffic behind the CARLA protocol). Made by "
            f"`lightning fit --config {self.recipe}`. {self.sees}\n\n"
            "Not a CARLA or Bench2Drive result, and not for a real road. Licence: Apache-2.0.\n\n"
            f"| | |\n|---|---|\n{rows}\n| table of candidates | {policy.vocabulary_hash} |\n"
        )


def _policy(module: LightningModule) -> PolicyAdapter:
    policy = getattr(module, "adapter", None)
    if not isinstance(policy, PolicyAdapter):
        raise CraftError("PreparePolicy and ExportPolicy need a module with an adapter (CraftModule); remove them")
    return policy


def _data(trainer: Trainer) -> DemonstrationDataModule:
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, DemonstrationDataModule):
        raise CraftError("PreparePolicy and ExportPolicy read demonstrations; use data: DemonstrationDataModule")
    return data

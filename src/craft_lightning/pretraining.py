"""Callbacks around a pre-training fit: the vocabulary before it, the policy file with its model card after it."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from craft_lightning.errors import CraftError
from craft_lightning.policies.checkpoint import save_policy
from craft_lightning.policies.coverage import nearest_entry
from craft_lightning.policies.vocabulary_family import VocabularyPolicy
from craft_lightning.rollouts.demonstrations import DemonstrationDataModule
from craft_lightning.structures import Demonstration


class BuildVocabulary(Callback):
    """Builds the policy's vocabulary from the demonstrations before the first epoch, where the policy has none.

    Args:
        seed: seed of the held-out split and of k-means.

    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Fill the vocabulary.

        Raises:
            CraftError: a policy without a vocabulary, or data without demonstrations.

        """
        policy, data = _policy(pl_module), _data(trainer)
        policy.prepare(data.collect().tensors["trajectory"], self.seed)


class ExportPolicy(Callback):
    """Calibrates the temperature on held-out demonstrations after the fit and writes the policy with a model card.

    Args:
        path: the ``.safetensors`` file; the card lies beside it as ``.md``.
        greedy_probability: mean probability of the greedy candidate that the temperature is fitted to.
        title: first line of the card.

    """

    def __init__(self, path: str, greedy_probability: float = 0.5, title: str = "Pre-trained driving policy") -> None:
        self.path, self.greedy_probability, self.title = Path(path), greedy_probability, title

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files."""
        policy, data = _policy(pl_module), _data(trainer)
        held_out = data.held_out_batch()
        policy.eval()
        with torch.no_grad():
            context = policy.encode(held_out.observation)
            temperature = policy.calibrate_temperature(context, self.greedy_probability)
            notes = self._notes(policy, held_out, temperature, trainer, data)
        save_policy(self.path, policy, notes)
        self.path.with_suffix(".md").write_text(self._card(policy, notes))

    def _notes(
        self,
        policy: VocabularyPolicy,
        held_out: Demonstration,
        temperature: float,
        trainer: Trainer,
        data: DemonstrationDataModule,
    ) -> dict[str, Any]:
        chosen = policy.propose(policy.encode(held_out.observation)).log_probs.argmax(1)
        nearest, _ = nearest_entry(policy.table, held_out.trajectory)
        error = (policy.table[chosen][..., :2] - held_out.trajectory[..., :2]).norm(dim=-1).mean(1)
        return {
            "town": data.town,
            "demonstrations": len(data.collect()) - data.held_out,
            "held_out": data.held_out,
            "disturbance": data.disturbance,
            "epochs": int(trainer.current_epoch),
            "seed": data.seed,
            "temperature": temperature,
            "held_out_top1_accuracy": float((chosen == nearest).float().mean()),
            "held_out_displacement_m": float(error.mean()),
            "parameters": sum(parameter.numel() for parameter in policy.parameters()),
            "vocabulary_coverage": policy.vocabulary.report.get("coverage", {}),
        }

    def _card(self, policy: VocabularyPolicy, notes: dict[str, Any]) -> str:
        rows = "\n".join(f"| {name} | {value} |" for name, value in notes.items() if not isinstance(value, dict))
        return (
            f"# {self.title}\n\n"
            f"`{type(policy).__module__}.{type(policy).__qualname__}`, trained by imitation of the privileged expert "
            "in the embedded world (SUMO traffic behind the CARLA protocol). Made by "
            "`lightning fit --config pretrain_vocabulary`. Input: one bird's-eye raster, the ego's state and the "
            "route; a single frame, so it cannot see how fast others move.\n\n"
            "Not a CARLA or Bench2Drive result, and not for a real road. Licence: Apache-2.0.\n\n"
            f"| | |\n|---|---|\n{rows}\n| vocabulary | {policy.vocabulary_hash} |\n"
        )


def _policy(module: LightningModule) -> VocabularyPolicy:
    policy = getattr(module, "adapter", None)
    if not isinstance(policy, VocabularyPolicy):
        raise CraftError("BuildVocabulary and ExportPolicy need model.adapter to be a vocabulary scorer; remove them")
    return policy


def _data(trainer: Trainer) -> DemonstrationDataModule:
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, DemonstrationDataModule):
        raise CraftError("BuildVocabulary and ExportPolicy read demonstrations; use data: DemonstrationDataModule")
    return data

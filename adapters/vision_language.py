"""A vision-language model that answers with two words: a path and a speed profile on it."""

from pathlib import Path

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.files import read_safetensors, write_safetensors
from craft_lightning.policies.hierarchical_family import HierarchicalPolicy
from craft_lightning.policies.plan_grid import PlanGrid
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.policies.vision_language.actions import action_names
from craft_lightning.policies.vision_language.family import ModelSource, VisionLanguagePolicy
from craft_lightning.policies.vision_language.tiny import TinySize
from craft_lightning.rig import Camera
from craft_lightning.rigs import read_rig
from craft_lightning.structures import Context, Observation

_GRID = ("path_table", "speed_table", "top_speed", "temperature")
_GRID_FORMAT = "plan_grid/1"
_SQUEEZES = ("smolvlm", "idefics3")  # architectures whose small processors take pictures of any size
GRID_FILE = "plan_grid.safetensors"
"""Beside the model in a directory: what the action tokens mean."""


class VisionLanguagePlanner(VisionLanguagePolicy, HierarchicalPolicy):
    """Reads the raster or a camera as a picture, the ego's state as a sentence; answers ``<path_i> <speed_j>``.

    The distribution is enumerated exactly: the prompt is read once with all P path tokens behind it, none of which sees
    another, so that one pass gives pi(path) and pi(speed | path) for every path.

    Any image-text-to-text model that reads its prompt causally will do. By default a small one is made from a
    configuration, without a download, to be trained by imitation; ``pretrained`` takes a directory instead.

    Args:
        paths: number of path tokens P.
        speeds: number of speed tokens V.
        num_poses: poses of a plan.
        pretrained: directory of a model and its processor, as ``save_pretrained`` wrote them; None makes a small model.
        add_action_tokens: give that directory's tokenizer the action tokens where it has none.
        architecture: of the small model: "smolvlm", "idefics3", "internvl", "qwen2_5_vl" or "qwen3_vl".
        width: features of the small model's decoder.
        layers: layers of the small model's decoder.
        vision_width: features of its vision tower.
        vision_layers: layers of its vision tower.
        patch: pixels a side of a patch.
        shuffle: patches a side that become one token.
        dropout: attention dropout in pre-training.
        trained_layers: upper layers of the decoder that fine-tuning changes; 0 for all of them.
        lora_rank: rank of the low-rank adapters in those layers; 0 for none.
        lora_alpha: numerator of the adapters' scale.
        lora_dropout: dropout in front of the adapters, without effect outside pre-training.
        model_files: text files of the model, by name; checkpoints carry them.
        camera: an RGB camera to look through: the name of a layout of one sensor (front_camera), which the
            model's processor squeezes into its own size; empty looks at the painted raster.

    """

    free_arguments = VisionLanguagePolicy.free_arguments | HierarchicalPolicy.free_arguments

    def __init__(
        self,
        paths: int = 16,
        speeds: int = 12,
        num_poses: int = 40,
        pretrained: str | None = None,
        add_action_tokens: bool = False,
        architecture: str = "smolvlm",
        width: int = 128,
        layers: int = 3,
        vision_width: int = 96,
        vision_layers: int = 3,
        patch: int = 12,
        shuffle: int = 2,
        dropout: float = 0.0,
        trained_layers: int = 1,
        lora_rank: int = 8,
        lora_alpha: int = 16,
        lora_dropout: float = 0.0,
        model_files: dict[str, str] | None = None,
        camera: str = "",
    ) -> None:
        super().__init__(paths, speeds, num_poses)
        self.rig = read_rig(camera, "camera")
        eye = self.rig[0] if len(self.rig) == 1 else None
        if camera and not (isinstance(eye, Camera) and eye.kind == "rgb"):
            raise CraftError(f"camera='{camera}' is {', '.join(map(str, self.rig))}; give a layout of one RGB camera")
        if camera and not pretrained and architecture not in _SQUEEZES:
            raise CraftError(
                f"camera='{camera}' does not fit the small {architecture}, whose pictures keep their size; take "
                f"architecture {' or '.join(_SQUEEZES)}, or a pretrained model"
            )
        size = TinySize(architecture, width, layers, vision_width, vision_layers, patch, shuffle, dropout=dropout)
        self.build(
            ModelSource(model_files, pretrained or None, add_action_tokens, size),
            action_names(path=paths, speed=speeds),
            trained_layers=trained_layers,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            lora_dropout=lora_dropout,
            camera=eye,
        )

        if pretrained:
            self._take_grid(Path(pretrained) / GRID_FILE)

    @classmethod
    def example(cls) -> "VisionLanguagePlanner":
        """Return a very small instance with the grid of random drivable trajectories."""
        policy = cls(width=64, layers=2, vision_width=32, vision_layers=1)
        policy.prepare(torch.from_numpy(sample_trajectories(600)).float())
        return policy

    def encode(self, observation: Observation) -> Context:
        """Read B states as far as fine-tuning leaves the model unchanged (see ``VisionLanguageTrunk.read``)."""
        return self.trunk.read(observation, len(self.path_table), final=self.profile in ("heads", "none"))

    def factor_logits(self, context: Context) -> tuple[Tensor, Tensor]:
        """Return logits of the path tokens [B, P] and of the speed tokens after each of them [B, P, V]."""
        paths, speeds = len(self.path_table), len(self.speed_table)
        states = self.trunk.answered(context, paths)
        first, second = states[:, 0], states[:, 1:]
        rows = self.trunk.actions
        return rows.logits(first, 0, paths), rows.logits(second, paths, paths + speeds)

    def save_pretrained(self, directory: str) -> None:
        """Write model and processor as transformers does, and the plan grid with the temperature beside them."""
        super().save_pretrained(directory)
        grid = {name: getattr(self, name) for name in _GRID}
        write_safetensors(Path(directory) / GRID_FILE, grid, {"format": _GRID_FORMAT, "dt": self.dt})

    def _take_grid(self, path: Path) -> None:
        if not path.is_file():
            return
        tensors, metadata = read_safetensors(path, "pretrained")
        own = self.state_dict()
        for name in _GRID:
            if metadata.get("format") != _GRID_FORMAT or name not in tensors or tensors[name].shape != own[name].shape:
                found = tuple(tensors[name].shape) if name in tensors else "missing"
                raise CraftError(
                    f"pretrained: {name} in {path} is {found} and the policy has {tuple(own[name].shape)}; construct "
                    "the policy with the paths, speeds and num_poses that it was saved with"
                )
        self.set_grid(PlanGrid(tensors["path_table"], tensors["speed_table"], float(tensors["top_speed"]), self.dt))
        self.temperature.copy_(tensors["temperature"])

"""What all vision-language policies share: where their model comes from, what is trained of it, how it is kept."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter, Profile
from craft_lightning.policies.vision_language.actions import find_actions
from craft_lightning.policies.vision_language.adaptation import low_rank_parameters, merge_low_rank
from craft_lightning.policies.vision_language.loading import (
    build_from_directory,
    build_from_texts,
    build_tiny,
    texts_of,
    without_bars,
    write_action_ids,
)
from craft_lightning.policies.vision_language.tiny import TinySize
from craft_lightning.policies.vision_language.trunk import VisionLanguageTrunk


@dataclasses.dataclass(frozen=True)
class ModelSource:
    """Where the model of a policy comes from; the first that is given counts.

    Args:
        texts: text files of a checkpoint (``loading.texts_of``).
        directory: a directory that ``save_pretrained`` wrote.
        add: give a directory's tokenizer that has no action token all of them, untrained.
        size: how large a small model with random weights is.

    """

    texts: dict[str, str] | None
    directory: str | None
    add: bool
    size: TinySize


class VisionLanguagePolicy(PolicyAdapter):
    """A policy whose trunk is an image-text-to-text model.

    A subclass calls ``build`` with the names of its action tokens in its constructor. Profiles: "heads" trains the
    output rows of the action tokens, on states that the last layer answered once; "lora" these and low-rank adapters in
    the upper ``trained_layers`` layers, on states as these layers receive them; "decoder" these rows and the layers
    themselves; "all" everything but the adapters, which rest at zero until fine-tuning.
    """

    family = "vision-language"
    profiles = {"heads": ("trunk",), "lora": ("trunk",), "decoder": ("trunk",)}  # noqa: RUF012 - ClassVar of the base
    free_arguments = PolicyAdapter.free_arguments | {
        "model_files",
        "add_action_tokens",
        "lora_dropout",
    }

    # What a directory brought stands in the checkpoint itself.
    outside_arguments = {"pretrained": None, "add_action_tokens": False}  # noqa: RUF012 - ClassVar of the base

    trunk: VisionLanguageTrunk

    def build(self, source: ModelSource, actions: Sequence[str], **trained: Any) -> None:
        """Make the trunk.

        Args:
            source: where the model comes from.
            actions: names of the action tokens.
            trained: ``trained_layers`` and the adapters' arguments of ``VisionLanguageTrunk``.

        """
        if source.texts:
            model, processor = build_from_texts(source.texts)
            where = "model_files"
        elif source.directory:
            model, processor = build_from_directory(source.directory, actions, source.add)
            where = source.directory
        else:
            model, processor = build_tiny(source.size, actions)
            where = "the small model"
        tokens = find_actions(processor.tokenizer, actions, where, add=source.add)
        self.trunk = VisionLanguageTrunk(model, processor, tokens, **trained)
        self._tokens, self._actions = tokens, tuple(actions)

    def set_trainable(self, profile: Profile) -> Self:
        """Choose what is trained and freeze the rest (see the class).

        Raises:
            CraftError: the profile is "lora" and there are no adapters.

        """
        if profile == "lora" and not low_rank_parameters(self.trunk):
            raise CraftError("trainable is 'lora' but the policy has no adapters; set lora_rank above 0")
        return super().set_trainable(profile)

    def trains(self, profile: Profile, name: str) -> bool:
        """Return what ``VisionLanguageTrunk.trains`` says."""
        return self.trunk.trains(profile, name.removeprefix("trunk."))

    def checkpoint_arguments(self) -> dict[str, Any]:
        """Return arguments that rebuild the policy from its checkpoint alone: the model's text files are among them."""
        texts = texts_of(self.trunk.model, self.trunk.processor)
        return {**super().checkpoint_arguments(), "model_files": texts}

    def save_pretrained(self, directory: str) -> None:
        """Write the model and its processor as transformers does, adapters merged and action rows in place, and their
        tokens' ids beside them.

        Args:
            directory: made where it is missing; any image-text-to-text tool reads it, and so does ``pretrained``.

        """
        model = copy.deepcopy(self.trunk.model)
        merge_low_rank(model)
        needed = max(*self._tokens, model.get_input_embeddings().num_embeddings - 1) + 1
        model.resize_token_embeddings(needed)
        embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
        rows = self.trunk.actions
        if output.weight is embedding.weight and not torch.equal(rows.embedding, rows.output):
            # Rows that learned apart no longer fit into one table.
            output.weight = nn.Parameter(embedding.weight.detach().clone())
            model.config.tie_word_embeddings = False
            model.config.get_text_config().tie_word_embeddings = False
        with torch.no_grad():
            embedding.weight[self._tokens] = rows.embedding
            output.weight[self._tokens] = rows.output
        with without_bars():
            model.save_pretrained(Path(directory))
        self.trunk.processor.save_pretrained(Path(directory))
        write_action_ids(Path(directory), dict(zip(self._actions, self._tokens, strict=True)))

"""An image-text-to-text model as the trunk of a policy: reads states, answers with logits of action tokens."""

from collections.abc import Sequence
from typing import Any

import jinja2
import torch
from torch import Tensor, nn

from craft_lightning.errors import CraftError
from craft_lightning.policies.decoder import full, half_rounded
from craft_lightning.policies.observation import check_observation, sensed
from craft_lightning.policies.vision_language.actions import ActionRows
from craft_lightning.policies.vision_language.adaptation import add_low_rank, decoder_name, is_low_rank
from craft_lightning.policies.vision_language.architecture import Prefix, read_prompt, run_layers
from craft_lightning.policies.vision_language.branches import attach, packed_mask, sibling_pattern
from craft_lightning.policies.vision_language.loading import identity_of
from craft_lightning.policies.vision_language.prompts import corpus, paint, sentences
from craft_lightning.rig import Camera
from craft_lightning.structures import Context, Observation

_MARK = "@@@"
_SPARE = 2  # tokens by which a prompt may be longer than those of the corpus


class VisionLanguageTrunk(nn.Module):
    """Any image-text-to-text model of transformers, its processor, and the rows of its action tokens.

    Fine-tuning starts at the decoder's layer ``first``; what lies before (vision tower, embeddings, lower layers) is
    run once a state and its result kept in the context in half precision. Where ``first`` is 0, the action tokens'
    embedding rows are trained too; else they are part of what is kept.

    Args:
        model: the model.
        processor: its processor.
        tokens: token ids of the action tokens.
        trained_layers: upper layers of the decoder that fine-tuning changes; 0 for all.
        lora_rank: rank of the adapters in those layers; 0 for none.
        lora_alpha: numerator of the adapters' scale, alpha / rank.
        lora_dropout: dropout in front of the adapters, in pre-training alone.
        camera: whose picture is shown; None shows the painted raster.

    """

    identity: Tensor

    def __init__(
        self,
        model: Any,
        processor: Any,
        tokens: Sequence[int],
        trained_layers: int = 1,
        lora_rank: int = 0,
        lora_alpha: int = 16,
        lora_dropout: float = 0.0,
        camera: Camera | None = None,
    ) -> None:
        super().__init__()
        layers = len(model.get_decoder().layers)
        if not 0 <= trained_layers <= layers or lora_rank < 0:
            raise CraftError(
                f"trained_layers={trained_layers}, lora_rank={lora_rank} do not fit; the decoder has {layers} layers"
            )
        self.layers, self.first = layers, layers - (trained_layers or layers)
        self.model = model
        self.actions = ActionRows.of(model, tokens)
        if lora_rank:
            add_low_rank(model, self.first, lora_rank, lora_alpha, lora_dropout)
        self.processor = processor
        self.camera = camera
        self._template = self._rendered()
        self.prompt_length = self._longest() + _SPARE
        self.register_buffer("identity", identity_of(processor))
        self.register_load_state_dict_pre_hook(_refuse_another_tokenizer)

    def trains(self, profile: str, name: str) -> bool:
        """Return whether a profile of fine-tuning trains the parameter ``name``.

        "heads": the output rows of the action tokens. "lora": these, and the low-rank adapters. "decoder": these, and
        the upper layers with the final norm. "all": everything but the adapters.
        """
        if profile == "all":
            return not is_low_rank(name)
        if name.startswith("actions."):
            reached = name == "actions.output" or (self.first == 0 and profile != "heads")
            return reached and profile in ("heads", "lora", "decoder")
        if profile == "lora":
            return is_low_rank(name)
        if profile == "decoder":
            upper = [f"model.{decoder_name(self.model)}.layers.{number}." for number in range(self.first, self.layers)]
            norm = f"model.{decoder_name(self.model)}.norm."
            return not is_low_rank(name) and name.startswith((*upper, norm))
        return False

    def inputs(self, observation: Observation) -> dict[str, Any]:
        """Return what the processor makes of B states: one picture and one sentence each, padded to one length."""
        check_observation(observation)
        device = observation.bev.device
        camera = self.camera
        seen = paint(observation.bev) if camera is None else sensed(observation, camera).movedim(-1, 1).contiguous()
        pictures = [[picture] for picture in seen.cpu()]
        before, after = self._template
        texts = [f"{before}{said}{after}" for said in sentences(observation)]
        given = self.processor(
            text=texts, images=pictures, return_tensors="pt", padding="max_length", max_length=self.prompt_length
        )
        if given["input_ids"].shape[1] != self.prompt_length:
            longest = given["input_ids"].shape[1]
            raise CraftError(f"a prompt has {longest} tokens and at most {self.prompt_length} are kept; shorten it")
        return {name: value.to(device) for name, value in given.items() if isinstance(value, Tensor)}

    def read(self, observation: Observation, answers: int, final: bool) -> Context:
        """Run what is frozen in fine-tuning.

        Args:
            observation: B states.
            answers: action tokens, from the first on, that may follow the prompt at once.
            final: keep what the last layer answers, for training output rows alone.

        Returns:
            ``answers`` [B, 1 + answers, H] where ``final``; else ``hidden`` [B, N, H] as layer ``first`` receives it
            (with the answers behind the prompt where ``first`` is above 0), ``valid`` [B, N], ``positions`` [B, D, N].
            Half precision throughout; ``ego`` [B, 5] in SI units.

        """
        prefix = read_prompt(self.model, self.inputs(observation))
        kept: dict[str, Tensor] = {"ego": observation.ego.float()}
        stop = self.layers if final else self.first
        if stop > 0:
            prefix = self._packed(prefix, answers)
            hidden = self._run(prefix, answers, 0, stop)
            if final:
                kept["answers"] = half_rounded(hidden[:, -1 - answers :])
                return Context(kept, batch_size=[len(hidden)])
            prefix = Prefix(hidden, prefix.valid, prefix.positions)
        kept |= {
            "hidden": half_rounded(prefix.hidden),
            "valid": prefix.valid,
            "positions": prefix.positions.to(torch.int32),
        }
        if prefix.deepstack is not None:
            kept["deepstack"] = half_rounded(prefix.deepstack)
        return Context(kept, batch_size=[len(prefix.valid)])

    def answered(self, context: Context, answers: int) -> Tensor:
        """Return final states [B, 1 + answers, H] after the prompt and after each answer of one token."""
        if "answers" in context.keys():  # noqa: SIM118 - not a dictionary
            return full(context["answers"])
        packed = self.prefix(context)
        if self.first == 0:
            packed = self._packed(packed, answers)
        return self._run(packed, answers, self.first, self.layers)[:, -1 - answers :]

    def continued(self, context: Context, tokens: Tensor) -> Tensor:
        """Return final states [B, 1 + K * S, H] after the prompt and after every token of K answers [B, K, S]."""
        count, length = tokens.shape[1:]
        pattern, depth = sibling_pattern(count, length, tokens.device)
        packed = attach(self.prefix(context), self.actions.embedding[tokens.flatten(1)], depth)
        mask = packed_mask(packed.valid, pattern, packed.hidden.dtype)
        return run_layers(self.model, 0, self.layers, packed, mask)[:, -1 - count * length :]

    def prefix(self, context: Context) -> Prefix:
        """Return what a context keeps of a prompt."""
        deepstack = full(context["deepstack"]) if "deepstack" in context.keys() else None  # noqa: SIM118
        return Prefix(full(context["hidden"]), context["valid"], context["positions"].long(), deepstack)

    def _packed(self, prefix: Prefix, answers: int) -> Prefix:
        depth = torch.zeros(answers, dtype=torch.int64, device=prefix.valid.device)
        return attach(prefix, self.actions.embedding[:answers].expand(len(prefix.valid), -1, -1), depth)

    def _run(self, packed: Prefix, answers: int, start: int, stop: int) -> Tensor:
        pattern, _ = sibling_pattern(answers, device=packed.valid.device)
        return run_layers(self.model, start, stop, packed, packed_mask(packed.valid, pattern, packed.hidden.dtype))

    def _rendered(self) -> tuple[str, str]:
        """Return what the chat template writes before and after the sentence."""
        parts = [{"type": "image"}, {"type": "text", "text": _MARK}]
        try:
            text = self.processor.apply_chat_template([{"role": "user", "content": parts}], add_generation_prompt=True)
        except (ValueError, TypeError, jinja2.TemplateError) as error:
            said = " ".join(str(error).split())
            raise CraftError(
                f"pretrained: the processor's chat template is missing or cannot be used ({said}); "
                "give a directory that save_pretrained wrote whole, with its chat_template.jinja"
            ) from error
        before, mark, after = (text if isinstance(text, str) else text[0]).partition(_MARK)
        if not mark:
            raise CraftError("the processor's chat template drops the prompt's text; use a model with another template")
        return before, after

    def _longest(self) -> int:
        before, after = self._template
        size = (96, 96) if self.camera is None else (self.camera.height, self.camera.width)
        blank = torch.zeros(3, *size, dtype=torch.uint8)
        said = sorted(set(corpus()))
        lengths = [len(ids) for ids in self.processor.tokenizer([before + one + after for one in said])["input_ids"]]
        longest = before + said[lengths.index(max(lengths))] + after
        return int(self.processor(text=[longest], images=[[blank]], return_tensors="pt")["input_ids"].shape[1])


def _refuse_another_tokenizer(module: VisionLanguageTrunk, state: dict[str, Any], prefix: str, *_: Any) -> None:
    found = state.get(f"{prefix}identity")
    if found is not None and not torch.equal(found.cpu(), module.identity.cpu()):
        raise CraftError(
            "the checkpoint's tokenizer or prompt template is not the policy's, so its words mean something else; "
            "construct the policy with the same words, action tokens and architecture"
        )

"""A vision-language model that answers with a sentence of motion: several tokens, drawn without replacement."""

from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.factored import duplicate_plans
from craft_lightning.policies.temperature import fit_temperature
from craft_lightning.policies.vision_language.actions import action_names
from craft_lightning.policies.vision_language.family import ModelSource, VisionLanguagePolicy
from craft_lightning.policies.vision_language.motion import MotionCode
from craft_lightning.policies.vision_language.sequences import CachedDecoder, draw_sequences
from craft_lightning.policies.vision_language.tiny import TinySize
from craft_lightning.structures import CandidateSet, Context, Factor, FactorLogProbs, Observation, PlanSpec

DUPLICATE_RMS = 0.05
"""Sequences whose plans are nearer than this (metres, root mean square over the poses) are one candidate."""


class VisionLanguageMotion(VisionLanguagePolicy):
    """Reads the raster as a picture and the ego's state as a sentence; answers ``<motion_i> <motion_j> ...``.

    There are too many sentences to list. ``propose`` draws ``candidates`` distinct ones without replacement by
    stochastic beam search over one key-value cache of the prompt, or takes the most probable ones where it is given no
    noise; their probabilities are normalised over these, ``log_mass`` says how much of the policy they are. Of
    sentences that say the same plan (an ego that stands still turns nowhere) the later ones are masked. Each token is a
    factor; ``score`` answers with the full distribution at every visited prefix, which Rao-Blackwellised divergences
    and token-wise ratios need.

    Args:
        candidates: sentences of a state.
        curvatures: curvatures that a token can hold, 1/m.
        accelerations: accelerations that a token can hold, m/s^2.
        pieces: tokens of a sentence.
        num_poses: poses of a plan.
        pretrained: directory of a model and its processor; None makes a small model.
        add_action_tokens: give that directory's tokenizer the action tokens where it has none.
        architecture: of the small model.
        width: features of the small model's decoder.
        layers: layers of the small model's decoder.
        vision_width: features of its vision tower.
        vision_layers: layers of its vision tower.
        patch: pixels a side of a patch.
        shuffle: patches a side that become one token.
        dropout: attention dropout in pre-training.
        lora_rank: rank of the low-rank adapters, in all layers of the decoder; 0 for none.
        lora_alpha: numerator of the adapters' scale.
        lora_dropout: dropout in front of the adapters, without effect outside pre-training.
        model_files: text files of the model, by name; checkpoints carry them.

    """

    temperature: Tensor

    def __init__(
        self,
        candidates: int = 16,
        curvatures: tuple[float, ...] = MotionCode.curvatures,
        accelerations: tuple[float, ...] = MotionCode.accelerations,
        pieces: int = 4,
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
        lora_rank: int = 8,
        lora_alpha: int = 16,
        lora_dropout: float = 0.0,
        model_files: dict[str, str] | None = None,
    ) -> None:
        super().__init__()
        if candidates < 2:
            raise CraftError(f"candidates is {candidates}; a group of sentences needs at least 2")
        self.code = MotionCode(tuple(curvatures), tuple(accelerations), pieces, num_poses)
        self.candidates = candidates
        self.proposal_noise = pieces * candidates * self.code.size
        self.register_buffer("temperature", torch.ones(()))
        size = TinySize(architecture, width, layers, vision_width, vision_layers, patch, shuffle, dropout=dropout)
        self.build(
            ModelSource(model_files, pretrained or None, add_action_tokens, size),
            action_names(motion=self.code.size),
            # Tokens that are not listed beforehand cannot be kept in a context, so every layer is run again.
            trained_layers=0,
            lora_rank=lora_rank,
            lora_alpha=lora_alpha,
            lora_dropout=lora_dropout,
        )

    @classmethod
    def example(cls) -> "VisionLanguageMotion":
        """Return a very small instance."""
        return cls(candidates=6, width=64, layers=2, vision_width=32, vision_layers=1)

    @property
    def spec(self) -> PlanSpec:
        """One factor a token, with the stored temperature."""
        factors = tuple(Factor(f"motion_{place}", self.code.size) for place in range(self.code.pieces))
        return PlanSpec(self.code.num_poses, self.code.dt, factors, "generated", False, float(self.temperature))

    def encode(self, observation: Observation) -> Context:
        """Embed the prompts of B states, pictures included."""
        return self.trunk.read(observation, 0, final=False)

    @torch.no_grad()
    def propose(self, context: Context, support: Tensor | None = None, noise: Tensor | None = None) -> CandidateSet:
        """Draw sentences, or list exactly the stored ones.

        Args:
            context: what ``encode`` answered, B states.
            support: [B, K, pieces] tokens of stored sentences.
            noise: [B, proposal_noise] uniform numbers in [0, 1); None takes the most probable sentences.

        """
        ids = self._drawn(context, noise) if support is None else support
        plans = self.code.trajectories(ids, context["ego"][:, 0])
        same = duplicate_plans(plans, DUPLICATE_RMS)
        mask = same == torch.arange(same.shape[1], device=same.device)
        factors = self._tables(context, ids)[1]
        total = factors.sum(-1).masked_fill(~mask, -torch.inf)
        # The tokens' own log-probabilities, for ratios by token; the speed, without which they say no trajectory.
        latent = {"ego_speed": context["ego"][:, 0].float(), "factors": factors}
        return CandidateSet(
            trajectories=plans,
            ids=ids,
            mask=mask,
            log_probs=total.log_softmax(1),
            log_mass=total.logsumexp(1),
            multiplicity=torch.zeros_like(same).scatter_add(1, same, torch.ones_like(same)),
            chosen=torch.full((len(ids),), -1, device=ids.device),
            latent=TensorDict(latent, batch_size=[len(ids)]),
            batch_size=[len(ids)],
        )

    def forward(self, context: Context, candidates: CandidateSet) -> FactorLogProbs:
        """Return log-probabilities of stored sentences, normalised over their mask, and of their tokens."""
        tables, factors = self._tables(context, candidates.ids)
        total = factors.sum(-1).masked_fill(~candidates.mask, -torch.inf)
        joint = total.log_softmax(1)
        own = torch.arange(candidates.ids.shape[1], device=joint.device).expand(len(joint), -1)
        prefix = [torch.zeros_like(own), *([own] * (self.code.pieces - 1))]
        return FactorLogProbs(joint, factors, tables, prefix, log_mass=total.logsumexp(1))

    def trajectories(self, candidates: CandidateSet) -> Tensor:
        """Return [B, K, T, 3] from the tokens and the speed of the ego when they were drawn."""
        if candidates.trajectories is not None:
            return candidates.trajectories
        if candidates.latent is None:
            raise CraftError(
                "the candidates have lost the ego's speed (latent), without which tokens say no trajectory"
            )
        return self.code.trajectories(candidates.ids, candidates.latent["ego_speed"])

    def calibrate_temperature(self, context: Context, target: float = 0.9) -> float:
        """Fit the temperature of every token to a mean probability of the greedy sentence among the proposed ones."""
        with torch.no_grad():
            self.temperature.fill_(1.0)
            ids = torch.cat([self._drawn(part, None) for part in context.split(256)])
            pairs = zip(context.split(256), ids.split(256), strict=True)
            tables = [self._tables(part, chosen)[0] for part, chosen in pairs]
            logits = [torch.cat(level) for level in zip(*tables, strict=True)]

        def greedy(temperature: float) -> float:
            tempered = [(level / temperature).log_softmax(-1) for level in logits]
            return float(self._picked(tempered, ids).sum(-1).log_softmax(1).amax(1).exp().mean())

        self.temperature.fill_(fit_temperature(greedy, target, ids.shape[1]))
        return float(self.temperature)

    def _drawn(self, context: Context, noise: Tensor | None) -> Tensor:
        if noise is not None and tuple(noise.shape) != (context.batch_size[0], self.proposal_noise):
            raise CraftError(f"noise has shape {tuple(noise.shape)}; give [states, {self.proposal_noise}]")
        rows = self.trunk.actions
        cache = CachedDecoder(self.trunk.model, self.trunk.prefix(context))

        def step(parent: Tensor, token: Tensor) -> Tensor:
            return self._log_probs(cache.extend(parent, rows.embedding[token]))

        return draw_sequences(self._log_probs(cache.last), step, self.code.pieces, self.candidates, noise)

    def _log_probs(self, states: Tensor) -> Tensor:
        return (self.trunk.actions.logits(states, 0, self.code.size) / self.temperature).log_softmax(-1)

    def _tables(self, context: Context, ids: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the tables of every token and the tokens' log-probabilities [B, K, pieces]."""
        if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < self.code.size):
            raise CraftError(
                f"a token of the support lies outside 0..{self.code.size - 1}; it is of another motion code"
            )
        log_probs = self._log_probs(self.trunk.continued(context, ids[..., :-1]))
        later = log_probs[:, 1:].unflatten(1, (ids.shape[1], -1))
        tables = [log_probs[:, :1], *later.unbind(2)]
        return tables, self._picked(tables, ids)

    def _picked(self, tables: list[Tensor], ids: Tensor) -> Tensor:
        count = ids.shape[1]
        levels = [table.expand(-1, count, -1).gather(2, ids[..., place, None]) for place, table in enumerate(tables)]
        return torch.cat(levels, -1)

    def checkpoint_arguments(self) -> dict[str, Any]:
        """Return arguments that rebuild the policy from its checkpoint alone."""
        code = {"curvatures": list(self.code.curvatures), "accelerations": list(self.code.accelerations)}
        return {**super().checkpoint_arguments(), **code}

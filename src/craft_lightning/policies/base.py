"""The one contract between driving policies and everything else: encode, propose, score, act."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from craft_lightning.errors import CraftError
from craft_lightning.policies.candidates import check_candidates, check_ids, gumbel_argmax, native_quantities
from craft_lightning.rig import Rig
from craft_lightning.structures import CandidateSet, Context, FactorLogProbs, Observation, PlanSpec

Profile = Literal["heads", "decoder", "lora", "all", "none"]
"""What is trained: the scoring head, the whole decoder, low-rank adapters in it where a policy has any, everything
(pre-training) or nothing."""


class PolicyAdapter(nn.Module, ABC):
    """A driving policy as a distribution over a finite set of candidate trajectories.

    A subclass implements ``spec``, ``encode``, ``propose`` and ``forward`` and names in ``profiles`` the sub-modules
    that each profile trains. The constructor's arguments must be plain (numbers, strings, lists, dictionaries, None):
    they are kept in ``arguments`` and written into checkpoints.

    Evaluation discipline: unless the profile is "all" (pre-training), the policy stays in evaluation mode whatever
    ``train()`` is asked, so that dropout and batch statistics cannot move a log-probability between the moment an
    action is drawn and the moment it is scored.
    """

    profiles: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Profile -> names of the sub-modules (or parameters) it trains; "all" and "none" need no entry."""

    free_arguments: ClassVar[frozenset[str]] = frozenset({"pretrained", "dropout"})
    """Constructor arguments that may differ from a checkpoint's; all others must be equal when weights are loaded."""

    outside_arguments: ClassVar[Mapping[str, Any]] = {"pretrained": False}
    """Constructor arguments that read other files or start a download -> the value with which a checkpoint, which
    holds everything itself, rebuilds the policy."""

    family: ClassVar[str] = "policy"
    """Name of the family of architectures, as tables show it."""

    stores_geometry: ClassVar[bool] = False
    """Whether trajectories follow from more than the ids (the state, noise), so that rollouts store them too."""

    rig: Rig = ()
    """The sensors that ``encode`` reads from ``Observation.sensors``; worlds and evaluators attach them."""

    arguments: dict[str, Any]
    """Constructor arguments by name, defaults included."""

    profile: Profile = "all"

    proposal_noise: int = 0
    """Uniform numbers a state that ``propose`` draws its candidates with; 0 where it enumerates."""

    vocabulary_hash: str | None = None
    """Identity of what the ids mean; None where they need no table, or where the table is still empty."""

    @classmethod
    def example(cls) -> "PolicyAdapter":
        """Return a small instance that is ready to drive, for conformance checks: no files, no download.

        A class whose defaults are large, or that needs a table first, overrides this.
        """
        return cls()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Remember the arguments of the outermost constructor."""
        self = super().__new__(cls)
        # copy and pickle call this without arguments and restore the attribute afterwards.
        bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        bound.apply_defaults()
        self.__dict__["arguments"] = dict(list(bound.arguments.items())[1:])
        return self

    @property
    @abstractmethod
    def spec(self) -> PlanSpec:
        """What the candidates are: poses, factors, kind of support, softmax temperature."""

    @abstractmethod
    def encode(self, observation: Observation) -> Context:
        """Run the trunk: everything that is frozen in fine-tuning.

        Args:
            observation: what B states look like.

        Returns:
            Tensors [B, ...] that ``propose`` and ``score`` need; small, detached where the trunk is frozen.

        """

    @abstractmethod
    def propose(self, context: Context, support: Tensor | None = None, noise: Tensor | None = None) -> CandidateSet:
        """List the candidates of B states with their behaviour log-probabilities.

        Args:
            context: what ``encode`` answered.
            support: [B, K, F] ids of a stored support to rebuild exactly, never filtered again; None enumerates.
            noise: [B, proposal_noise] uniform numbers in [0, 1) that fix which candidates a sampling policy draws.

        Returns:
            The candidates; ``chosen`` is -1.

        """

    def require_observed(self, fields: Collection[str]) -> None:
        """Refuse to drive in worlds that cannot give what the policy needs, or before it has its table.

        Asked before any world is started.

        Args:
            fields: fields of an ``Observation`` that the worlds fill.

        Raises:
            CraftError: something is missing: a field, or the vocabulary or grid that plans are taken from.

        """

    def prepare(self, trajectories: Tensor, seed: int = 0) -> None:
        """Make the table that candidates are taken from (vocabulary, anchors) where the policy has none yet.

        Args:
            trajectories: [N, T, 3] demonstrated poses in the ego frame, 0.1 s apart.
            seed: seed of whatever is random in it.

        """

    def calibrate_temperature(self, context: Context, target: float = 0.9) -> float:
        """Fit the softmax temperature to a mean probability of the greedy candidate and keep it.

        A family with a temperature overrides this.

        Raises:
            CraftError: the policy has no temperature.

        """
        raise CraftError(f"{type(self).__name__} has no softmax temperature to calibrate; leave the calibration out")

    def listing(self, context: Context) -> CandidateSet:
        """List the candidates where nobody will draw one (imitation); their ``log_probs`` may be anything valid.

        A family that can list candidates without scoring them overrides this.
        """
        return self.propose(context)

    @abstractmethod
    def forward(self, context: Context, candidates: CandidateSet) -> FactorLogProbs:
        """Return the log-probabilities of the given candidates under the current parameters (see ``score``)."""

    def score(
        self, context: Context, candidates: CandidateSet, params: Mapping[str, Tensor] | None = None
    ) -> FactorLogProbs:
        """Return the log-probabilities of stored candidates; the only call that losses differentiate.

        Args:
            context: stored contexts of B states.
            candidates: their stored support: its ids and mask are used as they are.
            params: name -> tensor in place of the policy's own parameters, e.g. a teacher's moving averages of
                ``trainable_parameters()``; everything else is shared.

        Returns:
            Log-probabilities, normalised over the mask at ``spec.temperature``.

        Raises:
            CraftError: candidates of a wrong shape, with NaN, with ids outside their factors, or with a state that has
                no valid candidate; an unknown name in ``params``.

        """
        spec = self.spec
        check_candidates(candidates, spec.num_poses, len(spec.factors))
        check_ids(candidates, spec.factors)
        if params is None:
            return self(context, candidates)
        known = dict(self.named_parameters())
        for name, tensor in params.items():
            if name not in known or known[name].shape != tensor.shape:
                fault = "is not a parameter" if name not in known else f"has not the shape {tuple(known[name].shape)}"
                raise CraftError(f"params[{name!r}] {fault} of {type(self).__name__}; take trainable_parameters()")
        return functional_call(self, dict(params), (context, candidates))

    def divergence(self, first: Tensor, second: Tensor) -> Tensor:
        """Return KL(first || second) [B] in nats between two laws [B, L] as ``score`` answers them.

        Exactly 0, with a gradient of exactly 0, where both are equal. Only families whose scores carry a law have it.
        """
        raise CraftError(f"{type(self).__name__} answers no law, so it has no closed divergence; sum over joint")

    def law_entropy(self, law: Tensor) -> Tensor:
        """Return the entropy [B] in nats of laws [B, L]; only families whose scores carry a law have it."""
        raise CraftError(f"{type(self).__name__} answers no law, so it has no closed entropy; sum over joint")

    def act(self, candidates: CandidateSet, greedy: bool = False, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Choose one candidate a state, by its behaviour log-probabilities.

        Args:
            candidates: what ``propose`` answered.
            greedy: take the most probable candidate.
            noise: [B, K] uniform numbers in [0, 1) that fix the draw (Gumbel-max), so that a rollout is reproducible by
                number.

        Returns:
            Index [B] int64 and trajectory [B, T, 3] in the ego frame.

        Raises:
            CraftError: neither ``greedy`` nor ``noise`` is given, or ``noise`` has another shape.

        """
        if greedy:
            index = candidates.log_probs.masked_fill(~candidates.mask, -torch.inf).argmax(1)
        else:
            index = gumbel_argmax(candidates, noise)
        table = self.trajectories(candidates)
        rows = torch.arange(len(index), device=index.device) if len(table) > 1 else torch.zeros_like(index)
        return index, table[rows, index]

    def trajectories(self, candidates: CandidateSet) -> Tensor:
        """Return the candidates' trajectories [B, K, T, 3], or [1, K, T, 3] where all states share them.

        Policies that store ids alone override this.
        """
        if candidates.trajectories is None:
            raise CraftError(f"the candidates of {type(self).__name__} carry no trajectories; keep them in propose")
        return candidates.trajectories

    def control_view(self, trajectory: Tensor) -> dict[str, Tensor]:
        """Return what a path-and-speed controller consumes.

        Args:
            trajectory: [..., T, 3] poses in the ego frame.

        Returns:
            ``path`` [..., T, 2] in metres and ``speed`` [..., T] in m/s, the mean speed up to each pose from the last.

        """
        return native_quantities(trajectory, self.spec.dt)

    def set_trainable(self, profile: Profile) -> Self:
        """Choose what is trained and freeze the rest, including its dropout and batch statistics.

        Args:
            profile: "heads", "decoder", "lora", "all" (pre-training) or "none".

        Raises:
            CraftError: the policy has no such profile.

        """
        offered = {"all", "none", *self.profiles}
        if profile not in offered:
            raise CraftError(f"trainable is {profile!r}; {type(self).__name__} offers {', '.join(sorted(offered))}")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(profile != "none" and self.trains(profile, name))
        self.profile = profile
        return self.train(self.training)

    def trains(self, profile: Profile, name: str) -> bool:
        """Return whether a profile other than "none" trains the parameter ``name``.

        Here: "all" trains everything and any other what ``profiles`` lists. A policy whose profiles depend on its
        arguments overrides this.
        """
        prefixes = self.profiles.get(profile, ())
        return profile == "all" or any(f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)

    def trainable_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the current profile by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}

    def train(self, mode: bool = True) -> Self:
        """Enter training mode in pre-training (profile "all"); any other profile stays in evaluation mode."""
        return super().train(mode and self.profile == "all")

    def checkpoint_arguments(self) -> dict[str, Any]:
        """Return the constructor arguments that rebuild this policy from its own checkpoint, without other files."""
        outside = {name: value for name, value in self.outside_arguments.items() if name in self.arguments}
        return {**self.arguments, **outside}

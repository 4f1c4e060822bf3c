"""What adapters of released policies share: the user's model as a frozen source of features, a head of ours on top."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.base import PolicyAdapter
from craft_lightning.policies.files import write_safetensors
from craft_lightning.policies.released.card import ModelCard
from craft_lightning.policies.released.source import FeatureSource
from craft_lightning.policies.released.weights import read_released, take_head, upstream_name
from craft_lightning.structures import Observation

STAND_IN = "stand_in"
"""Value of an adapter's ``source`` that takes a small random model of the documented layout, for tests."""

Source = FeatureSource | Literal["stand_in"] | None


class ReleasedPolicy(PolicyAdapter):
    """A released policy: features come from the user's model, and the head that fine-tuning trains is rebuilt here.

    The user's model is never part of this module: it stays frozen, where the user put it, and is shared by copies. What
    is trained are plain layers of ours, filled from the user's weights, so that students, teachers and checkpoints hold
    the head alone and a model behind a bridge is trained like one of this process. ``upstream_head`` gives the trained
    head back under upstream's names.

    A subclass states a ``card``, what it listens to (``taps``, ``call``), the shapes it expects there (``layout``), and
    which of its layers are upstream's (``head_names``).

    Args of every adapter:
        source: where the frozen part runs; None until ``attach``, "stand_in" for tests. It is never written into a
            checkpoint, since a file must not start programs.
        weights: released checkpoint from which the head is taken; None asks the source for it.

    """

    card: ClassVar[ModelCard]
    taps: ClassVar[Mapping[str, str]] = {}
    constants: ClassVar[Mapping[str, str]] = {}
    """Name of a buffer -> place of the model: tables without a batch axis, read in the first run alone."""

    call: ClassVar[tuple[str | None, ...]] = ("*",)
    blank: ClassVar[tuple[str, ...]] = ()
    """Entries of the model's inputs that are None."""

    one_by_one: ClassVar[bool] = False
    """Whether states are run singly: a model that draws noise then answers a state the same in every batch."""

    head_names: ClassVar[Mapping[str, str]] = {}
    prefixes: ClassVar[tuple[str, ...]] = ()
    """What stands before the names in released checkpoints."""

    free_arguments = PolicyAdapter.free_arguments | {"source", "weights"}
    outside_arguments = {**PolicyAdapter.outside_arguments, "weights": None}  # noqa: RUF012 - ClassVar of the base

    source: FeatureSource | None = None
    observation_inputs: Mapping[str, Callable[[Observation], Tensor]]
    """Input of the model -> how it is made from observations; inputs that are not named are fields of them."""

    @classmethod
    def stand_in(cls, arguments: Mapping[str, Any]) -> FeatureSource:
        """Return a small random model of the documented layout, sized by the constructor's arguments.

        Raises:
            CraftError: the adapter has none.

        """
        raise CraftError(f"{cls.__name__} has no stand-in; give it a source")

    @classmethod
    def sensor_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return how the model's inputs are made of what the card's rig measures; empty where nobody does that yet."""
        return {}

    @classmethod
    def stand_in_inputs(cls) -> dict[str, Callable[[Observation], Tensor]]:
        """Return how a stand-in's inputs are made of the raster, the ego's state and the route."""
        return {}

    def attach(self, source: Source, weights: str | None = None) -> Self:
        """Connect the user's model and take its head over.

        Args:
            source: see the class.
            weights: see the class.

        Raises:
            CraftError: the model or the file does not fit the adapter.

        """
        self.observation_inputs = {**self.sensor_inputs(), **getattr(self, "observation_inputs", {})}
        # A card's rig is asked for where inputs are made of it; a stand-in's are made of the raster.
        self.rig = self.card.rig if self.sensor_inputs() and source != STAND_IN else ()
        if source == STAND_IN:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.source = self.stand_in(self.arguments)
            self.observation_inputs |= self.stand_in_inputs()
        elif source is not None:
            if not isinstance(source, FeatureSource):
                raise CraftError(
                    f"{type(self).__name__}.source is a {type(source).__name__}; give a LocalModel or a BridgedModel"
                )
            self.source = source
        if self.source is not None and source is not None:
            self._connect({**self.taps, **self.constants})
        if weights is not None:
            self.take(read_released(weights, self.prefixes))
        elif self.source is not None and source is not None:
            beginnings = tuple(self.head_names.values())
            state = self.source.state(beginnings)
            if state or beginnings:
                self.take(state)
        return self

    def take(self, upstream: Mapping[str, Tensor]) -> None:
        """Fill the head from tensors under upstream's names."""
        take_head(self, upstream, self.head_names, type(self).__name__)

    def upstream_head(self) -> dict[str, Tensor]:
        """Return the head under upstream's names, to be loaded back into the user's model."""
        own = {name: upstream_name(name, self.head_names) for name in self.state_dict()}
        return {there: self.state_dict()[name].detach().clone() for name, there in own.items() if there is not None}

    def save_upstream_head(self, path: str | os.PathLike[str]) -> None:
        """Write ``upstream_head`` into a safetensors file.

        Raises:
            CraftError: the adapter trains layers of its own alone.

        """
        if not self.head_names:
            raise CraftError(f"{type(self).__name__} trains no layer of upstream's; save the policy with save_policy")
        write_safetensors(path, self.upstream_head(), {"model": self.card.name})

    def features(self, observation: Observation) -> dict[str, Tensor]:
        """Run the user's model on observations.

        Returns:
            What ``taps`` names, on this policy's device, floating point as float32.

        Raises:
            CraftError: no source, observations that lack what the model needs, or an answer of another shape.

        """
        if self.source is None:
            raise CraftError(
                f"{type(self).__name__} has no model to run; give the field source a LocalModel or a BridgedModel, or "
                "call attach after loading a checkpoint"
            )
        found = self._run(self._inputs(observation))
        device = next(iter(self.parameters())).device
        answers = {}
        for name in self._listening:
            if name not in found:
                raise CraftError(
                    f"the model of {type(self).__name__} did not answer {name}; it answered {sorted(found)}"
                )
            value = found[name].to(device)
            answers[name] = value.float() if value.is_floating_point() else value
            self._check(name, answers[name], () if name in self.constants else (len(observation.ego),))
        for name in self.constants.keys() & answers.keys():
            self.get_buffer(name).copy_(answers.pop(name))
        if self._listening.keys() != self.taps.keys():
            self._connect(self.taps)
        return answers

    def _run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        assert self.source is not None  # the caller has looked
        states = {len(value) for value in inputs.values()}
        if not self.one_by_one or len(states) != 1:
            return self.source.run(inputs)
        parts = [
            self.source.run({name: value[row : row + 1] for name, value in inputs.items()})
            for row in range(states.pop())
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def _connect(self, taps: Mapping[str, str]) -> None:
        assert self.source is not None  # callers have looked
        self.source.connect(taps, self.call, self.blank)
        self._listening = dict(taps)

    def layout(self) -> dict[str, tuple[int | None, ...]]:
        """Return the expected axes, after the batch, of every tap, and those of constants; None where any size fits."""
        return {}

    def checkpoint_arguments(self) -> dict[str, Any]:
        """Return arguments without source and file: a checkpoint holds the head and starts nothing."""
        arguments = super().checkpoint_arguments()
        kept = STAND_IN if arguments.get("source") == STAND_IN else None
        return {**arguments, "source": kept}

    def require_observed(self, fields: Collection[str]) -> None:
        """Refuse worlds that do not give the inputs of the card, and that nothing in ``observation_inputs`` makes."""
        self._refuse_missing([item.name for item in self.card.inputs if item.name not in fields])

    def _inputs(self, observation: Observation) -> dict[str, Tensor]:
        inputs = {}
        for item in self.card.inputs:
            make = self.observation_inputs.get(item.name)
            value = make(observation) if make is not None else getattr(observation, item.name, None)
            if value is not None:
                inputs[item.name] = value
        self._refuse_missing([item.name for item in self.card.inputs if item.name not in inputs])
        return inputs

    def _refuse_missing(self, names: Sequence[str]) -> None:
        missing = [name for name in names if name not in self.observation_inputs]
        if missing:
            raise CraftError(
                f"{self.card.name} needs {self.card.sensors()}, and the observations lack {', '.join(missing)}; drive "
                "it where they come from, or say in observation_inputs how they are made"
            )

    def _check(self, name: str, value: Tensor, batch: tuple[int, ...]) -> None:
        shape = tuple(value.shape)
        expected = (*batch, *self.layout().get(name, shape[len(batch) :]))
        if len(shape) != len(expected) or any(
            want not in (None, size) for want, size in zip(expected, shape, strict=True)
        ):
            wanted = ", ".join("any" if size is None else str(size) for size in expected)
            raise CraftError(
                f"{name} of the model of {type(self).__name__} is {list(shape)} and not [{wanted}]; construct the "
                "adapter with the model's sizes"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise CraftError(f"{name} of the model of {type(self).__name__} holds NaN or infinity; look at its inputs")

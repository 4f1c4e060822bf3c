"""Where a released policy's frozen part runs: a model of this process, or one behind a bridge."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from craft_lightning.errors import CraftError
from craft_lightning.policies.released.bridge import Bridge
from craft_lightning.policies.released.bridge_server import ServerFault, TappedModel, load_factory


class FeatureSource(ABC):
    """Runs the frozen part of a released policy and answers named tensors.

    A source is shared by all copies of a policy: copying a policy copies its head, never the user's model.
    """

    @abstractmethod
    def connect(self, taps: Mapping[str, str], call: Sequence[str | None], blank: Sequence[str] = ()) -> None:
        """Say what to listen to and how the model is called (see ``bridge_server.TappedModel``).

        Raises:
            CraftError: the model cannot be built or has not such a place.

        """

    @abstractmethod
    def state(self, prefixes: Sequence[str]) -> dict[str, Tensor]:
        """Return the model's parameters and buffers below ``prefixes``, on the CPU; empty where it shows none."""

    @abstractmethod
    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the model on B states and return what is listened to."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class LocalModel(FeatureSource):
    """A model of this process.

    Args:
        model: the model; None builds it by ``factory``.
        factory: ``module:function`` that builds it, for recipes.
        arguments: plain arguments of that function.
        seed: seeds torch for every run.

    """

    def __init__(
        self,
        model: Any = None,
        factory: str | None = None,
        arguments: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        if (model is None) == (factory is None):
            raise CraftError("LocalModel takes either a model or the name of a factory; give one of the two")
        self._model, self.factory, self.arguments, self.seed = model, factory, dict(arguments or {}), seed
        self._tapped: TappedModel | None = None

    def connect(self, taps: Mapping[str, str], call: Sequence[str | None], blank: Sequence[str] = ()) -> None:
        """Build the model where it has to be built, and listen."""
        if self._model is None:
            try:
                self._model = load_factory(str(self.factory))(**self.arguments)
            except Exception as error:  # the user's code may fail in any way
                raise CraftError(
                    f"LocalModel.factory {self.factory} failed: {type(error).__name__}: {error}"
                ) from error
        try:
            self._tapped = TappedModel(self._model, taps, call, self.seed, blank)
        except ServerFault as error:
            raise CraftError(f"the model does not fit the adapter: {error}") from error
        if hasattr(self._tapped.module, "parameters"):
            for parameter in self._tapped.module.parameters():
                parameter.requires_grad_(False)

    def state(self, prefixes: Sequence[str]) -> dict[str, Tensor]:
        """Return copies, so that training the head leaves the user's model as it was."""
        return {name: value.detach().cpu().clone() for name, value in self._connected.state(prefixes).items()}

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run the model where the user put it."""
        tapped = self._connected
        some = next(iter(tapped.module.parameters()), None) if hasattr(tapped.module, "parameters") else None
        device = torch.device("cpu") if some is None else some.device
        try:
            found = tapped.run({name: value.to(device) for name, value in inputs.items()})
        except CraftError:
            raise
        except Exception as error:
            raise CraftError(
                f"the model {type(tapped.module).__name__} failed: {type(error).__name__}: {error}"
            ) from error
        return {name: torch.as_tensor(value) for name, value in found.items()}

    @property
    def _connected(self) -> TappedModel:
        if self._tapped is None:
            raise CraftError("LocalModel is not connected; give it to an adapter's field source")
        return self._tapped


class BridgedModel(FeatureSource):
    """A model in the user's own Python environment (see ``bridge.Bridge``); started when an adapter connects.

    Args:
        python: the user's interpreter.
        factory: ``module:function`` there that builds the model.
        arguments: plain arguments of that function.
        path: folders to import from.
        start_timeout: seconds until the model is built.
        timeout: seconds for one answer.
        seed: seeds torch there for every run.

    """

    def __init__(
        self,
        python: str,
        factory: str,
        arguments: dict[str, Any] | None = None,
        path: list[str] | None = None,
        start_timeout: float = 600.0,
        timeout: float = 120.0,
        seed: int = 0,
    ) -> None:
        self.bridge = Bridge(python, factory, arguments, path or (), start_timeout, timeout)
        self.seed = seed

    def connect(self, taps: Mapping[str, str], call: Sequence[str | None], blank: Sequence[str] = ()) -> None:
        """Start the server and listen."""
        if self.bridge.pid is None:
            self.bridge.start()
        self.bridge.ask("connect", taps=dict(taps), call=list(call), seed=self.seed, blank=list(blank))

    def state(self, prefixes: Sequence[str]) -> dict[str, Tensor]:
        """Fetch weights."""
        return _tensors(self.bridge.ask("state", prefixes=list(prefixes)))

    def run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Send the inputs over and return the answer."""
        return _tensors(self.bridge.ask("run", {name: value.detach().cpu().numpy() for name, value in inputs.items()}))

    def close(self) -> None:
        """End the server."""
        self.bridge.close()


def _tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}

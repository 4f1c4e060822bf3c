"""NAVSIM's and nuPlan's scores as ``torchmetrics.Metric`` over sub-scores, everyone's or of our own rollouts."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from craft_lightning.errors import CraftError
from craft_lightning.metrics.planner_scores import (
    NUPLAN,
    gaussian_weights,
    human_filtered,
    nuplan_final_columns,
    nuplan_scenario_score,
    pdm_composition,
)

# Parts of a scene's key: float32 is exact below 2 ** 24, and torchmetrics gathers a rank without scenes as float32.
_KEY_BITS, _KEYS = 21, ("key_0", "key_1", "key_2")


def scene_keys(scenes: Sequence[str | int]) -> Tensor:
    """Keys [N, 3] float32 of scene tokens or numbers, 63 bits of their SHA-256, so that ranks and runs agree."""
    rows = []
    for scene in scenes:
        digest = int.from_bytes(hashlib.sha256(str(scene).encode()).digest()[:8], "big") >> 1
        rows.append([(digest >> (_KEY_BITS * part)) & ((1 << _KEY_BITS) - 1) for part in range(3)])
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 3)


class SceneMetric(Metric):
    """Rows of numbers by scene, in which a scene counts once however often and on whichever rank it was given.

    Of several rows of one scene the one given last counts, across ranks the one of the last rank. A column that a row
    lacks is NaN.

    Args:
        columns: names of a row's numbers.
        kwargs: arguments of ``torchmetrics.Metric``.

    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    def __init__(self, columns: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.columns = tuple(columns)
        for name in (*_KEYS, *(f"column_{name}" for name in self.columns)):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def take(self, scores: Mapping[str, Any], scenes: Sequence[str | int] | Tensor) -> None:
        """Keep the rows of some scenes.

        Raises:
            CraftError: a column that has not one number a scene.

        """
        tokens = scenes.tolist() if isinstance(scenes, Tensor) else list(scenes)
        keys = scene_keys(tokens).to(self.device)
        for part, name in enumerate(_KEYS):
            getattr(self, name).append(keys[:, part].contiguous())
        for name in self.columns:
            if name in scores:
                values = torch.as_tensor(scores[name], dtype=torch.float32, device=self.device).reshape(-1)
            else:
                values = torch.full((len(tokens),), torch.nan, device=self.device)
            if len(values) != len(tokens):
                raise CraftError(f"column {name} has {len(values)} numbers for {len(tokens)} scenes; give one a scene")
            getattr(self, f"column_{name}").append(values)

    def rows(self) -> dict[str, np.ndarray]:
        """Columns [N] float64 of the scenes that count, in an order that depends on the scenes alone."""
        if not len(getattr(self, _KEYS[0])):
            return {name: np.zeros(0) for name in self.columns}
        parts = [dim_zero_cat(getattr(self, name)).cpu().long() for name in _KEYS]
        key = sum(part << (_KEY_BITS * place) for place, part in enumerate(parts))
        assert isinstance(key, Tensor)
        order = torch.sort(key, stable=True).indices
        ordered = key[order]
        last = torch.ones(len(ordered), dtype=torch.bool)
        last[:-1] = ordered[1:] != ordered[:-1]
        order = order[last]
        return {
            name: dim_zero_cat(getattr(self, f"column_{name}")).cpu()[order].double().numpy() for name in self.columns
        }

    def _number(self, value: float) -> Tensor:
        return torch.tensor(value, dtype=torch.float32, device=self.device)


class PDMScore(SceneMetric):
    """Mean PDMS or EPDMS over scenes, 0 to 1.

    Scenes whose score is NaN (NAVSIM's failed ones) are left out, as NAVSIM's mean does.

    Args:
        version: 1 is PDMS, NC DAC (5 EP + 5 TTC + 2 C) / 12; 2 is EPDMS, NC DAC DDC TLC (5 EP + 5 TTC + 2 LK + 2 HC +
            2 EC) / 16, and / 14 without EC for scenes that lack ``two_frame_extended_comfort``.
        weights: weights that differ, by column.
        human_filter: apply the human penalty filter where ``update`` is given the human's scores.
        kwargs: arguments of ``torchmetrics.Metric``.

    Example:
        >>> metric = PDMScore(version=1)
        >>> metric.update({"no_at_fault_collisions": [1.0], "drivable_area_compliance": [1.0], "ego_progress": [0.6],
        ...                "time_to_collision_within_bound": [1.0], "comfort": [1.0]}, scenes=["a"])
        >>> round(float(metric.compute()), 4)
        0.8333

    """

    def __init__(
        self,
        version: int = 2,
        weights: Mapping[str, float] | None = None,
        human_filter: bool = True,
        **kwargs: Any,
    ) -> None:
        composition = pdm_composition(version).reweighted(weights)
        super().__init__(composition.columns, **kwargs)
        self.version, self.composition, self.human_filter = version, composition, human_filter

    def update(
        self,
        scores: Mapping[str, Any],
        scenes: Sequence[str | int] | Tensor,
        human: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the sub-scores of some scenes.

        Args:
            scores: NAVSIM's columns, each [N].
            scenes: [N] tokens or numbers.
            human: the human's columns where the scenes are original; None filters nothing.

        Raises:
            CraftError: a column is missing or has another length.

        """
        lacking = self.composition.missing(list(scores))
        if lacking:
            raise CraftError(f"{self.composition.name}: there is no column {lacking[0]} among the sub-scores")
        if human is not None and self.human_filter and self.version == 2:
            scores = human_filtered(_arrays(scores), _arrays(human))
        self.take(scores, scenes)

    def scene_scores(self) -> np.ndarray:
        """Scores [N] of the scenes that count."""
        return self.composition.compose_rows(self.rows())

    def compute(self) -> Tensor:
        """Return the mean score, NaN without scenes."""
        return self._number(_mean(self.scene_scores()))


class TwoStagePDMScore(PDMScore):
    """NAVSIM's two-stage EPDMS (navhard), 0 to 1.

    A group has two frames, now and half a second before. Each frame's score is that of its first-stage scene times the
    weighted mean of its second-stage scenes, ``gaussian_weights`` by how far they start from where the first stage
    ended; a group's is the mean of both frames, the result the mean over groups.

    Args:
        sigma_squared: of the kernel, m2.
        weights: weights of the sub-scores that differ, by column.
        human_filter: as for ``PDMScore``.
        kwargs: arguments of ``torchmetrics.Metric``.

    """

    def __init__(
        self,
        sigma_squared: float = 0.1,
        weights: Mapping[str, float] | None = None,
        human_filter: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(2, weights, human_filter, **kwargs)
        if not sigma_squared > 0.0:
            raise CraftError(f"sigma_squared is {sigma_squared}; give square metres above 0")
        self.sigma_squared = sigma_squared
        extra = ("group", "frame", "stage", "x", "y")
        self.columns = (*self.columns, *extra)
        for name in extra:
            self.add_state(f"column_{name}", default=[], dist_reduce_fx="cat")

    # A scene needs its place in the two stages.
    def update(  # type: ignore[override]
        self,
        scores: Mapping[str, Any],
        scenes: Sequence[str | int] | Tensor,
        places: Mapping[str, Any],
        human: Mapping[str, Any] | None = None,
    ) -> None:
        """Take the sub-scores of some scenes.

        Args:
            scores: NAVSIM's columns with ``two_frame_extended_comfort``, each [N].
            scenes: [N] tokens or numbers.
            places: columns "group" (a number), "frame" (0 now, 1 before), "stage" (1 or 2), "x" and "y", metres: of the
                end of the plan in stage 1, of the start in stage 2. Keep x and y small (subtract an origin a group):
                they are kept in single precision.
            human: the human's columns; NaN in them filters nothing.

        Raises:
            CraftError: a column is missing or has another length.

        """
        lacking = [name for name in ("group", "frame", "stage", "x", "y") if name not in places]
        if lacking:
            raise CraftError(f"places has no column {lacking[0]}; give group, frame, stage, x and y")
        super().update({**scores, **places}, scenes, human)

    def group_scores(self) -> np.ndarray:
        """Scores [G] of the groups, NaN where a frame has no scene of a stage."""
        rows = self.rows()
        score = self.composition.compose_rows(rows)
        found = []
        for group in np.unique(rows["group"]):
            frames = []
            for frame in (0, 1):
                member = (rows["group"] == group) & (rows["frame"] == frame)
                first, second = member & (rows["stage"] == 1), member & (rows["stage"] == 2)
                if not first.any() or not second.any():
                    frames.append(np.nan)
                    continue
                place = np.stack([rows["x"], rows["y"]], axis=-1)
                weights = gaussian_weights(place[first][0], place[second], self.sigma_squared)
                frames.append(float(score[first][0] * (weights * score[second]).sum()))
            found.append(0.5 * (frames[0] + frames[1]))
        return np.array(found)

    def compute(self) -> Tensor:
        """Return the mean over groups, NaN without any; groups that lack a stage are left out."""
        return self._number(_mean(self.group_scores()))


class NuPlanClosedLoopScore(SceneMetric):
    """Mean of nuPlan's scenario scores, 0 to 1: the product of four metrics times (5 progress + 5 TTC + 4 speed + 2
    comfort) / 16.

    NaN, or a column that is not given, is nuPlan's None: left out of product and mean. nuPlan averages by scenario type
    and weights with the number of scenarios, which is the plain mean.

    Args:
        weights: weights that differ, by column.
        kwargs: arguments of ``torchmetrics.Metric``.

    """

    def __init__(self, weights: Mapping[str, float] | None = None, **kwargs: Any) -> None:
        composition = NUPLAN.reweighted(weights)
        super().__init__(composition.columns, **kwargs)
        self.composition = composition

    def update(self, scores: Mapping[str, Any], scenes: Sequence[str | int] | Tensor) -> None:
        """Take the metric scores of some scenarios, each column [N].

        Raises:
            CraftError: none of nuPlan's columns is there, or one has another length.

        """
        if not any(name in scores for name in self.columns):
            raise CraftError(f"{self.composition.name}: give some of the columns {', '.join(self.columns)}")
        self.take(scores, scenes)

    def scene_scores(self) -> np.ndarray:
        """Scores [N] of the scenarios that count."""
        return nuplan_scenario_score(self.rows(), self.composition)

    def final_columns(self) -> dict[str, float]:
        """The other columns of the aggregator's last row, quirk included (see ``nuplan_final_columns``)."""
        return nuplan_final_columns(self.rows())

    def compute(self) -> Tensor:
        """Return the mean score, NaN without scenarios."""
        return self._number(_mean(self.scene_scores()))


def _arrays(scores: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Columns as numpy arrays, wherever they lie."""
    return {
        name: values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        for name, values in scores.items()
    }


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


__all__ = ["NuPlanClosedLoopScore", "PDMScore", "SceneMetric", "TwoStagePDMScore", "scene_keys"]

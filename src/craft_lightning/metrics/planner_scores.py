"""How sub-scores become NAVSIM's PDMS and EPDMS and nuPlan's closed-loop score: pure formulas over columns.

Sources: autonomousvision/navsim v1.1 and v2.2 (pdm_scorer.py, pdm_score.py, run_pdm_score.py, scene_aggregator.py),
motional/nuplan-devkit@e924167 (weighted_average_metric_aggregator.py). A column is a number, a numpy array or a tensor;
NaN in nuPlan's stands for None. Nothing here imports torch.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from craft_lightning.errors import CraftError

# NAVSIM's name of what a plan is compared with half a second later.
EXTENDED_COMFORT = "two_frame_extended_comfort"


@dataclasses.dataclass(frozen=True)
class Composition:
    """A score: the product of some columns times the weighted mean of others.

    Args:
        name: what the score is called.
        multipliers: columns that are multiplied.
        weights: columns that are averaged, with their weights.
        optional: of these, columns that may be missing; their weight then drops out.

    """

    name: str
    multipliers: tuple[str, ...]
    weights: Mapping[str, float]
    optional: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns, multipliers first."""
        return (*self.multipliers, *self.weights)

    def reweighted(self, weights: Mapping[str, float] | None) -> "Composition":
        """Return the same score with other weights.

        Args:
            weights: by column; those not named stay.

        Raises:
            CraftError: a column that is not averaged, a negative weight, or none above 0.

        """
        if weights is None:
            return self
        for column, value in weights.items():
            if column not in self.weights:
                raise CraftError(f"{self.name}: weights name '{column}'; use some of: {', '.join(self.weights)}")
            if not float(value) >= 0.0:
                raise CraftError(f"{self.name}: the weight of {column} is {value}; give 0 or more")
        merged = {**self.weights, **{column: float(value) for column, value in weights.items()}}
        if not sum(merged.values()) > 0.0:
            raise CraftError(f"{self.name}: all weights are 0; give one above 0")
        return dataclasses.replace(self, weights=MappingProxyType(merged))

    def missing(self, columns: Sequence[str]) -> list[str]:
        """Columns that the score needs and ``columns`` lack."""
        return [name for name in self.columns if name not in columns and name not in self.optional]

    def compose(self, scores: Mapping[str, Any]) -> Any:
        """Return the score of columns of any shape.

        Args:
            scores: columns by name; others than the score's are ignored.

        Raises:
            CraftError: a column is missing.

        """
        lacking = self.missing(list(scores))
        if lacking:
            raise CraftError(f"{self.name}: there is no column {lacking[0]}; it needs {', '.join(self.columns)}")
        product: Any = 1.0
        for name in self.multipliers:
            product = product * scores[name]
        present = {name: weight for name, weight in self.weights.items() if name in scores}
        total = sum(present.values())
        if not total > 0.0:
            raise CraftError(f"{self.name}: the columns that are there have no weight; give {', '.join(self.weights)}")
        return product * (sum(weight * scores[name] for name, weight in present.items()) / total)

    def compose_rows(self, columns: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return scores [N]; a row whose optional column is NaN is composed without it.

        Args:
            columns: [N] each, NaN for what is not known.

        Raises:
            CraftError: a column is missing.

        """
        score = np.asarray(self.compose(columns), np.float64)
        for name in self.optional:
            if name in columns:
                rest = {key: values for key, values in columns.items() if key != name}
                score = np.where(np.isnan(columns[name]), self.compose(rest), score)
        return score


PDMS = Composition(
    "PDMS",
    ("no_at_fault_collisions", "drivable_area_compliance"),
    MappingProxyType({"ego_progress": 5.0, "time_to_collision_within_bound": 5.0, "comfort": 2.0}),
)
# Without extended comfort, which takes two frames, NAVSIM's own column pdm_score divides by the other weights.
EPDMS = Composition(
    "EPDMS",
    (
        "no_at_fault_collisions",
        "drivable_area_compliance",
        "driving_direction_compliance",
        "traffic_light_compliance",
    ),
    MappingProxyType(
        {
            "ego_progress": 5.0,
            "time_to_collision_within_bound": 5.0,
            "lane_keeping": 2.0,
            "history_comfort": 2.0,
            EXTENDED_COMFORT: 2.0,
        }
    ),
    (EXTENDED_COMFORT,),
)
NUPLAN = Composition(
    "nuPlan closed-loop score",
    (
        "no_ego_at_fault_collisions",
        "drivable_area_compliance",
        "ego_is_making_progress",
        "driving_direction_compliance",
    ),
    MappingProxyType(
        {
            "ego_progress_along_expert_route": 5.0,
            "time_to_collision_within_bound": 5.0,
            "speed_limit_compliance": 4.0,
            "ego_is_comfortable": 2.0,
        }
    ),
    ("speed_limit_compliance",),
)


def pdm_composition(version: int) -> Composition:
    """Return PDMS (version 1) or EPDMS (version 2).

    Raises:
        CraftError: another version.

    """
    if version not in (1, 2):
        raise CraftError(f"version is {version}; use 1 (PDMS) or 2 (EPDMS)")
    return PDMS if version == 1 else EPDMS


def human_filtered(scores: Mapping[str, Any], human: Mapping[str, Any]) -> dict[str, Any]:
    """NAVSIM 2.2's penalty filter: a sub-score counts as 1 where the human's is exactly 0.

    All columns of EPDMS are filtered, multipliers and averaged ones, but extended comfort, which NAVSIM adds later. It
    applies to original scenes alone: leave synthetic ones out.

    Args:
        scores: the agent's columns.
        human: the human's, of the same shapes; columns that are missing filter nothing.

    """
    filtered = dict(scores)
    for name in EPDMS.columns:
        if name == EXTENDED_COMFORT or name not in scores or name not in human:
            continue
        pardoned = human[name] == 0
        # where() of numpy and of torch without importing the latter; 1 replaces also what is NaN.
        if hasattr(scores[name], "masked_fill"):
            filtered[name] = scores[name].masked_fill(pardoned, 1.0)
        else:
            filtered[name] = np.where(pardoned, 1.0, scores[name])
    return filtered


def nuplan_scenario_score(scores: Mapping[str, Any], composition: Composition = NUPLAN) -> np.ndarray:
    """NuPlan's scenario scores [N]: metrics that are None (NaN, or no column) are left out of product and mean.

    Where no averaged metric is there, the mean is 0 and so is the score, as upstream.

    Args:
        scores: columns [N].
        composition: multipliers and weights.

    Raises:
        CraftError: none of the score's columns is there.

    """
    known = [name for name in composition.columns if name in scores]
    if not known:
        raise CraftError(f"{composition.name}: give some of the columns {', '.join(composition.columns)}")
    columns = {name: np.asarray(scores[name], np.float64) for name in known}
    shape = columns[known[0]].shape
    product, total, weight = np.ones(shape), np.zeros(shape), np.zeros(shape)
    for name, values in columns.items():
        there = ~np.isnan(values)
        value = np.where(there, values, 0.0)
        if name in composition.multipliers:
            product = product * np.where(there, value, 1.0)
        else:
            total = total + composition.weights[name] * value
            weight = weight + composition.weights[name] * there
    return np.asarray(product * np.divide(total, weight, out=np.zeros(shape), where=weight > 0.0))


def nuplan_final_columns(scores: Mapping[str, Any]) -> dict[str, float]:
    """The last row of nuPlan's aggregator for columns other than the score: their sum over the number of scenarios.

    So a scenario in which a metric is None counts 0 there (the row of a scenario type even holds the plain sum), while
    the score leaves it out. NaN where a metric is None in all of them.
    """
    final = {}
    for name, values in scores.items():
        column = np.asarray(values, np.float64)
        there = ~np.isnan(column)
        final[name] = float(column[there].sum() / len(column)) if there.any() else float("nan")
    return final


def gaussian_weights(endpoint: Any, starts: Any, sigma_squared: float = 0.1) -> np.ndarray:
    """Weights [M] of second-stage scenes by how close they start to where the first stage ended (NAVSIM's navhard).

    w = exp(-d^2 / (2 sigma^2)), normalised; all alike where their sum is about 0 or NaN.

    Args:
        endpoint: [2] end of the first stage's plan, metres.
        starts: [M, 2] start of every second-stage scene.
        sigma_squared: m2.

    """
    gap = np.asarray(starts, np.float64).reshape(-1, 2) - np.asarray(endpoint, np.float64)
    weights = np.exp(-(gap**2).sum(-1) / (2.0 * sigma_squared))
    total = weights.sum()
    if np.isnan(total) or np.isclose(total, 0.0):
        return np.full(len(weights), 1.0 / max(len(weights), 1))
    return np.asarray(weights / total)

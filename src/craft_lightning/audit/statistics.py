"""What audited states say together: calibration, blind zone, and whether the proxy reduces variance (Prop 3.2).

Every figure is a function of sums over states, so that a bootstrap resamples states and recomputes nothing else.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from craft_lightning.audit.choice import weights
from craft_lightning.audit.forecasts import FORECASTS

GROUNDED_SCALE, GROUNDED_BOUND = 8.0, 1.0  # of the grounded residual: A = clip(G / 8, -1, 1)
ADVANTAGES = ("followed", "driven", "grounded")
"""What a candidate really was worth: followed over the proxy's horizon; executed for one decision, then the policy, by
the proxy's reward; the same by the grounded return of its events. The first two in units of the proxy's advantage."""
WEIGHTS = ("policy", "uniform")


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % bootstrap interval over states; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        """Return ``value [low, high]``."""
        if not np.isfinite(self.value):
            return "-"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def state_sums(state: Mapping[str, Any]) -> dict[str, float]:
    """Return what one state adds to every sum; see ``figures`` for what they are used for.

    Args:
        state: a ``StateAudit`` as a dictionary, with ``return``, the grounded return of what was really driven.

    """
    inclusion = np.array(state["inclusion"])
    drawn = inclusion > 0.0
    phi = np.array(state["phi"])
    shares = {
        "policy": _spread(np.array(state["probability"]), inclusion, drawn),
        "uniform": _spread(np.ones(len(phi)), inclusion, drawn),
    }
    sums: dict[str, float] = {"states": 1.0, "branches": float(len(phi))}
    real, hit = np.array(state["followed"]), np.array(state["followed_collision"]) >= 0
    sums["hits"] = float(hit.sum())
    w = shares["uniform"]
    for name in FORECASTS:
        predicted, charged = np.array(state["predicted"][name]), np.array(state["predicted_collision"][name]) >= 0
        sums |= {
            f"{name}.bias": float(w @ (predicted - real)),
            f"{name}.error": float(w @ np.abs(predicted - real)),
            f"{name}.cov": _covariance(w, predicted, real),
            f"{name}.var": _covariance(w, predicted, predicted),
            f"{name}.real_var": _covariance(w, real, real),
            f"{name}.both": float((charged & hit).sum()),
            f"{name}.blind": float((~charged & hit).sum()),
            f"{name}.phantom": float((charged & ~hit).sum()),
        }
    worth = {
        "followed": real / state["deviation"],
        "driven": np.array(state["driven"]) / state["deviation"],
        "grounded": np.array(state["grounded"]) / GROUNDED_SCALE,
    }
    stand_in = float(np.clip(state["return"] / GROUNDED_SCALE, -GROUNDED_BOUND, GROUNDED_BOUND))
    for name, value in worth.items():
        for which, w in shares.items():
            sums |= {
                f"{name}.{which}.cov": _covariance(w, value, phi),
                f"{name}.{which}.var": _covariance(w, phi, phi),
                f"{name}.{which}.real_var": _covariance(w, value, value),
            }
        mean = float(shares["policy"] @ value)
        residual = (float(value[state["executed"]]) - mean) - (float(phi[state["executed"]]) - state["phi_mean"])
        sums |= {
            f"{name}.residual": residual,
            f"{name}.residual_square": residual**2,
            f"{name}.product": residual * stand_in,
        }
    return sums | {"stand_in": stand_in, "stand_in_square": stand_in**2}


def _spread(values: np.ndarray, inclusion: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return weights of all branched candidates; those that were added, not drawn, count nothing."""
    spread = np.zeros(len(values))
    spread[drawn] = weights(values[drawn], inclusion[drawn])
    return spread


def _covariance(w: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    return float(w @ ((a - w @ a) * (b - w @ b)))


Sums = Mapping[str, np.ndarray]


def figures() -> dict[str, Callable[[Sums], np.ndarray]]:
    """Return every figure as a function of summed ``state_sums``."""
    found: dict[str, Callable[[Sums], np.ndarray]] = {}
    for name in FORECASTS:
        found |= {
            f"{name}.correlation": _correlation(f"{name}.cov", f"{name}.var", f"{name}.real_var"),
            f"{name}.bias": _ratio(f"{name}.bias", "states"),
            f"{name}.error": _ratio(f"{name}.error", "states"),
            # Of the real collisions those that were not charged, and of the charged ones those that did not come.
            f"{name}.blind": _share(f"{name}.blind", f"{name}.both"),
            f"{name}.phantom": _share(f"{name}.phantom", f"{name}.both"),
        }
    for name in ADVANTAGES:
        for which in WEIGHTS:
            key = f"{name}.{which}"
            found |= {
                f"{key}.covariance": _ratio(f"{key}.cov", "states"),
                f"{key}.variance": _ratio(f"{key}.var", "states"),
                f"{key}.ratio": _ratio(f"{key}.cov", f"{key}.var"),
                f"{key}.correlation": _correlation(f"{key}.cov", f"{key}.var", f"{key}.real_var"),
                # Var[A - Phi] / Var[A]: below 1 where the proxy reduces variance.
                f"{key}.left": _left(key),
            }
        found[f"{name}.stand_in"] = _pearson(name)
    return found


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(below) > 1e-12, above / below, np.nan)


def _ratio(above: str, below: str) -> Callable[[Sums], np.ndarray]:
    return lambda sums: _divide(sums[above], sums[below])


def _share(part: str, rest: str) -> Callable[[Sums], np.ndarray]:
    return lambda sums: _divide(sums[part], sums[part] + sums[rest])


def _correlation(covariance: str, first: str, second: str) -> Callable[[Sums], np.ndarray]:
    return lambda sums: _divide(sums[covariance], np.sqrt(np.maximum(sums[first] * sums[second], 0.0)))


def _left(key: str) -> Callable[[Sums], np.ndarray]:
    return lambda sums: _divide(
        sums[f"{key}.real_var"] + sums[f"{key}.var"] - 2.0 * sums[f"{key}.cov"], sums[f"{key}.real_var"]
    )


def _pearson(name: str) -> Callable[[Sums], np.ndarray]:
    def figure(sums: Sums) -> np.ndarray:
        n = np.maximum(sums["states"], 1.0)
        x, y = sums[f"{name}.residual"] / n, sums["stand_in"] / n
        covariance = sums[f"{name}.product"] / n - x * y
        spread = (sums[f"{name}.residual_square"] / n - x * x) * (sums["stand_in_square"] / n - y * y)
        return _divide(covariance, np.sqrt(np.maximum(spread, 0.0)))

    return figure


def estimate(states: Sequence[Mapping[str, Any]], seed: int = 0, resamples: int = 1000) -> dict[str, Any]:
    """Return every figure of a group of states.

    Args:
        states: audited states.
        seed: of the resampling.
        resamples: bootstrap resamples of the states.

    Returns:
        Counts (``states``, ``branches``, ``hits``, and a forecast's ``both``, ``blind_count``, ``phantom_count``) as
        numbers, figures as ``Estimate``.

    """
    rows = [state_sums(state) for state in states]
    names = list(rows[0])
    table = np.array([[row[name] for name in names] for row in rows])
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(rows), np.full(len(rows), 1.0 / len(rows)), size=resamples)
    drawn = dict(zip(names, (times @ table).T, strict=True))
    whole = dict(zip(names, table.sum(0), strict=True))
    found: dict[str, Any] = {name: int(whole[name]) for name in ("states", "branches", "hits")}
    for name in FORECASTS:
        for count in ("both", "blind", "phantom"):
            found[f"{name}.{count}_count"] = int(whole[f"{name}.{count}"])
    for name, figure in figures().items():
        value, again = float(figure({k: np.asarray(v) for k, v in whole.items()})), figure(drawn)
        again = again[np.isfinite(again)]
        low, high = np.percentile(again, (2.5, 97.5)) if len(again) else (np.nan, np.nan)
        found[name] = Estimate(value, float(low), float(high))
    return found

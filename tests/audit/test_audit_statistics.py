"""Figures of an audit on toys where everything is known."""

import numpy as np
import pytest

from craft_lightning.audit.forecasts import FORECASTS
from craft_lightning.audit.statistics import ADVANTAGES, estimate, state_sums


def toy_state(rng, candidates, truth, proxy, kind="toy", noise=0.0):
    """A state all of whose candidates were branched: their true worth and the proxy's opinion are given functions."""
    quality = rng.standard_normal(candidates)
    probability = np.exp(rng.standard_normal(candidates))
    probability /= probability.sum()
    worth = truth(quality) + noise * rng.standard_normal(candidates)
    phi = proxy(quality)
    executed = int(rng.integers(candidates))
    return {
        "type": kind,
        "inclusion": np.ones(candidates).tolist(),
        "probability": probability.tolist(),
        "phi": phi.tolist(),
        "phi_mean": float(probability @ phi),
        "deviation": 2.0,
        "executed": executed,
        "predicted": {name: (2.0 * worth + 1.0).tolist() for name in FORECASTS},
        "predicted_collision": {name: [-1] * candidates for name in FORECASTS},
        "followed": (2.0 * worth).tolist(),
        "followed_collision": [-1] * candidates,
        "driven": (2.0 * worth).tolist(),
        "driven_collision": [-1] * candidates,
        "grounded": (8.0 * worth).tolist(),
        "return": float(np.clip(0.5 * (worth[executed] - probability @ worth), -1, 1) * 8.0),
    }


def states_of(truth, proxy, count=60, candidates=15, noise=0.0):
    rng = np.random.default_rng(5)
    return [toy_state(rng, candidates, truth, proxy, noise=noise) for _ in range(count)]


def direct(states):
    """Cov and Var under the policy, from the definition, and the variance of A - Phi."""
    covariance, variance, left, whole = [], [], [], []
    for state in states:
        w, phi = np.array(state["probability"]), np.array(state["phi"])
        a = np.array(state["driven"]) / state["deviation"]
        a, phi = a - w @ a, phi - w @ phi
        covariance.append(w @ (a * phi))
        variance.append(w @ phi**2)
        left.append(w @ (a - phi) ** 2)
        whole.append(w @ a**2)
    return np.mean(covariance), np.mean(variance), np.mean(left), np.mean(whole)


@pytest.mark.parametrize("scale", [0.2, 0.9, 1.0, 1.6, 2.4])
def test_proposition_3_2_is_measured(scale):
    """A proxy of ``scale`` times the truth has Cov/Var = 1 / scale, and helps if and only if that is above 1/2."""
    states = states_of(lambda q: q, lambda q: scale * q)
    found = estimate(states, resamples=100)
    covariance, variance, left, whole = direct(states)
    for name in ADVANTAGES:
        assert found[f"{name}.policy.covariance"].value == pytest.approx(covariance)
        assert found[f"{name}.policy.variance"].value == pytest.approx(variance)
        assert found[f"{name}.policy.ratio"].value == pytest.approx(1.0 / scale)
        assert found[f"{name}.policy.correlation"].value == pytest.approx(1.0)
        assert found[f"{name}.policy.left"].value == pytest.approx(left / whole)
    ratio = found["driven.policy.ratio"]
    assert (ratio.value > 0.5) == (found["driven.policy.left"].value < 1.0) == (scale < 2.0)
    assert ratio.low == pytest.approx(ratio.high)  # the same in every state


def test_noise_in_the_truth_widens_the_interval_and_not_the_ratio():
    found = estimate(states_of(lambda q: q, lambda q: q, count=300, noise=1.0), resamples=400)["driven.policy.ratio"]
    assert found.low < 1.0 < found.high
    assert 0.02 < found.high - found.low < 0.3


def test_the_policy_and_the_uniform_weighting_differ_where_the_proxy_is_right_for_likely_candidates_alone():
    rng = np.random.default_rng(2)
    states = states_of(lambda q: q, lambda q: q)
    for state in states:
        likely = np.array(state["probability"]) > 1.0 / 15.0
        state["phi"] = np.where(likely, state["phi"], 3.0 * rng.standard_normal(15)).tolist()
    found = estimate(states, resamples=50)
    assert found["driven.policy.ratio"].value > 1.5 * found["driven.uniform.ratio"].value


def test_the_residual_and_its_stand_in():
    """With Phi = 0 the residual is A_real, of which the toy's stand-in is half, clipped."""
    states = states_of(lambda q: 0.3 * q, lambda q: 0.0 * q)
    found = estimate(states, resamples=50)
    assert found["driven.stand_in"].value == pytest.approx(1.0)
    assert np.isnan(found["driven.policy.ratio"].value)
    assert found["driven.policy.ratio"].text() == "-"


def test_calibration_and_collisions_are_counted():
    states = states_of(lambda q: q, lambda q: q, count=4, candidates=6)
    states[0]["followed_collision"] = [3, -1, 5, -1, -1, -1]
    states[0]["predicted_collision"]["decay"] = [2, 7, -1, -1, -1, -1]
    states[1]["predicted_collision"]["idm"] = [-1, 0, -1, -1, -1, -1]
    found = estimate(states, resamples=20)
    assert (found["hits"], found["branches"], found["states"]) == (2, 24, 4)
    assert [found[f"decay.{name}_count"] for name in ("both", "blind", "phantom")] == [1, 1, 1]
    assert found["decay.blind"].value == 0.5
    assert [found[f"idm.{name}_count"] for name in ("both", "blind", "phantom")] == [0, 2, 1]
    assert found["decay.correlation"].value == pytest.approx(1.0)
    assert found["decay.bias"].value == pytest.approx(1.0)
    assert found["decay.error"].value == pytest.approx(1.0)


def test_candidates_that_were_added_count_in_no_mean():
    states = states_of(lambda q: q, lambda q: q, count=1, candidates=6)
    before = state_sums(states[0])
    states[0]["inclusion"][2] = 0.0
    states[0]["followed"][2] = 1e6
    after = state_sums(states[0])
    assert after["decay.error"] == pytest.approx(before["decay.error"])
    assert after["branches"] == before["branches"]

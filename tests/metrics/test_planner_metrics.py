"""PDMS, EPDMS and nuPlan's score from sub-scores: hand vectors, quirks, scenes that come twice."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from craft_lightning.errors import CraftError
from craft_lightning.metrics import NuPlanClosedLoopScore, PDMScore, TwoStagePDMScore
from craft_lightning.metrics.planner import scene_keys
from craft_lightning.metrics.planner_scores import (
    EPDMS,
    EXTENDED_COMFORT,
    PDMS,
    gaussian_weights,
    human_filtered,
    nuplan_final_columns,
    nuplan_scenario_score,
)

V1 = {
    "no_at_fault_collisions": [1.0, 0.5, 0.0, 1.0],
    "drivable_area_compliance": [1.0, 1.0, 1.0, 1.0],
    "ego_progress": [0.6, 1.0, 1.0, 0.0],
    "time_to_collision_within_bound": [1.0, 1.0, 0.0, 0.0],
    "comfort": [1.0, 0.0, 1.0, 1.0],
    "driving_direction_compliance": [0.0, 0.0, 0.0, 0.0],  # computed by version 1, of no weight
}
V1_SCORES = [10.0 / 12.0, 0.5 * 10.0 / 12.0, 0.0, 2.0 / 12.0]
V2 = {
    "no_at_fault_collisions": [1.0, 1.0, 1.0],
    "drivable_area_compliance": [1.0, 1.0, 0.0],
    "driving_direction_compliance": [1.0, 0.5, 1.0],
    "traffic_light_compliance": [1.0, 1.0, 1.0],
    "ego_progress": [0.8, 1.0, 1.0],
    "time_to_collision_within_bound": [1.0, 1.0, 1.0],
    "lane_keeping": [1.0, 0.0, 1.0],
    "history_comfort": [0.0, 1.0, 1.0],
    EXTENDED_COMFORT: [1.0, 1.0, 1.0],
}
V2_SCORES = [13.0 / 16.0, 0.5 * 14.0 / 16.0, 0.0]


def rows(table, *index):
    return {name: [values[i] for i in index] for name, values in table.items()}


def test_pdms_by_hand():
    metric = PDMScore(version=1)
    metric.update(V1, scenes=["a", "b", "c", "d"])
    assert metric.compute().item() == pytest.approx(np.mean(V1_SCORES))
    assert PDMS.compose({name: torch.tensor(values) for name, values in V1.items()}).tolist() == pytest.approx(
        V1_SCORES
    )


def test_epdms_by_hand_with_and_without_extended_comfort():
    metric = PDMScore()
    metric.update(V2, scenes=[1, 2, 3])
    assert metric.compute().item() == pytest.approx(np.mean(V2_SCORES))
    one_frame = {name: values for name, values in V2.items() if name != EXTENDED_COMFORT}
    metric.reset()
    metric.update(one_frame, scenes=[1, 2, 3])
    alone = [11.0 / 14.0, 0.5 * 12.0 / 14.0, 0.0]
    assert metric.compute().item() == pytest.approx(np.mean(alone))
    # Scenes of both kinds side by side.
    metric.update(rows(V2, 0), scenes=[4])
    assert metric.compute().item() == pytest.approx(np.mean([*alone, 13.0 / 16.0]))


def test_other_weights():
    metric = PDMScore(version=1, weights={"ego_progress": 0.0, "comfort": 5.0})
    metric.update(rows(V1, 1), scenes=["b"])
    assert metric.compute().item() == pytest.approx(0.25)
    with pytest.raises(CraftError, match="weights name 'progress'"):
        PDMScore(weights={"progress": 1.0})
    with pytest.raises(CraftError, match="the weight of ego_progress is -1"):
        PDMScore(weights={"ego_progress": -1.0})
    with pytest.raises(CraftError, match="all weights are 0"):
        NuPlanClosedLoopScore(weights=dict.fromkeys(NuPlanClosedLoopScore().composition.weights, 0.0))
    with pytest.raises(CraftError, match="version is 3"):
        PDMScore(version=3)


def test_the_human_filter_pardons_what_the_human_does_too():
    human = {name: [1.0, 1.0, 1.0] for name in V2}
    human["drivable_area_compliance"] = [0.0, 1.0, 0.0]
    human["history_comfort"] = [0.0, 1.0, 1.0]
    human["driving_direction_compliance"] = [1.0, 0.5, 1.0]  # half is not 0
    human[EXTENDED_COMFORT] = [1.0, 1.0, 0.0]  # not filtered
    agent = {**V2, EXTENDED_COMFORT: [1.0, 1.0, 0.0]}
    wanted = [15.0 / 16.0, 0.5 * 14.0 / 16.0, 14.0 / 16.0]
    for kind in (np.asarray, torch.tensor):
        metric = PDMScore()
        metric.update({k: kind(v) for k, v in agent.items()}, [1, 2, 3], {k: kind(v) for k, v in human.items()})
        assert metric.compute().item() == pytest.approx(np.mean(wanted))
    plain = PDMScore(human_filter=False)
    plain.update(agent, [1, 2, 3], human)
    assert plain.compute().item() == pytest.approx(np.mean([13.0 / 16.0, 0.5 * 14.0 / 16.0, 0.0]))
    filtered = human_filtered({"lane_keeping": torch.tensor([0.0])}, {"lane_keeping": torch.tensor([0.0])})
    assert filtered["lane_keeping"].tolist() == [1.0]


def test_a_scene_counts_once_and_last():
    metric = PDMScore(version=1)
    metric.update(V1, scenes=["a", "b", "c", "d"])
    metric.update(rows(V1, 0), scenes=["c"])
    wanted = [V1_SCORES[i] for i in (0, 1, 0, 3)]
    assert metric.compute().item() == pytest.approx(np.mean(wanted))
    assert sorted(metric.scene_scores()) == pytest.approx(sorted(wanted))


def test_failed_scenes_are_left_out():
    metric = PDMScore(version=1)
    metric.update(V1, scenes=["a", "b", "c", "d"])
    metric.update({name: [float("nan")] for name in V1}, scenes=["e"])
    assert metric.compute().item() == pytest.approx(np.mean(V1_SCORES))
    metric.reset()
    metric.update({name: [float("nan")] for name in V1}, scenes=["e"])
    assert torch.isnan(metric.compute())


def test_what_is_missing_is_named():
    with pytest.raises(CraftError, match="no column comfort"):
        PDMScore(version=1).update({k: v for k, v in V1.items() if k != "comfort"}, ["a"] * 4)
    with pytest.raises(CraftError, match="4 numbers for 3 scenes"):
        PDMScore(version=1).update(V1, ["a", "b", "c"])
    with pytest.raises(CraftError, match="give some of the columns"):
        NuPlanClosedLoopScore().update({"comfort": [1.0]}, ["a"])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=9, max_size=9), st.integers(0, 8))
def test_a_better_sub_score_never_lowers_the_score(values, place):
    scores = dict(zip(EPDMS.columns, values, strict=True))
    before = EPDMS.compose(scores)
    after = EPDMS.compose({**scores, EPDMS.columns[place]: 1.0})
    assert 0.0 <= before <= after <= 1.0


# --- two stages -------------------------------------------------------------------------------------------------------


def test_gaussian_weights():
    weights = gaussian_weights([0.0, 0.0], [[0.0, 0.0], [0.3, 0.4]])
    ratio = np.exp(-0.25 / 0.2)
    assert weights == pytest.approx([1.0 / (1.0 + ratio), ratio / (1.0 + ratio)])
    assert gaussian_weights([0.0, 0.0], [[50.0, 0.0], [0.0, 80.0]]) == pytest.approx([0.5, 0.5])  # all underflow


def test_two_stages_by_hand():
    """One group: now 13/16 times the weighted second stage, before 7/16 times a single scene."""
    metric = TwoStagePDMScore()
    metric.update(
        rows(V2, 0, 1),
        ["now", "before"],
        {"group": [7, 7], "frame": [0, 1], "stage": [1, 1], "x": [10.0, 5.0], "y": [0.0, 0.0]},
    )
    metric.update(
        rows(V2, 0, 1, 0),
        ["n1", "n2", "b1"],
        {"group": [7, 7, 7], "frame": [0, 0, 1], "stage": [2, 2, 2], "x": [10.0, 10.3, 99.0], "y": [0.0, 0.4, 0.0]},
    )
    first, second = V2_SCORES[:2]
    ratio = np.exp(-0.25 / 0.2)
    now = first * (first + ratio * second) / (1.0 + ratio)
    assert metric.compute().item() == pytest.approx(0.5 * (now + second * first), abs=1e-6)
    # A group without second stage is left out.
    metric.update(rows(V2, 0), ["x"], {"group": [8], "frame": [0], "stage": [1], "x": [0.0], "y": [0.0]})
    assert metric.compute().item() == pytest.approx(0.5 * (now + second * first), abs=1e-6)
    with pytest.raises(CraftError, match="places has no column y"):
        metric.update(rows(V2, 0), ["x"], {"group": [8], "frame": [0], "stage": [1], "x": [0.0]})
    with pytest.raises(CraftError, match="sigma_squared"):
        TwoStagePDMScore(sigma_squared=0.0)


# --- nuPlan -----------------------------------------------------------------------------------------------------------

NAN = float("nan")
CLOSED_LOOP = {
    "no_ego_at_fault_collisions": [1.0, 0.5, 1.0, 1.0],
    "drivable_area_compliance": [1.0, 1.0, 1.0, NAN],
    "ego_is_making_progress": [1.0, 1.0, 0.0, 1.0],
    "driving_direction_compliance": [1.0, 1.0, 1.0, 1.0],
    "ego_progress_along_expert_route": [0.5, 1.0, 0.1, 1.0],
    "time_to_collision_within_bound": [1.0, 1.0, 1.0, NAN],
    "speed_limit_compliance": [0.75, 1.0, 1.0, 0.5],
    "ego_is_comfortable": [0.0, 1.0, 1.0, 1.0],
}
CLOSED_LOOP_SCORES = [(2.5 + 5.0 + 3.0) / 16.0, 0.5, 0.0, (5.0 + 2.0 + 2.0) / 11.0]


def test_nuplan_by_hand_leaves_none_out_of_product_and_mean():
    metric = NuPlanClosedLoopScore()
    metric.update(CLOSED_LOOP, scenes=["a", "b", "c", "d"])
    assert metric.compute().item() == pytest.approx(np.mean(CLOSED_LOOP_SCORES))
    # Without any averaged metric upstream's mean is 0.
    assert nuplan_scenario_score({"drivable_area_compliance": [1.0]}).tolist() == [0.0]
    without = NuPlanClosedLoopScore()
    without.update({k: v for k, v in rows(CLOSED_LOOP, 0).items() if k != "speed_limit_compliance"}, ["a"])
    assert without.compute().item() == pytest.approx(7.5 / 12.0)


def test_the_aggregators_other_columns_count_none_as_0():
    """The vectors of upstream's test: metrics 0.5 and 0.8 of weight 0.5, a second one None and 0.2 of weight 1."""
    columns = {"ego_progress_along_expert_route": [0.5, 0.8], "ego_is_comfortable": [NAN, 0.2]}
    final = nuplan_final_columns(columns)
    assert final["ego_progress_along_expert_route"] == pytest.approx(0.65)
    assert final["ego_is_comfortable"] == pytest.approx(0.1)
    weights = {"ego_progress_along_expert_route": 0.5, "ego_is_comfortable": 1.0}
    metric = NuPlanClosedLoopScore(weights=weights)
    metric.update(columns, ["test_2", "test_3"])
    assert sorted(metric.scene_scores()) == pytest.approx([0.4, 0.5])
    assert metric.compute().item() == pytest.approx(0.45)
    assert metric.final_columns()["ego_is_comfortable"] == pytest.approx(0.1)
    assert np.isnan(metric.final_columns()["speed_limit_compliance"])


def test_means_by_type_weighted_with_their_numbers_are_the_plain_mean():
    scores, kinds = np.array(CLOSED_LOOP_SCORES), np.array([0, 1, 1, 1])
    by_type = sum(scores[kinds == kind].mean() * (kinds == kind).sum() for kind in (0, 1)) / len(scores)
    assert by_type == pytest.approx(scores.mean())


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_tell_tokens_apart():
    keys = scene_keys([f"token-{i}" for i in range(5000)])
    assert len(torch.unique(keys, dim=0)) == 5000
    assert keys.max() < 2**21
    assert torch.equal(scene_keys([3]), scene_keys(["3"]))

"""Every sub-score of NAVSIM and nuPlan on hand-made scenes: one that triggers, one that just does not."""

import dataclasses
import math

import pytest
import torch

from craft_lightning.conventions import (
    AGENT_CYCLIST,
    AGENT_STATIC,
    AGENT_VEHICLE,
    AGENT_WALKER,
    LINE_RED,
    LINE_STOP_SIGN,
)
from craft_lightning.counterfactual import CounterfactualWorld
from craft_lightning.counterfactual.scores import Drive, PlannerScorer, ScoreParameters, chosen_scores
from craft_lightning.counterfactual.scores.areas import road_areas
from craft_lightning.counterfactual.scores.progress import navsim_progress, nuplan_progress
from craft_lightning.counterfactual.scores.rules import lane_keeping
from craft_lightning.errors import CraftError
from craft_lightning.testing.straight_road import add_agent, empty_scene, straight_road

STEPS = 40
TIME = 0.1 * torch.arange(STEPS + 1)


def steady(*speeds, y=0.0):
    """States [1, K, 41, 4] that go straight on at constant speeds; the ego is 4.6 m by 1.9 m, its axles 2.8 m apart."""
    states = torch.zeros(1, len(speeds), STEPS + 1, 4)
    states[..., 3] = torch.tensor(speeds)[:, None]
    states[..., 0] = states[..., 3] * TIME
    states[..., 1] = y
    return states


def halting(speed, seconds):
    """States that go on at ``speed`` for some seconds and then stand at once."""
    states = steady(speed)
    moving = seconds + 1e-6 >= TIME
    states[..., 0] = speed * TIME.clamp(max=seconds)
    states[..., 3] = torch.where(moving, speed, 0.0)
    return states


def navsim(scene, states, road=None, parameters=None, **options):
    mask = torch.ones(states.shape[:2], dtype=torch.bool)
    return PlannerScorer(parameters).navsim(scene, states, mask, [road or straight_road()], **options)


def nuplan(scene, states, road=None, parameters=None, **options):
    mask = torch.ones(states.shape[:2], dtype=torch.bool)
    return PlannerScorer(parameters).nuplan(scene, states, mask, [road or straight_road()], **options)


# --- collisions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "x", "expected", "closed_loop"),
    [
        (AGENT_VEHICLE, 36.5, 0.0, 0.0),
        (AGENT_VEHICLE, 36.7, 1.0, 1.0),  # the bumpers stay 0.1 m apart at 4 s
        (AGENT_STATIC, 36.5, 0.5, 0.5),
        (AGENT_WALKER, 36.5, 0.0, 0.0),
    ],
)
def test_a_standing_track_ahead(kind, x, expected, closed_loop):
    scene = add_agent(empty_scene(), 0, x=x, kind=kind)
    assert navsim(scene, steady(8.0))["no_at_fault_collisions"].item() == expected
    assert nuplan(scene, steady(8.0))["no_ego_at_fault_collisions"].item() == closed_loop


def test_objects_are_forgiven_once():
    scene = add_agent(empty_scene(), 0, x=15.0, kind=AGENT_STATIC)
    assert nuplan(scene, steady(8.0))["no_ego_at_fault_collisions"].item() == 0.5
    add_agent(scene, 1, x=25.0, kind=AGENT_STATIC)
    assert nuplan(scene, steady(8.0))["no_ego_at_fault_collisions"].item() == 0.0
    assert navsim(scene, steady(8.0))["no_at_fault_collisions"].item() == 0.5


def test_being_hit_from_behind_is_no_fault_and_ends_the_matter():
    scene = add_agent(empty_scene(), 0, x=-8.0, speed=14.0)
    states = steady(2.0, 13.9)
    assert navsim(scene, states)["no_at_fault_collisions"].tolist() == [[1.0, 1.0]]
    found = nuplan(scene, states)
    assert found["no_ego_at_fault_collisions"].tolist() == [[1.0, 1.0]]
    assert found["time_to_collision_within_bound"].tolist() == [[1.0, 1.0]]


def crossing(y_ego, speed):
    """A cyclist from the left that meets the middle of the ego's side after 2 s."""
    scene = empty_scene()
    return add_agent(
        scene,
        0,
        x=2.0 * speed,
        y=y_ego + 7.85,
        yaw=-math.pi / 2,
        speed=3.0,
        length=1.8,
        width=0.6,
        kind=AGENT_CYCLIST,
    )


def test_a_hit_at_the_side_is_a_fault_only_between_lanes():
    road = straight_road(3)
    for y, expected in ((0.0, 1.0), (1.75, 0.0)):
        scene, states = crossing(y, 5.0), steady(5.0, y=y)
        assert navsim(scene, states, road)["no_at_fault_collisions"].item() == expected
        assert nuplan(scene, states, road)["no_ego_at_fault_collisions"].item() == expected
    # A standing ego is never at fault.
    assert navsim(crossing(1.75, 0.0), steady(0.0, y=1.75), road)["no_at_fault_collisions"].item() == 1.0
    assert navsim(crossing(1.75, 0.0), steady(0.06, y=1.75), road)["no_at_fault_collisions"].item() == 0.0


def test_a_hit_with_the_bumper_is_a_fault():
    # The cyclist is in front of the bumper at 2 s, 2.2 m before the ego's centre.
    scene = crossing(0.0, 5.0)
    scene.agents[:, 0, 0] += 2.4
    assert navsim(scene, steady(5.0), straight_road(3))["no_at_fault_collisions"].item() == 0.0


def test_what_overlaps_from_the_start_is_passed_over_by_navsim():
    scene = add_agent(empty_scene(), 0, x=3.0, kind=AGENT_STATIC)
    found = navsim(scene, steady(8.0))
    assert found["no_at_fault_collisions"].item() == found["time_to_collision_within_bound"].item() == 1.0
    strict = ScoreParameters(skip_first_contacts=False)
    assert navsim(scene, steady(8.0), parameters=strict)["no_at_fault_collisions"].item() == 0.5
    assert nuplan(scene, steady(8.0))["no_ego_at_fault_collisions"].item() == 0.5


# --- time to collision ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("x", "expected"), [(23.5, 0.0), (23.7, 1.0)])
def test_time_to_collision_looks_nine_tenths_of_a_second_ahead(x, expected):
    # At 1 s the ego is at 10 m and would be at 19 m; boxes reach 2.3 m each.
    scene = add_agent(empty_scene(), 0, x=x)
    found = navsim(scene, halting(10.0, 1.0))
    assert found["no_at_fault_collisions"].item() == 1.0
    assert found["time_to_collision_within_bound"].item() == expected
    assert nuplan(scene, halting(10.0, 1.0))["time_to_collision_within_bound"].item() == expected


def test_time_to_collision_at_the_side_counts_only_between_lanes():
    road = straight_road(3)
    for y, expected in ((0.0, 1.0), (1.75, 0.0)):
        scene, states = crossing(y, 0.5), steady(0.5, y=y)
        assert navsim(scene, states, road)["time_to_collision_within_bound"].item() == expected
        assert nuplan(scene, states, road)["time_to_collision_within_bound"].item() == expected
    # So it does in a junction.
    road.lane_junction[0] = 1
    scene, states = crossing(0.0, 0.5), steady(0.5)
    assert navsim(scene, states, road)["time_to_collision_within_bound"].item() == 0.0
    assert nuplan(scene, states, road)["time_to_collision_within_bound"].item() == 0.0


def test_a_standing_ego_has_no_time_to_collision():
    scene = crossing(1.75, 0.0)
    for speed, expected in ((0.0, 1.0), (0.004, 1.0), (0.02, 0.0)):
        found = navsim(scene, steady(speed, y=1.75), straight_road(3))
        assert found["time_to_collision_within_bound"].item() == expected


# --- the road ---------------------------------------------------------------------------------------------------------


def test_corners_and_the_edge_of_the_drivable_area():
    # The road ends 1.75 m to the right, the ego's right corners are 0.95 m from its centre.
    for y, ours, tolerant in ((-0.7, 1.0, 1.0), (-0.9, 0.0, 1.0), (-1.2, 0.0, 0.0)):
        assert navsim(empty_scene(), steady(8.0, y=y))["drivable_area_compliance"].item() == ours
        assert nuplan(empty_scene(), steady(8.0, y=y))["drivable_area_compliance"].item() == tolerant


def test_metres_off_the_route_within_a_second():
    # Eleven steps of 0.1 s count: 1.8 m/s are 1.98 m.
    scene = empty_scene()
    scene.route_lanes[:, 0] = 0
    speeds = (1.8, 1.9, 5.4, 5.5)
    road = straight_road(2)
    assert navsim(scene, steady(*speeds, y=3.5), road)["driving_direction_compliance"].tolist() == [
        [1.0, 0.5, 0.5, 0.0]
    ]
    assert navsim(scene, steady(*speeds), road)["driving_direction_compliance"].tolist() == [[1.0] * 4]
    road.lane_junction[1] = 1
    assert navsim(scene, steady(*speeds, y=3.5), road)["driving_direction_compliance"].tolist() == [[1.0] * 4]


def test_metres_against_the_lane_within_a_second():
    road = straight_road(1, opposite=1)
    speeds = (1.8, 1.9, 5.4, 5.5)
    found = nuplan(empty_scene(), steady(*speeds, y=3.5), road)["driving_direction_compliance"]
    assert found.tolist() == [[1.0, 0.5, 0.5, 0.0]]
    assert nuplan(empty_scene(), steady(*speeds), road)["driving_direction_compliance"].tolist() == [[1.0] * 4]
    # Without route lanes NAVSIM's column falls back on the direction.
    found = navsim(empty_scene(), steady(*speeds, y=3.5), road)["driving_direction_compliance"]
    assert found.tolist() == [[1.0, 0.5, 0.5, 0.0]]


def test_the_frame_of_the_world_does_not_matter():
    """The same drive seen from an ego that stands across the road."""
    road = straight_road(1, opposite=1)
    scene, turned = empty_scene(), empty_scene()
    turned.ego_pose[:, 2] = math.pi / 2
    states = steady(1.9, y=3.5)
    other = states.clone()
    other[..., 0], other[..., 1], other[..., 2] = states[..., 1], -states[..., 0], -math.pi / 2
    for score in (navsim, nuplan):
        here, there = score(scene, states, road), score(turned, other, road)
        for name in ("drivable_area_compliance", "driving_direction_compliance"):
            assert torch.equal(here[name], there[name]), name


def test_red_lines_may_not_be_touched():
    # The front bumper is 2.3 m before the centre: 9.9 m and 10.3 m after 4 s.
    for kind, expected in ((LINE_RED, [1.0, 0.0]), (LINE_STOP_SIGN, [1.0, 1.0])):
        scene = empty_scene()
        scene.stop_lines[:, 0] = torch.tensor([10.0, -1.7, 10.0, 1.7])
        scene.stop_kind[:, 0] = kind
        assert navsim(scene, steady(1.9, 2.0))["traffic_light_compliance"].tolist() == [expected]
    scene.stop_kind[:, 0] = LINE_RED
    assert navsim(scene, steady(2.0, y=3.5))["traffic_light_compliance"].item() == 1.0  # beside the line


def test_a_lane_is_lost_after_twenty_steps():
    def off(steps, metres=0.6):
        states = steady(5.0)
        states[..., 10 : 10 + steps, 1] = metres
        return navsim(empty_scene(), states)["lane_keeping"].item()

    assert off(19) == 1.0
    assert off(20) == 0.0
    assert off(30, 0.49) == 1.0


def test_junction_steps_neither_count_nor_begin_the_row_anew():
    drive = Drive.of(empty_scene(), steady(5.0))
    p = ScoreParameters()
    areas = road_areas(drive, [straight_road()], p)
    offset = torch.zeros(1, 1, STEPS + 1)
    offset[..., :10] = offset[..., 20:30] = 0.6
    junction = torch.zeros(1, 1, STEPS + 1, dtype=torch.bool)
    assert lane_keeping(drive, areas, offset, p).item() == 1.0
    junction[..., 10:20] = True
    assert lane_keeping(drive, dataclasses.replace(areas, junction=junction), offset, p).item() == 0.0
    junction[..., 29] = True
    assert lane_keeping(drive, dataclasses.replace(areas, junction=junction), offset, p).item() == 1.0


def test_speed_compliance_by_hand():
    states = steady(10.0)
    over = 1.0 - 2.0 * 41 * 0.1 / (2.23 * 4.0)
    found = nuplan(empty_scene(), states, limits=torch.tensor([8.0]))["speed_limit_compliance"]
    assert found.item() == pytest.approx(over, abs=1e-5)
    assert nuplan(empty_scene(), states, limits=torch.tensor([10.0]))["speed_limit_compliance"].item() == 1.0
    assert nuplan(empty_scene(), states, limits=[[8.0, 30.0]])["speed_limit_compliance"].item() == pytest.approx(over)
    beside = steady(10.0, y=3.5)
    assert nuplan(empty_scene(), beside, limits=[[8.0, 30.0]])["speed_limit_compliance"].item() == 1.0
    assert "speed_limit_compliance" not in nuplan(empty_scene(), states)


# --- progress ---------------------------------------------------------------------------------------------------------


def test_progress_is_measured_along_the_route_and_normalised():
    found = navsim(empty_scene(), steady(10.0, 5.0, 0.0))["ego_progress"]
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.5, 0.0]]))
    # Nobody gains more than 5 m: everybody has full progress.
    assert navsim(empty_scene(), steady(1.2, 0.0))["ego_progress"].tolist() == [[1.0, 1.0]]
    assert navsim(empty_scene(), steady(1.2, 1.3))["ego_progress"].tolist() != [[1.0, 1.0]]


def test_both_versions_normalise_by_what_is_gained_without_fault():
    metres, multiplier = torch.tensor([[40.0, 20.0, 30.0]]), torch.tensor([[0.0, 1.0, 0.5]])
    mask, p = torch.ones(1, 3, dtype=torch.bool), ScoreParameters()
    first = navsim_progress(metres, multiplier, mask, p, 1)
    torch.testing.assert_close(first, torch.tensor([[0.0, 1.0, 0.75]]))
    second = navsim_progress(metres, multiplier, mask, p, 2)
    torch.testing.assert_close(second, torch.tensor([[1.0, 1.0, 1.0]]))
    more = navsim_progress(metres, multiplier, mask, p, 2, reference=torch.tensor([40.0]))
    torch.testing.assert_close(more, torch.tensor([[1.0, 0.5, 0.75]]))
    without = navsim_progress(metres, multiplier, torch.tensor([[True, False, True]]), p, 1)
    torch.testing.assert_close(without[0, 2], torch.tensor(1.0))
    short = navsim_progress(torch.tensor([[4.0, 4.0]]), torch.tensor([[0.0, 1.0]]), mask[:, :2], p, 1)
    assert short.tolist() == [[0.0, 1.0]]


def test_the_ratio_to_the_expert():
    p = ScoreParameters()
    metres = torch.tensor([[10.0, 30.0, 0.0, -0.05, -0.2]])
    ratio = nuplan_progress(metres, torch.tensor([20.0]), p)
    torch.testing.assert_close(ratio, torch.tensor([[0.5, 1.0, 0.005, 0.005, 0.0]]))
    assert nuplan_progress(metres, torch.tensor([0.0]), p).tolist() == [[1.0, 1.0, 1.0, 1.0, 0.0]]
    assert nuplan_progress(metres, torch.tensor([torch.nan]), p).tolist() == [[1.0] * 5]
    scene = empty_scene()
    found = nuplan(scene, steady(1.9, 2.1), expert_progress=torch.tensor([40.0]))
    assert found["ego_is_making_progress"].tolist() == [[0.0, 1.0]]
    # Without an expert the best candidate may stand for it.
    found = nuplan(scene, steady(1.9, 10.0), best_as_expert=True)
    torch.testing.assert_close(found["ego_progress_along_expert_route"], torch.tensor([[0.19, 1.0]]))
    plans = torch.zeros(1, 40, 3)
    plans[..., 0] = 10.0 * TIME[1:]
    assert PlannerScorer().plan_progress(scene, plans, 40).item() == pytest.approx(40.0)
    assert PlannerScorer().plan_progress(scene, plans * torch.nan, 40).isnan().all()


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_of_4096_is_what_its_candidates_are_alone(busy_scenes):
    scene, plans, mask, grids = busy_scenes(states=64, candidates=64)
    states = CounterfactualWorld(4.0, threads=1).rollout(scene, plans, mask, grids, keep_states=True).states
    scorer = PlannerScorer()
    limits = torch.full((64,), 8.0)
    whole = {
        "navsim": scorer.navsim(scene, states, mask, grids),
        "nuplan": scorer.nuplan(scene, states, mask, grids, limits=limits),
    }
    for found in whole.values():
        for name, values in found.items():
            assert values.shape == (64, 64)
            assert (values[~mask] == 0.0).all()
            assert ((values >= 0.0) & (values <= 1.0)).all(), name
            # Without an expert all of them make progress.
            assert 0.0 < values[mask].mean() < 1.0 or "progress" in name, name
    pieces = PlannerScorer(chunk=100)
    again = pieces.navsim(scene, states, mask, grids)
    for name, values in whole["navsim"].items():
        assert torch.equal(values, again[name]), name
    for b, k in ((0, 0), (13, 5), (63, 1), (40, 33)):
        one = slice(b, b + 1)
        alone = scorer.navsim(scene[one], states[one, k : k + 1], mask[one, k : k + 1], grids)
        for name, values in alone.items():
            if name != "ego_progress":  # which depends on the other proposals
                assert torch.equal(values[0, 0], whole["navsim"][name][b, k]), name
        alone = scorer.nuplan(scene[one], states[one, k : k + 1], mask[one, k : k + 1], grids, limits=limits[one])
        for name, values in alone.items():
            torch.testing.assert_close(values[0, 0], whole["nuplan"][name][b, k], msg=name)


def test_the_kinds_of_input_that_are_refused():
    scene, states = empty_scene(), steady(8.0)
    mask = torch.ones(1, 1, dtype=torch.bool)
    with pytest.raises(CraftError, match="15 steps"):
        PlannerScorer().navsim(scene, states[:, :, :10], mask, [straight_road()])
    with pytest.raises(CraftError, match="mask is"):
        PlannerScorer().navsim(scene, states, mask.float(), [straight_road()])
    with pytest.raises(CraftError, match="version is 3"):
        navsim(scene, states, version=3)
    with pytest.raises(CraftError, match="one speed limit a state"):
        nuplan(scene, states, limits=torch.zeros(2))
    with pytest.raises(CraftError, match="ttc_stride"):
        ScoreParameters(ttc_stride=0.0)


def test_scores_of_the_chosen_candidates():
    found = navsim(empty_scene(), steady(10.0, 5.0))
    assert chosen_scores(found, torch.tensor([1]))["ego_progress"].tolist() == [0.5]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_scores_alike(busy_scenes):
    scene, plans, mask, grids = busy_scenes(states=8, candidates=32)
    states = CounterfactualWorld(4.0, threads=1).rollout(scene, plans, mask, grids, keep_states=True).states
    here = PlannerScorer().navsim(scene, states, mask, grids)
    there = PlannerScorer().navsim(scene.to("cuda"), states.cuda(), mask.cuda(), grids)
    for name, values in here.items():
        # Where a box ends within rounding of a line, either side may come out.
        assert ((values - there[name].cpu()).abs() < 1e-4).float().mean() > 0.995, name

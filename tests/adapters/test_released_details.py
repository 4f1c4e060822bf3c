"""What is particular to single released policies: score formulas, decode orders, rules of their agents."""

import math
import sys
from types import SimpleNamespace

import pytest
import torch
from craft_lightning.adapters import gtrs, sparsedrive_navsim
from craft_lightning.adapters.carl import CaRL
from craft_lightning.adapters.diffusiondrive import DiffusionDrive
from craft_lightning.adapters.gtrs import GTRS
from craft_lightning.adapters.hipad import GROUPS, HiPAD
from craft_lightning.adapters.minddrive import PATH_COMMANDS, PATH_TOKENS, SPEED_TOKENS, MindDrive
from craft_lightning.adapters.orion import Orion
from craft_lightning.adapters.plant2 import PlanT2
from craft_lightning.adapters.sparsedrive_bench2drive import SparseDriveBench2Drive
from craft_lightning.adapters.sparsedrive_navsim import SparseDriveNavsim
from craft_lightning.adapters.transfuser import TransFuserPlusPlus, TransFuserV6
from craft_lightning.adapters.vadv2 import VADv2, read_plans

from craft_lightning.control import Tracker
from craft_lightning.errors import CraftError
from craft_lightning.objectives.functional import kl_student_teacher, kl_teacher_student
from craft_lightning.policies.regressed_plan import shifted_paths
from craft_lightning.policies.released.source import BridgedModel
from craft_lightning.policies.released.speed_classes import expected_speed, two_hot
from craft_lightning.policies.released.vetoes import collides
from craft_lightning.structures import Observation


def observe(states: int, seed: int = 0) -> Observation:
    generator = torch.Generator().manual_seed(seed)
    bev = (torch.rand(states, 6, 96, 96, generator=generator) > 0.7).to(torch.uint8) * 255
    ego = torch.rand(states, 5, generator=generator) * torch.tensor([12.0, 2.0, 0.3, 0.5, 14.0])
    route = torch.cumsum(torch.rand(states, 20, 2, generator=generator) * 2.0, 1)
    return Observation(bev=bev, ego=ego, route=route, batch_size=[states])


@torch.no_grad()
def driven(policy, states=5):
    context = policy.encode(observe(states))
    return context, policy.propose(context)


def logits(names, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {name: 3.0 * torch.randn(4, 9, generator=generator) for name in names}


def test_gtrs_ranks_by_its_released_score():
    heads = logits([*gtrs.FORMULA.gates, *gtrs.FORMULA.mean, "imi"])
    p = {name: value.sigmoid() for name, value in heads.items()}
    expected = (
        0.03 * heads["imi"].softmax(-1).log()
        + 0.1 * p["traffic_light_compliance"].log()
        + 0.1 * p["no_at_fault_collisions"].log()
        + 0.9 * p["drivable_area_compliance"].log()
        + 0.2 * p["driving_direction_compliance"].log()
        + 6.0 * (7 * p["time_to_collision_within_bound"] + 7 * p["ego_progress"] + 3 * p["lane_keeping"]).log()
    )
    # Their sum of three is a mean here: the same distribution.
    found = gtrs.FORMULA.score({**heads, "imitation": heads["imi"]}) + 6.0 * math.log(17.0)
    torch.testing.assert_close(found, expected)


def test_gtrs_scores_what_its_model_scores():
    policy = GTRS.example()
    observation = observe(3)
    answer = policy.source._connected.model(
        {"camera_feature": policy._inputs(observation)["camera_feature"],
         "status_feature": [policy._inputs(observation)["status_feature.0"]]}
    )  # fmt: skip
    with torch.no_grad():
        found = policy.logits(policy.encode(observation))
    # The context is stored in half precision.
    expected = gtrs.FORMULA.score({**answer, "imitation": answer["imi"]})
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=1e-3)


def test_sparsedrive_chooses_by_its_released_score():
    for version, product, average in (
        ("v1", ("no_at_fault_collisions", "drivable_area_compliance"), {"comfort": 2}),
        (
            "v2",
            (
                "no_at_fault_collisions",
                "drivable_area_compliance",
                "driving_direction_compliance",
                "traffic_light_compliance",
            ),
            {"lane_keeping": 2, "history_comfort": 2},
        ),
    ):
        average = {"time_to_collision_within_bound": 5, "ego_progress": 5, **average}
        heads = logits([*product, *average])
        score = torch.ones(4, 9)
        for name in product:
            score = score * heads[name].sigmoid()
        score = score * sum(weight * heads[name].sigmoid() for name, weight in average.items())
        torch.testing.assert_close(sparsedrive_navsim.log_score(heads, version), score.log())


def test_sparsedrive_lists_what_its_filters_keep():
    policy = SparseDriveNavsim.example()
    context, candidates = driven(policy)
    assert policy.spec.factors[0].size == 12
    for state in range(5):
        pairs = {tuple(pair) for pair in candidates.ids[state].tolist()}
        assert len(pairs) == 15
        assert len({path for path, _ in pairs}) == 5
        assert len({speed for _, speed in pairs}) == 3
    # The ids say which composed trajectory a candidate is.
    state = policy.source.state(("_trajectory_head.traj_vocab",))["_trajectory_head.traj_vocab"]
    path, speed = candidates.ids.unbind(-1)
    assert torch.equal(context["plans"], state[path, speed])
    # Which paths are kept depends on the state.
    assert len({tuple(sorted(set(row.tolist()))) for row in path}) > 1


def test_diffusiondrive_needs_a_temperature():
    # Sigmoid logits read through a softmax: a cold policy is nearly uniform, a fitted one is not.
    policy = DiffusionDrive.example()
    with torch.no_grad():
        context = policy.encode(observe(20))
        policy.calibrate_temperature(context, 0.9)
        candidates = policy.propose(context)
    assert candidates.log_probs.exp().amax(1).mean() == pytest.approx(0.9, abs=0.01)
    assert policy.spec.temperature < 1.0
    assert policy.spec.support == "static"


def test_diffusiondrive_draws_the_same_noise_again():
    policy = DiffusionDrive.example()
    first, second = (policy.encode(observe(4))["plans"] for _ in range(2))
    assert torch.equal(first, second)
    state = torch.random.get_rng_state()
    policy.encode(observe(4))
    assert torch.equal(state, torch.random.get_rng_state())


def test_target_speeds_of_transfuser():
    classes = torch.tensor([0.0, 2.0, 5.0, 8.0])
    likely = torch.tensor([[0.6, 0.0, 0.2, 0.2], [0.5, 0.0, 0.25, 0.25], [0.0, 0.0, 0.0, 1.0]])
    found = expected_speed(likely.log(), classes, 0.5)
    torch.testing.assert_close(found, torch.tensor([0.0, 3.25, 8.0]))
    # TFv6 has no such rule.
    assert expected_speed(likely.log(), classes)[0] == pytest.approx(2.6)
    assert TransFuserPlusPlus.brake_above == 0.5
    assert TransFuserV6.brake_above is None


def test_two_hot_targets_have_the_speed_as_their_mean():
    classes = torch.tensor([0.0, 4.0, 8.0, 10.0, 13.88888888, 16.0, 17.77777777, 20.0])
    speed = torch.tensor([0.0, 1.0, 4.0, 9.5, 19.9, 25.0])
    code = two_hot(speed, classes)
    torch.testing.assert_close((code * classes).sum(-1), speed.clamp(max=20.0))
    assert ((code > 0).sum(-1) <= 2).all()
    torch.testing.assert_close(code[1], torch.tensor([0.75, 0.25, 0, 0, 0, 0, 0, 0]))


@pytest.mark.parametrize("make", [TransFuserV6.example, TransFuserPlusPlus.example, PlanT2.example,
                                  lambda: PlanT2("stand_in", representation="path+wps", width=12)])  # fmt: skip
def test_a_regressed_plan_is_the_greedy_one_at_first(make):
    policy = make()
    _context, candidates = driven(policy)
    index, plan = policy.act(candidates, greedy=True)
    chosen = candidates.ids[torch.arange(5), index]
    # A twin of the released plan may stand for it where it comes first.
    assert (chosen[:, 0] == 0).all()
    first = candidates.trajectories[:, 0]
    torch.testing.assert_close(plan, first, atol=0.1, rtol=0)
    # The prior is what was declared: 0.6 for the released path wherever no candidate has a twin.
    lone = (candidates.multiplicity == 1).all(1)
    share = torch.where(candidates.ids[..., 0] == 0, candidates.log_probs.exp(), 0.0).sum(1)
    torch.testing.assert_close(share[lone], torch.full_like(share[lone], 0.6))


def test_plant_takes_its_speed_from_the_third_and_fourth_waypoint():
    policy = PlanT2("stand_in", representation="path+wps", width=12)
    observation = observe(3)
    found = policy.features(observation)
    context = policy.encode(observation)
    wanted = 4.0 * (found["waypoints"][:, 3] - found["waypoints"][:, 2]).norm(dim=-1)
    speed = (context["distance"][:, 0, -1] - context["distance"][:, 0, -2]) / 0.1
    torch.testing.assert_close(speed, wanted, atol=1e-3, rtol=1e-3)
    # The second choice is to stop.
    assert (context["distance"][:, 1, -1] - context["distance"][:, 1, -2] < 1e-3).all()


def test_offsets_move_a_path_to_the_left_and_begin_at_the_ego():
    path = torch.stack([torch.arange(1.0, 21.0), torch.zeros(20)], -1)[None]
    moved = shifted_paths(path, torch.tensor([0.0, 1.0, -2.0]), 8.0)
    assert torch.equal(moved[:, 0], path)
    torch.testing.assert_close(moved[0, 1, 7:, 1], torch.ones(13))
    torch.testing.assert_close(moved[0, 2, 7:, 1], torch.full((13,), -2.0))
    assert 0 < moved[0, 1, 0, 1] < 0.1
    assert torch.equal(moved[..., 0], path[..., 0].expand(1, 3, -1))


def test_hipad_decodes_mode_first():
    policy = HiPAD.example()
    _, candidates = driven(policy, 1)
    probability = torch.full((1, 24), 1e-3)
    # Mode 0 has the likeliest pair, mode 1 more mass.
    probability[0, :6] = torch.tensor([0.36, 0.02, 0.02, 0.2, 0.15, 0.25])
    candidates.mask = torch.ones(1, 24, dtype=torch.bool)
    candidates.log_probs = (probability / probability.sum()).log()
    assert candidates.log_probs.argmax(1).item() == 0
    index, plan = policy.act(candidates, greedy=True)
    assert candidates.ids[0, index[0]].tolist() == [1, 2]
    assert torch.equal(plan, candidates.trajectories[:, 5])


def test_hipad_vetoes_bands_and_never_modes():
    policy = HiPAD.example()
    context, _ = driven(policy)
    free = context.clone()
    free["vetoed"] = torch.zeros_like(context["vetoed"])
    some = free.clone()
    some["vetoed"][:, 2, 1] = True
    with torch.no_grad():
        before, after = policy.joint(free, 1.0).exp(), policy.joint(some, 1.0).exp()
    modes, now = before.unflatten(1, (8, 3)), after.unflatten(1, (8, 3))
    torch.testing.assert_close(now.sum(-1), modes.sum(-1))
    assert (now[:, 2, 1] == 0).all()
    assert torch.equal(now[:, 3:], modes[:, 3:])
    assert not policy.propose(some).mask[:, 7].any()


def test_hipad_stops_where_every_band_of_a_path_collides():
    policy = HiPAD.example()
    found = policy.features(observe(2))
    # A wall on the way of everybody, sure to be there.
    found["boxes"][..., :2] = torch.tensor([0.0, 3.0])
    found["boxes"][..., 3:5] = torch.tensor([math.log(9.0), math.log(40.0)])
    found["boxes"][..., 6:8] = torch.tensor([1.0, 0.0])
    found["classes"][:] = 9.0
    policy.features = lambda observation: found
    context, candidates = driven(policy, 2)
    assert not context["vetoed"].any()
    assert (context["speed"] == 0).all()
    assert (candidates.trajectories[..., :2].abs() < 1e-3).all()
    # All of them are one plan.
    assert (candidates.mask.sum(1) == 1).all()
    # With nothing there nothing is left out.
    found["classes"][:] = -9.0
    context, candidates = driven(policy, 2)
    assert not context["vetoed"].any()
    assert candidates.mask.sum(1).min() > 5


def test_hipad_groups_are_in_upstreams_order():
    assert [kind for kind, _ in GROUPS] == ["temp", "spat", "temp", "spat", *["speed"] * 6]
    assert [rate.split()[0] for _, rate in GROUPS] == ["5hz", "2m", "2hz", "5m", *["5hz"] * 3, *["2hz"] * 3]


def test_hipad_plans_drive_the_bands_speeds():
    policy = HiPAD("stand_in", modes=8, width=12, rescore=False)
    _, candidates = driven(policy)
    plans = candidates.trajectories.unflatten(1, (8, 3))
    speed = plans[..., :2].diff(dim=-2).norm(dim=-1).mean(-1) / 0.1
    # The stand-in's anchors of the bands drive at 0.1, 1.5 and 8 m/s.
    assert (speed[..., 0] < speed[..., 1]).all()
    assert (speed[..., 1] < speed[..., 2]).all()
    assert speed[..., 2].mean() == pytest.approx(8.0, abs=1.5)


def test_forecasts_collide_when_and_where_they_are():
    ahead = torch.stack([torch.tensor([5.0, 10.0]), torch.zeros(2)], -1)[None, None]
    box = torch.tensor([[[10.0, 0.0, 0.0, 4.0, 2.0]]])
    still, sure = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, dtype=torch.bool)
    assert collides(ahead, box, still, sure, (4.9, 1.8)).all()
    assert not collides(ahead, box, still, ~sure, (4.9, 1.8)).any()
    aside = box + torch.tensor([0.0, 4.0, 0.0, 0.0, 0.0])
    assert not collides(ahead, aside, still, sure, (4.9, 1.8)).any()
    # Who drives away is not met, who comes over from the side is.
    gone = torch.tensor([[[[10.0, 0.0], [20.0, 0.0]]]])
    assert not collides(ahead, box, gone, sure, (4.9, 1.8)).any()
    over = torch.tensor([[[[0.0, -2.0], [0.0, -4.0]]]])
    assert collides(ahead, aside, over, sure, (4.9, 1.8)).all()


def test_carl_has_the_density_of_its_model():
    policy = CaRL.example()
    observation = observe(4)
    inputs = policy._inputs(observation)
    alpha, beta = policy.source._connected.model(inputs)
    with torch.no_grad():
        law = policy.law(policy.encode(observation))
    theirs = torch.distributions.Beta(alpha, beta)
    ours = torch.distributions.Beta(*law.chunk(2, -1))
    action = torch.tensor([0.3, -0.4])
    # Their steering is to the right: the mirrored action has the same density; a change of variables costs log 2.
    mirrored = action * torch.tensor([-1.0, 1.0])
    expected = (theirs.log_prob((mirrored + 1) / 2) - math.log(2)).sum(-1)
    from craft_lightning.policies.densities import beta_log_density

    torch.testing.assert_close(beta_log_density(law, action), expected, atol=5e-3, rtol=1e-3)
    torch.testing.assert_close(ours.mean[:, 0], 1 - theirs.mean[:, 0], atol=1e-3, rtol=0)
    torch.testing.assert_close(ours.mean[:, 1], theirs.mean[:, 1], atol=1e-3, rtol=0)


def test_carl_steers_to_the_left_where_its_model_does():
    policy = CaRL.example()
    left = policy.decode(policy.encode(observe(1)), torch.tensor([[[0.5, 0.5]]]))
    assert left[0, 0, -1, 1] > 0


def test_minddrive_has_two_orders_of_paths():
    assert [PATH_COMMANDS.index(name) for name in PATH_TOKENS] == [3, 2, 0, 4, 1, 5]
    assert len(SPEED_TOKENS) == 7
    policy = MindDrive("stand_in", width=12)
    observation = observe(12)
    context = policy.encode(observation)
    commands = policy.observation_inputs["command"](observation)
    for command, token in zip(commands.tolist(), context["token"].tolist(), strict=True):
        assert PATH_TOKENS[token] == PATH_COMMANDS[command]
    # The stand-in's left turns bend to the left: where the command is one, so does the plan.
    with torch.no_grad():
        candidates = policy.propose(context)
    left = context["token"] == PATH_TOKENS.index("turn_left")
    fast = SPEED_TOKENS.index("maintain_fast_speed")
    assert left.any()
    assert (candidates.trajectories[left, fast, -1, 1] > 2.0).all()
    assert (candidates.ids[left, :, 0] == PATH_TOKENS.index("turn_left")).all()


def test_minddrive_starts_as_its_seven_tokens():
    policy = MindDrive("stand_in", width=12)
    context, candidates = driven(policy)
    expected = context["logits"].log_softmax(-1)
    lone = candidates.multiplicity == 1
    torch.testing.assert_close(candidates.log_probs[lone], expected[lone])


def test_minddrives_own_divergence_is_that_of_the_reference():
    student, reference = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.5, 0.5]]).log()
    mask = torch.ones(1, 2, dtype=torch.bool)
    theirs = torch.nn.functional.kl_div(student, reference, reduction="batchmean", log_target=True)
    torch.testing.assert_close(kl_teacher_student(student, reference, mask).mean(), theirs)
    assert not torch.isclose(kl_student_teacher(student, reference, mask).mean(), theirs)


def test_vadv2_undoes_the_order_of_its_anchors():
    policy = VADv2.example()
    context, candidates = driven(policy)
    table = policy.source.state(("pts_bbox_head.plan_anchors",))["pts_bbox_head.plan_anchors"]
    assert torch.equal(policy.table, table)
    # Another order of the same pass: the same ids with the same logits.
    policy.source.seed = policy.source._tapped.seed = 7
    again, shuffled = driven(policy)
    assert not torch.equal(context["ids"], again["ids"]) or torch.equal(candidates.log_probs, shuffled.log_probs)
    with torch.no_grad():
        first, second = (policy.logits(part) for part in (context, again))
    for state in range(5):
        one = dict(zip(context["ids"][state].tolist(), first[state].tolist(), strict=True))
        other = dict(zip(again["ids"][state].tolist(), second[state].tolist(), strict=True))
        assert one.keys() == other.keys()
        assert all(one[key] == pytest.approx(other[key], abs=1e-4) for key in one)
    assert policy.spec.support == "filtered"


def test_vadv2_reads_its_vocabulary_without_pickles(tmp_path):
    numpy = pytest.importorskip("numpy")
    numpy.save(tmp_path / "plans.npy", numpy.ones((40, 6, 2)))
    assert read_plans(tmp_path / "plans.npy").shape == (40, 6, 2)
    numpy.save(tmp_path / "objects.npy", numpy.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CraftError, match=r"no \.npy file of numbers"):
        read_plans(tmp_path / "objects.npy")


def test_orion_drives_its_mean_until_it_learns():
    policy = Orion.example()
    context, candidates = driven(policy)
    index, _ = policy.act(candidates, greedy=True)
    assert (index == 0).all()
    with torch.no_grad():
        policy.calibrate_temperature(context, 0.5)
        warm = policy.propose(context)
        # Move the mean onto sample 3 of every state.
        shift = context["samples"][:, 3] - context["law"][:, :4]
        policy.law = lambda context: context["law"] + torch.cat([shift, torch.zeros_like(shift)], -1)
        moved = policy.propose(context)
    assert warm.log_probs.exp().amax(1).mean() == pytest.approx(0.5, abs=0.01)
    assert (policy.act(moved, greedy=True)[0] == 3).all()


def test_sparsedrive_drives_the_first_velocity_bin_alone():
    # Bench2Drive's agent: the first half second of the profile is the desired speed.
    parameters = SparseDriveBench2Drive.card.tracker
    assert parameters.speed_window == 0.5
    fast_later = torch.zeros(40, 3)
    fast_later[:, 0] = torch.cumsum(torch.cat([torch.full((5,), 0.6), torch.full((35,), 1.5)]), 0)
    steady = torch.zeros(40, 3)
    steady[:, 0] = torch.cumsum(torch.full((40,), 0.6), 0)
    controls = []
    for plan in (fast_later, steady):
        tracker = Tracker(parameters)
        tracker.plan(plan.numpy(), (0.0, 0.0, 0.0))
        controls.append(tracker.control((0.0, 0.0, 0.0), 5.5))
    assert controls[0] == pytest.approx(controls[1])
    # 6 m/s wanted at 5.5: throttle, no brake; at 8 m/s brake, though the plan is faster later.
    assert controls[0][0] > 0
    tracker = Tracker(parameters)
    tracker.plan(fast_later.numpy(), (0.0, 0.0, 0.0))
    assert tracker.control((0.0, 0.0, 0.0), 8.0)[2] > 0


def test_sparsedrive_leaves_collisions_out_unless_all_collide():
    policy = SparseDriveBench2Drive.example()
    found = policy.features(observe(2))
    found["collision"][0] = 1.0
    found["collision"][1] = 0.0
    found["collision"][1, 4] = 1.0
    policy.features = lambda observation: found
    context, candidates = driven(policy, 2)
    assert context["mask"][0].all()
    assert context["mask"][1].sum() == 17
    assert not candidates.mask[1, 4]


def test_worlds_that_lack_cameras_are_refused_before_they_start():
    from craft_lightning.rollouts.datamodule import DrivingDataModule

    policy = SparseDriveNavsim.example()
    data = DrivingDataModule(transitions=2, worlds=2)
    data.trainer = SimpleNamespace(lightning_module=SimpleNamespace(adapter=policy))
    # The stand-in's inputs are made of what worlds give.
    assert data._live_policy() is policy
    policy.observation_inputs = {}
    with pytest.raises(CraftError, match=r"SparseDriveV2 \(NAVSIM\) needs camera \(camera_feature\.imgs") as caught:
        data._live_policy()
    assert "the observations lack camera_feature.imgs" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_behind_a_bridge_drives_and_learns_as_one_of_this_process():
    policy = DiffusionDrive.example()
    bridged = DiffusionDrive(modes=10, width=12)
    factory = "craft_lightning.testing.stand_ins.diffusiondrive:StandInDiffusionDrive"
    source = BridgedModel(sys.executable, factory, {"modes": 10, "width": 12})
    try:
        bridged.attach(source)
        bridged.observation_inputs = dict(policy.observation_inputs)
        # Weights are random over there: the head that was taken is that model's.
        state = source.state(("_trajectory_head.diff_decoder.layers.1.task_decoder.plan_cls_branch.",))
        for name, value in bridged.upstream_head().items():
            assert torch.equal(value, state[name])
        context, candidates = driven(bridged)
        joint = bridged.score(context, candidates).joint[candidates.mask]
        (joint * torch.linspace(-1, 1, len(joint))).sum().backward()
        assert all(parameter.grad is not None for parameter in bridged.parameters())
        # The same states again, in another order: a state's plans are its own.
        with torch.no_grad():
            swapped = bridged.encode(observe(5)[torch.tensor([4, 0])])
        assert torch.equal(swapped["plans"], context["plans"][[4, 0]])
    finally:
        source.close()

"""Policies that look through sensors, in worlds: fed, refused before a world starts, repeatable, stored small."""

import os
import signal
import socket
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from craft_lightning.adapters.camera_scorer import CameraScorer
from craft_lightning.adapters.transfuser import TransFuserPlusPlus

from craft_lightning.errors import CraftError, WorldError
from craft_lightning.policies.released.source import LocalModel
from craft_lightning.rigs import RIGS, read_rig
from craft_lightning.roads.towns import load_town
from craft_lightning.rollouts import pool as pools
from craft_lightning.rollouts.collect import Traffic, collect
from craft_lightning.rollouts.compact import packed, stack_packed, unpack_sensors, unpacked
from craft_lightning.rollouts.datamodule import DrivingDataModule
from craft_lightning.rollouts.demonstrations import Demonstrations, demonstrate
from craft_lightning.rollouts.pool import WorldPool, WorldProcess
from craft_lightning.rollouts.suites import load_suites
from craft_lightning.rollouts.worker import WorldOptions
from craft_lightning.testing.stand_ins.transfuser import StandInTransFuserPP
from craft_lightning.testing.tiny import TinyVocabularyPolicy

TRAFFIC = Traffic(vehicles=6, walkers=4)


@pytest.fixture(scope="module")
def suites():
    return load_suites(load_town("craftville"), "", "", 8, 4, 0)


@pytest.fixture(scope="module")
def policy():
    torch.manual_seed(0)
    return CameraScorer.example().set_trainable("decoder").eval()


@pytest.fixture(scope="module")
def pool(policy):
    with WorldPool(2, WorldOptions("craftville", rig=policy.rig), step_timeout=15.0) as pool:
        yield pool


class Fault:
    """Kills the server of world 0 after some decisions."""

    def __init__(self, pool):
        self.pool, self.calls = pool, 0

    def decision(self, events, done):
        self.calls += 1
        if self.calls == 9:
            os.kill(self.pool.worlds[0].server.pid, signal.SIGKILL)

    def record(self, record, advance):
        """Nothing to do."""


@pytest.mark.timeout(600)
def test_a_camera_policy_collects_the_same_whatever_happened_to_its_worlds(pool, policy, suites):
    quiet = collect(policy, pool, suites[0], TRAFFIC, 32, iteration=1, seed=3).transitions
    hurt = Fault(pool)
    again = collect(policy, pool, suites[0], TRAFFIC, 32, iteration=1, seed=3, progress=hurt).transitions
    assert hurt.calls >= 32
    assert pool.statistics.replaced == 1
    for name in ("tokens", "fine", "ego"):
        assert torch.equal(quiet.context[name], again.context[name])
    assert torch.equal(quiet.candidates.chosen, again.candidates.chosen)
    assert not torch.equal(quiet.context["tokens"][0], quiet.context["tokens"][5])
    # What is stored is far less than a picture of 128 x 64.
    stored = sum(value[0].numel() * value.element_size() for value in quiet.context.values())
    assert stored < 128 * 64 * 3


@pytest.mark.timeout(600)
def test_demonstrations_keep_pictures_without_loss_and_small(pool, suites, tmp_path):
    shown = demonstrate(pool, suites[0], TRAFFIC, 16, 1, 0.2, progress=False)
    assert sum(t.numel() * t.element_size() for n, t in shown.tensors.items() if "/bytes" in n) < 16 * 64 * 128 * 3 / 2
    shown.save(tmp_path / "d.safetensors", "key")
    read = Demonstrations.load(tmp_path / "d.safetensors", "key").batch(torch.tensor([3, 11])).observation
    live = shown.batch(torch.arange(16)).observation
    assert read.sensors["front"].shape == (2, 64, 128, 3)
    assert torch.equal(read.sensors["front"], live.sensors["front"][[3, 11]])
    assert live.sensors["front"].float().std() > 20.0


@pytest.mark.timeout(600)
def test_transfuser_drives_from_camera_and_lidar_to_the_end(suites):
    torch.manual_seed(1)
    policy = TransFuserPlusPlus(LocalModel(StandInTransFuserPP(12, 4)), width=12).eval()
    seen = []
    inner = policy.features
    policy.features = lambda observation: seen.append(policy._inputs(observation)) or inner(observation)
    data = DrivingDataModule(worlds=1, eval_limit=1, vehicles=4, walkers=2, progress=False, transitions=1)
    data.setup()
    try:
        [record] = data.drive(policy, "drive")
    finally:
        data.close()
    assert data.options.rig == RIGS["transfuser"]
    assert record["status"]
    assert record["route_completion"] > 1.0
    assert len(seen) > 3
    inputs = seen[-1]
    assert inputs["0"].shape == (1, 3, 256, 1024)
    assert inputs["1"].shape == (1, 1, 256, 256)
    assert 0.0 < float(inputs["1"].max()) <= 1.0
    assert [tuple(inputs[name].shape) for name in "234"] == [(1, 2), (1, 1), (1, 6)]


REFUSED = [
    ("windscreen", "data.rig: there is no layout of sensors called 'windscreen'"),
    ("front_camera@64x", "data.rig: 'front_camera@64x' asks for pictures of '64x'"),
    ([{"name": "front", "kind": "sonar"}], "data.rig: a sensor has the kind 'sonar'"),
    ([{"name": "front", "width": 0}], "data.rig: width of sensor 'front' is 0; give 1 to 8192"),
    ([{"name": "front", "fov": 90}], "data.rig: a sensor of the kind rgb has the unknown field fov; its fields are"),
    ([{"name": "front", "field_of_view": 200.0}], "field_of_view of sensor 'front' is 200.0; give 1 to 179"),
    ([{"name": "front"}], "which a data set's own calibration places, so no world can attach it"),
    ([{"kind": "lidar", "name": "x", "place": [0, 0, 2], "channels": 0}], "channels of sensor 'x' is 0"),
    ([{"name": "a b", "place": [0, 0, 2]}], "a sensor is called 'a b'"),
    (["front_camera", "front_camera"], "data.rig has several sensors called front"),
]


@pytest.mark.parametrize(("rig", "said"), REFUSED)
def test_rigs_that_cannot_be_are_refused_at_once(rig, said):
    with pytest.raises(CraftError) as error:
        DrivingDataModule(rig=rig)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rig", "said"),
    [
        ("bench2drive@128x64", "needs the rgb camera 'front' (128 x 64), and data.rig has CAM_FRONT, CAM_FRONT_LEFT"),
        ("front_camera", "that of data.rig has 256 x 144 pixels and not 128 x 64"),
        ([{"name": "front", "kind": "depth"}], "that of data.rig is of the kind depth and not rgb"),
        ([{"name": "front", "field_of_view": 70}], "that of data.rig has a field of view of 70 and not 90 degrees"),
        (
            [{"name": "front", "place": [1.4, 0, 1.6]}],
            "that of data.rig sits at 1.4, 0, 1.6 m and not at 0.8, 0, 1.6 m",
        ),
        ([{"name": "front", "yaw": 12.0}], "that of data.rig has a yaw of 12 and not 0 degrees"),
        ([{"name": "front", "kind": "lidar"}], "that of data.rig is of the kind lidar and not rgb"),
    ],
)
def test_a_rig_that_the_policy_does_not_know_is_refused_before_a_world_starts(policy, rig, said, monkeypatch):
    monkeypatch.setattr(WorldPool, "start", lambda self: pytest.fail("a world was started"))
    if isinstance(rig, list):
        usual = {"place": [0.8, 0.0, 1.6]}
        if rig[0].get("kind") != "lidar":
            usual |= {"width": 128, "height": 64, "field_of_view": 90}
        rig = [{**usual, **rig[0]}]
    data = DrivingDataModule(rig=rig, progress=False, eval_limit=1)
    data.setup()
    with pytest.raises(CraftError) as error:
        data.drive(policy, "drive")
    assert said in str(error.value)
    assert "leave data.rig empty to take CameraScorer's own rig, or correct that sensor" in str(error.value)


def test_worlds_take_the_policys_rig_and_keep_what_they_have_for_those_who_need_none(policy):
    data = DrivingDataModule(progress=False)
    data.equip(None)
    data.equip(TinyVocabularyPolicy())
    assert data.options.rig == ()
    data.equip(policy)
    assert data.options.rig == policy.rig
    data.equip(None)
    assert data.options.rig == policy.rig
    wide = DrivingDataModule(progress=False, rig=["front_camera@128x64", "bench2drive@128x64"])
    wide.equip(policy)
    assert len(wide.options.rig) == 7


@pytest.mark.parametrize(
    "array",
    [
        np.random.default_rng(0).integers(0, 255, (9, 7, 3)).astype(np.uint8),
        np.random.default_rng(1).integers(0, 28, (9, 7)).astype(np.uint8),
        np.random.default_rng(2).random((9, 7)).astype(np.float32),
        np.array(12, np.int64),
    ],
)
def test_packing_loses_nothing(array):
    found = unpacked(np.frombuffer(packed(array), np.uint8))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_a_damaged_picture_is_one_sentence():
    tensors = stack_packed([{"front": packed(np.zeros((8, 8, 3), np.uint8))}])
    tensors["sensors/front/bytes"][20:] = 0
    with pytest.raises(CraftError, match="a stored picture is damaged"):
        unpack_sensors(tensors, torch.tensor([0]))


def test_a_world_that_stops_in_the_middle_of_an_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(pools, "_STALL", 1)
    theirs = []
    pair = socket.socketpair

    def remembered():
        ours, other = pair()
        theirs.append(other.dup())
        return ours, other

    monkeypatch.setattr(pools.socket, "socketpair", remembered)
    process = SimpleNamespace(pid=1, poll=lambda: None)
    monkeypatch.setattr(pools.subprocess, "Popen", lambda *_, **__: process)
    world = WorldProcess(WorldOptions())
    theirs[0].sendall((1000).to_bytes(4, "big") + b"half an answer")
    with pytest.raises(WorldError, match="stopped in the middle of an answer"):
        world.receive()
    assert read_rig("") == ()

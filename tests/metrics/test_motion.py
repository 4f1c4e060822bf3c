import json

import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.metrics.motion import FIELDS, Motion, read_motion, read_motions, write_motion


def turning_left(count: int = 5) -> Motion:
    yaw = 0.1 * np.arange(count)
    return Motion.from_world(np.stack([yaw, 2 * yaw], 1), yaw, np.full(count, 0.2), np.tile([1.0, 0.5], (count, 1)))


def test_the_file_is_in_carlas_frame_and_units(tmp_path):
    write_motion(tmp_path / "route_1", turning_left())
    step = json.loads((tmp_path / "route_1" / "metric_info.json").read_text())["2"]
    assert tuple(step) == FIELDS
    # Left-handed: y flipped, left turns negative; degrees a second.
    assert step["location"] == [0.2, -0.4, 0.0]
    assert step["acceleration"] == [1.0, -0.5, 0.0]
    assert step["angular_velocity"] == pytest.approx([0.0, 0.0, -np.degrees(0.2)], abs=1e-6)
    assert step["rotation"] == pytest.approx([0.0, 0.0, -np.degrees(0.2)], abs=1e-6)
    assert step["forward_vector"] == pytest.approx([np.cos(0.2), -np.sin(0.2), 0.0], abs=1e-6)
    # CARLA's right of a heading of -11.5 degrees points to positive y.
    assert step["right_vector"] == pytest.approx([np.sin(0.2), np.cos(0.2), 0.0], abs=1e-6)


def test_what_is_written_is_read(tmp_path):
    motion = turning_left()
    write_motion(tmp_path / "a.json", motion)
    again = read_motion(tmp_path / "a.json")
    assert len(again) == 5
    for name in FIELDS:
        np.testing.assert_allclose(getattr(again, name), getattr(motion, name), atol=1e-6)
    write_motion(tmp_path / "empty", turning_left(0))
    assert len(read_motion(tmp_path / "empty")) == 0


def test_routes_without_a_file_are_none(tmp_path):
    write_motion(tmp_path / "b", turning_left())
    found = read_motions(tmp_path, ["a", "b", ""])
    assert [motion is None for motion in found] == [True, False, True]
    with pytest.raises(CraftError, match="--metric-info .*none"):
        read_motions(tmp_path / "none", ["a"])


def test_slopes_tilt_the_forward_vector():
    motion = Motion.from_world([[0.0, 0.0, 1.0]], [0.0], [0.0], [[0.0, 0.0]], pitch=[0.1], roll=[0.05])
    assert motion.forward_vector[0] == pytest.approx([np.cos(0.1), 0.0, np.sin(0.1)])
    assert motion.rotation[0] == pytest.approx(np.degrees([0.05, 0.1, 0.0]))


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("[]", "metric_info"),
        ('{"0": {"acceleration": [0, 0, 0]}}', "step 0 lacks the field angular_velocity"),
        (json.dumps({"0": {name: [0, 0] for name in FIELDS}}), "acceleration has shape"),
        (json.dumps({"0": dict.fromkeys(FIELDS, "x")}), "not three numbers"),
        (json.dumps({"0": {name: [0, 0, float("nan")] for name in FIELDS}}), "step 0 is not finite"),
        ('{"0": {"acceleration": [0,', "cut off"),
    ],
)
def test_broken_files_are_one_sentence(tmp_path, content, word):
    path = tmp_path / "metric_info.json"
    path.write_text(content)
    with pytest.raises(CraftError, match=word) as caught:
        read_motion(tmp_path)
    assert "metric_info.json" in str(caught.value)

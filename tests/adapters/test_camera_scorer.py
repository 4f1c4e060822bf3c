"""The camera scorer: what it looks at, where it looks, and what it refuses."""

import math

import pytest
import torch
from craft_lightning.adapters.camera_scorer import HEIGHTS, CameraScorer

from craft_lightning.errors import CraftError
from craft_lightning.policies.entries import seen_matrix
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.rig import Camera
from craft_lightning.rigs import read_rig
from craft_lightning.testing.subject import Subject


def point_on_the_road(x: float, y: float) -> torch.Tensor:
    """One entry that stays at a place."""
    return torch.tensor([x, y, 0.0]).expand(1, 8, 3).clone()


@pytest.mark.parametrize(("x", "y"), [(10.0, 0.0), (12.0, 3.0), (20.0, -8.0), (6.0, 1.0)])
def test_a_place_is_read_where_a_pinhole_camera_shows_it(x, y):
    camera = Camera("eye", (0.8, 0.0, 1.6), field_of_view=90.0)
    rows, columns = 36, 64
    weights = seen_matrix(point_on_the_road(x, y), [camera], (rows, columns), 1, 0.0)[0].view(rows, columns)
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-5)
    # f = half the width over the tangent of half the angle; left is a smaller column, below the eye a larger row.
    focal = columns / 2.0 / math.tan(math.radians(45.0))
    column = columns / 2.0 - focal * y / (x - 0.8) - 0.5
    row = rows / 2.0 + focal * 1.6 / (x - 0.8) - 0.5
    assert float((weights.sum(0) * torch.arange(columns)).sum()) == pytest.approx(column, abs=1e-3)
    assert float((weights.sum(1) * torch.arange(rows)).sum()) == pytest.approx(row, abs=1e-3)


def test_what_is_behind_or_beside_is_read_nowhere_and_by_the_camera_that_sees_it():
    eye, back = Camera("eye", (0.8, 0.0, 1.6), field_of_view=70.0), Camera("back", (-2.0, 0.0, 1.6), 180.0)
    back = Camera("back", back.place, 180.0, field_of_view=110.0)
    weights = seen_matrix(point_on_the_road(-15.0, 2.0), [eye, back], (18, 32), 1, 0.0)[0].view(2, 18, 32)
    assert float(weights[0].sum()) == 0.0
    assert float(weights[1].sum()) == pytest.approx(1.0, abs=1e-5)
    # Left of the car is on the right of a camera that looks back.
    assert float((weights[1].sum(0) * torch.arange(32)).sum()) > 16.0


def test_three_cameras_are_one_state():
    policy = CameraScorer(cameras="bench2drive_front@128x64", size=24, width=32, feedforward=32)
    policy.prepare(torch.from_numpy(sample_trajectories(600)).float())
    policy.eval()
    subject = Subject(policy, states=4)
    with torch.no_grad():
        whole = policy.encode(subject.observation())
        alone = policy.encode(subject.observation()[2:3])
    assert whole["tokens"].shape[1] == 3 * 8 * 4 + 1 + 5
    torch.testing.assert_close(whole["tokens"][2:3].float(), alone["tokens"].float(), atol=2e-3, rtol=0)
    assert policy.reader.places == 24 * len(HEIGHTS) * policy.path_samples


def test_only_the_pixels_where_an_entry_goes_and_the_tokens_say_something():
    """A policy that looks at the raster instead would not notice."""
    policy = CameraScorer.example().eval()
    seen = Subject(policy, states=3).observation()
    bare = seen.clone(recurse=False)
    bare.bev = torch.zeros_like(seen.bev)
    with torch.no_grad():
        assert torch.equal(policy.logits(policy.encode(seen)), policy.logits(policy.encode(bare)))


@pytest.mark.parametrize(
    ("cameras", "said"),
    [
        ("windscreen", "cameras: there is no layout of sensors called 'windscreen'; choose front_camera"),
        ("transfuser", "cameras of CameraScorer is rgb camera 'rgb' (1024 x 256), lidar 'lidar'; give RGB cameras"),
        ("", "cameras of CameraScorer is nothing"),
        ("front_camera@250x144", "pictures of 250 x 144 cannot be divided"),
        ([{"name": "eye", "place": [0, 0, 2]}], "which a data set's own calibration places"),
        (["front_camera", {"name": "side", "place": [0, 0, 2], "field_of_view": 70, "width": 128}], "of one size"),
    ],
)
def test_cameras_that_it_cannot_use_are_refused(cameras, said):
    with pytest.raises(CraftError) as error:
        CameraScorer(cameras=cameras, size=8)
    assert said in str(error.value)


def test_observations_of_other_pictures_are_refused():
    policy = CameraScorer.example().eval()
    seen = Subject(policy, states=3).observation()
    seen.sensors["front"] = seen.sensors["front"][:, ::2]
    with pytest.raises(CraftError, match=r"observation\.sensors\['front'\] is torch\.uint8 \(3, 32, 128, 3\)"):
        policy.encode(seen)
    assert policy.rig == read_rig("front_camera@128x64")

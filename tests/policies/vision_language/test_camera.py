"""A vision-language policy that looks through a camera in place of the raster."""

import pytest
import torch
from craft_lightning.adapters.vision_language import VisionLanguagePlanner

from craft_lightning.errors import CraftError
from craft_lightning.policies.sampling import sample_trajectories
from craft_lightning.rigs import RIGS
from craft_lightning.testing.subject import Subject

SMALL = {"width": 64, "layers": 2, "vision_width": 32, "vision_layers": 1}


def test_the_whole_picture_is_shown_and_the_raster_is_not():
    policy = VisionLanguagePlanner(camera="front_camera", **SMALL)
    policy.prepare(torch.from_numpy(sample_trajectories(400)).float())
    assert policy.rig == RIGS["front_camera"]
    seen = Subject(policy, states=2).observation()
    seen.sensors["front"][:] = 0
    dark = policy.trunk.inputs(seen)["pixel_values"]
    for rows, columns in ((slice(0, 30), slice(0, 40)), (slice(110, 144), slice(210, 256))):
        lit = seen.clone()
        lit.sensors["front"][:, rows, columns] = 255
        assert (policy.trunk.inputs(lit)["pixel_values"] - dark).abs().max() > 1.0
    lit = seen.clone()
    lit.bev[:] = 255 - lit.bev
    assert torch.equal(policy.trunk.inputs(lit)["pixel_values"], dark)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"camera": "bench2drive"}, "give a layout of one RGB camera"),
        ({"camera": "windscreen"}, "camera: there is no layout of sensors called 'windscreen'"),
        ({"camera": "front_camera", "architecture": "internvl"}, "does not fit the small internvl"),
    ],
)
def test_cameras_that_do_not_fit_are_refused(arguments, said):
    with pytest.raises(CraftError, match=said):
        VisionLanguagePlanner(**arguments, **SMALL)

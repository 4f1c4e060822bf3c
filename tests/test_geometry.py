import math

import pytest
import torch

from craft_lightning import geometry
from craft_lightning.errors import CraftError


def test_wrap_angle():
    angles = torch.tensor([0.0, math.pi + 0.1, -math.pi - 0.1, 7 * math.pi + 0.2], dtype=torch.float64)
    expected = [0.0, 0.1 - math.pi, math.pi - 0.1, 0.2 - math.pi]
    assert geometry.wrap_angle(angles).tolist() == pytest.approx(expected)


def test_frames_are_inverse():
    generator = torch.Generator().manual_seed(0)
    poses = torch.randn(5, 7, 3, generator=generator, dtype=torch.float64)
    origin = torch.randn(5, 1, 3, generator=generator, dtype=torch.float64)
    assert torch.allclose(geometry.to_local(geometry.to_world(poses, origin), origin), poses)
    there = geometry.to_world(torch.tensor([1.0, 0.0, 0.1]), torch.tensor([2.0, 3.0, math.pi / 2]))
    assert there.tolist() == pytest.approx([2.0, 4.0, math.pi / 2 + 0.1], abs=1e-6)


def test_arc_length():
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [3.0, 6.0]])
    assert geometry.arc_length(points).tolist() == [0.0, 5.0, 5.0, 7.0]


def test_projection():
    line = torch.tensor([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    points = torch.tensor([[4.0, 1.0], [4.0, -2.0], [11.0, 5.0], [-1.0, 0.0], [9.0, 5.0]])
    arc, offset = geometry.project_on_polyline(points, line)
    assert arc.tolist() == pytest.approx([4.0, 4.0, 15.0, 0.0, 15.0])
    assert offset.tolist() == pytest.approx([1.0, -2.0, -1.0, 1.0, 1.0])
    with pytest.raises(CraftError, match="two points"):
        geometry.project_on_polyline(points, line[:1])


def test_corners():
    corners = geometry.box_corners(torch.tensor([1.0, 2.0, math.pi / 2, 4.0, 2.0]))
    assert corners.flatten().tolist() == pytest.approx([0.0, 4.0, 0.0, 0.0, 2.0, 0.0, 2.0, 4.0], abs=1e-6)


def test_overlap_broadcasts():
    boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 2.0], [3.9, 0.0, 0.0, 4.0, 2.0], [4.1, 0.0, 0.0, 4.0, 2.0]])
    expected = [[True, True, False], [True, True, True], [False, True, True]]
    assert geometry.boxes_overlap(boxes[:, None], boxes[None]).tolist() == expected

"""The separating axis against shapely on ten thousand random pairs, in both implementations."""

import numpy as np
import shapely
import torch

from craft_lightning.counterfactual.boxes import boxes_overlap as scalar_overlap
from craft_lightning.counterfactual.boxes import crosses_line, distance_before_line
from craft_lightning.geometry import box_corners, boxes_overlap


def test_overlap_agrees_with_shapely():
    rng = np.random.default_rng(7)
    count = 10_000
    boxes = torch.from_numpy(
        np.stack(
            [
                rng.uniform(-4, 4, (2, count)),
                rng.uniform(-4, 4, (2, count)),
                rng.uniform(-np.pi, np.pi, (2, count)),
                rng.uniform(0.3, 6, (2, count)),
                rng.uniform(0.3, 3, (2, count)),
            ],
            -1,
        )
    )
    polygons = [shapely.polygons(box_corners(side).numpy()) for side in boxes]
    area = shapely.area(shapely.intersection(*polygons))
    distance = shapely.distance(*polygons)
    expected = shapely.intersects(*polygons)
    # Where the boxes hardly touch, rounding decides.
    clear = (area > 1e-9) | (distance > 1e-9)
    assert clear.sum() > 9_990
    assert 0.2 < expected.mean() < 0.9
    found = boxes_overlap(boxes[0], boxes[1]).numpy()
    assert (found == expected)[clear].all()

    def parts(box):
        x, y, yaw, length, width = box.tolist()
        return x, y, np.cos(yaw), np.sin(yaw), length / 2, width / 2

    for i in range(0, count, 5):
        if clear[i]:
            assert scalar_overlap(*parts(boxes[0, i]), *parts(boxes[1, i])) == expected[i]


def test_lines_agree_with_shapely():
    rng = np.random.default_rng(3)
    points = rng.uniform(-3, 3, (3_000, 4, 2))
    steps, lines = shapely.linestrings(points[:, :2]), shapely.linestrings(points[:, 2:])
    expected = shapely.intersects(steps, lines)
    assert 0.1 < expected.mean() < 0.9
    for i in range(len(points)):
        assert crosses_line(*points[i].ravel()) == expected[i]


def test_of_two_steps_that_meet_on_the_line_one_crosses():
    line = (1.0, -1.0, 1.0, 1.0)
    assert [crosses_line(0.0, 0.0, 1.0, 0.0, *line), crosses_line(1.0, 0.0, 2.0, 0.0, *line)].count(True) == 1


def test_distance_before_a_line():
    line = (5.0, -1.0, 5.0, 1.0)
    assert distance_before_line(2.0, 0.5, 1.0, 0.0, *line) == 3.0
    assert distance_before_line(7.0, 0.0, 1.0, 0.0, *line) == -2.0
    assert distance_before_line(2.0, 1.5, 1.0, 0.0, *line) == 1e9
    assert distance_before_line(2.0, 0.0, 0.0, 1.0, *line) == 1e9

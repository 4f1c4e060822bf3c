import dataclasses
import math

import numpy as np
import pytest

from craft_lightning.simulation.progress import RouteProgress


def test_projection_and_signed_offset(straight_route):
    progress = RouteProgress(straight_route)
    progress.update(20.3, -0.75)
    assert progress.s == pytest.approx(20.3)
    assert progress.offset == pytest.approx(1.0)  # left of the route
    assert progress.distance == pytest.approx(1.0)


def test_completion_needs_arrival(straight_route):
    progress = RouteProgress(straight_route)
    for x in np.arange(0.0, 197.9, 0.5):
        progress.update(x, -1.75)
    assert progress.completed_index == 197
    assert progress.completion == pytest.approx(98.5)
    assert not progress.arrived
    for x in np.arange(198.0, 200.0, 0.5):
        progress.update(x, -1.75)
    assert progress.arrived
    assert progress.completion == 100.0


def test_completion_does_not_sweep(straight_route):
    progress = RouteProgress(straight_route)
    progress.update(0.0, 0.0)
    progress.update(150.0, 0.0)  # set there by hand: two waypoints a tick at most
    assert progress.completed_index == 2


def test_a_loop_does_not_jump(straight_route):
    """A route that returns beside its own start after 40 m: the projection stays on the first leg."""
    angles = np.linspace(0, 2 * math.pi, 200, endpoint=False)
    xy = np.stack([30 * np.sin(angles), 30 - 30 * np.cos(angles)], -1)
    xy = np.concatenate([xy, xy[:5]])
    s = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(xy, axis=0).T))])
    heading = np.concatenate([angles, angles[:5]])
    progress = RouteProgress(dataclasses.replace(straight_route, xy=xy, heading=heading, s=s, length=s[-1]))
    progress.update(0.0, 0.0)
    assert progress.s < 1.0
    for angle in angles[::2]:
        progress.update(30 * math.sin(angle), 30 - 30 * math.cos(angle))
    assert progress.s == pytest.approx(30 * angles[198], abs=1.0)


def test_ahead_extends_straight(straight_route):
    progress = RouteProgress(straight_route)
    progress.update(1.0, -1.75)
    points = progress.ahead(np.array([-5.0, 0.0, 250.0]))
    np.testing.assert_allclose(points, [[-4.0, -1.75], [1.0, -1.75], [251.0, -1.75]])

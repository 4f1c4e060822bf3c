import math

import numpy as np
import pytest

from craft_lightning.roads.towns.curves import Curve, advance, connect, through

BENT = Curve((1.0, 2.0, 0.3), ((10.0, 0.0), (20.0, 0.05), (15.0, -0.02), (5.0, 0.0)))


def wrapped(angle):
    return (angle + math.pi) % (2.0 * math.pi) - math.pi


def test_a_quarter_of_a_circle():
    assert advance((0.0, 0.0, 0.0), 0.5 * math.pi * 10.0, 0.1) == pytest.approx((10.0, 10.0, 0.5 * math.pi))
    assert advance((0.0, 0.0, 0.0), 0.5 * math.pi * 10.0, -0.1) == pytest.approx((10.0, -10.0, -0.5 * math.pi))


def test_places_along_a_curve():
    assert BENT.length == 50.0
    assert BENT.pose(0.0) == BENT.start
    assert BENT.pose(50.0) == pytest.approx(BENT.starts()[-1])
    assert BENT.pose(30.0) == pytest.approx(BENT.starts()[2])
    assert BENT.pose(60.0) == pytest.approx(advance(BENT.starts()[-1], 10.0, 0.0))


def test_a_parallel_keeps_its_distance():
    beside = BENT.parallel(3.0)
    for here, there in zip(BENT.starts(), beside.starts(), strict=True):
        assert math.dist(here[:2], there[:2]) == pytest.approx(3.0)
        assert here[2] == pytest.approx(there[2])
    assert beside.pieces[1][0] == pytest.approx(20.0 * (1.0 - 0.05 * 3.0)), "a left bend is shorter on its left"


def test_backwards_runs_through_the_same_places():
    back = BENT.backwards()
    for s in np.linspace(0.0, 50.0, 11):
        here, there = BENT.pose(s), back.pose(50.0 - s)
        assert here[:2] == pytest.approx(there[:2])
        assert abs(wrapped(here[2] - there[2])) == pytest.approx(math.pi)


def test_points_lie_on_the_curve():
    points = BENT.points(2.0)
    assert points[0] == pytest.approx(BENT.start[:2])
    assert points[-1] == pytest.approx(BENT.starts()[-1][:2])
    gaps = np.hypot(*np.diff(points, axis=0).T)
    assert gaps[0] == pytest.approx(10.0), "a line needs no points between its ends"
    assert gaps[1:-1].max() <= 2.0


def test_corners_are_rounded():
    curve = through([(0.0, 0.0), (100.0, 0.0), (100.0, 80.0)], 30.0)
    assert curve.starts()[-1] == pytest.approx((100.0, 80.0, 0.5 * math.pi))
    assert [length for length, _ in curve.pieces] == pytest.approx([70.0, 15.0 * math.pi, 50.0])
    assert curve.pieces[1][1] == pytest.approx(1.0 / 30.0)


def test_corners_that_are_too_close_get_smaller_bends():
    curve = through([(0.0, 0.0), (100.0, 0.0), (100.0, 20.0), (200.0, 20.0)], 40.0)
    assert curve.starts()[-1] == pytest.approx((200.0, 20.0, 0.0), abs=1e-9)
    bends = [1.0 / k for _, k in curve.pieces if k]
    assert bends == pytest.approx([10.0, -10.0])


@pytest.mark.parametrize(
    ("end", "kinds"),
    [
        ((20.0, 0.0, 0.0), "line"),
        ((15.0, 15.0, 0.5 * math.pi), "arc"),
        ((25.0, -15.0, -0.5 * math.pi), "line arc"),
        ((15.0, 30.0, 0.5 * math.pi), "arc line"),
        ((45.0, -3.5, 0.0), "arc arc"),  # one lane to the right
        ((0.0, 10.0, math.pi), "arc"),  # a turn on the spot; its second arc is nothing
        ((40.0, 10.0, -0.2), "arc arc"),
    ],
)
def test_connections_are_smooth(end, kinds):
    start = (0.0, 0.0, 0.0)
    curve = connect(start, end)
    x, y, heading = curve.starts()[-1]
    assert (x, y) == pytest.approx(end[:2], abs=1e-6)
    assert wrapped(heading - end[2]) == pytest.approx(0.0, abs=1e-6)
    found = ["arc" if k else "line" for _, k in curve.pieces]
    merged = [kind for number, kind in enumerate(found) if kinds != "arc" or number == 0]
    assert " ".join(merged) == kinds


def test_connections_turn_with_the_place_they_are_at():
    turn, shift = 2.1, (7.0, -4.0)

    def moved(x, y, heading):
        cos, sin = math.cos(turn), math.sin(turn)
        return shift[0] + cos * x - sin * y, shift[1] + sin * x + cos * y, heading + turn

    plain, other = connect((0.0, 0.0, 0.0), (40.0, 10.0, -0.2)), connect(moved(0.0, 0.0, 0.0), moved(40.0, 10.0, -0.2))
    assert np.allclose(plain.pieces, other.pieces)

import numpy as np
import pytest
import shapely

from craft_lightning.conventions import BEV_CELLS, BEV_METRES_AHEAD, BEV_METRES_PER_CELL
from craft_lightning.roads.area import AreaPainter
from craft_lightning.roads.grid import RoadGrid
from craft_lightning.roads.kinds import DRIVING, SHOULDER
from craft_lightning.roads.raster import StaticRaster


def test_distances_of_a_straight_road_are_exact(make_network):
    # Drivable from y = -7 to 3.5, x = 0 to 100.
    grid = RoadGrid.from_network(make_network(right=2))
    x = np.full(9, 50.0)
    y = np.array([-30.0, -12.0, -7.5, -7.0, -6.5, -3.0, 3.0, 4.0, 30.0])
    expected = np.array([-10.0, -5.0, -0.5, 0.0, 0.5, 4.0, 0.5, -0.5, -10.0])
    assert grid.distance(x, y) == pytest.approx(expected, abs=0.06)
    assert grid.distance(-3.0, -1.0) == pytest.approx(-3.0, abs=0.06)
    assert grid.distance(1e6, 0.0) == -10.0
    assert grid.sdf.dtype == np.float32
    assert grid.nearest.dtype == np.int32


def test_cells_know_their_nearest_lane(make_network):
    network = make_network(right=2, shoulder=1.0)
    grid = RoadGrid.from_network(network)
    lanes = network.lane_id[grid.lane(np.full(5, 50.0), np.array([1.5, -1.5, -5.0, -6.6, -7.6]))]
    assert lanes.tolist() == [1, -1, -2, -2, -3], "a narrow shoulder takes nothing from the lane beside it"
    assert grid.lane(50.0, 40.0) == -1
    segment = grid.nearest[grid.cell(30.0, 1.75)]
    x0, y0, cos, sin = grid.segments[segment]
    assert (x0 + grid.origin[0], y0 + grid.origin[1]) == pytest.approx((30.5, 1.75), abs=0.6)
    assert (cos, sin) == pytest.approx((-1.0, 0.0), abs=1e-3)
    assert grid.lane_kind[grid.segment_lane[segment]] == DRIVING


def test_distances_agree_with_shapely(network, grid):
    painter = AreaPainter(network)
    rng = np.random.default_rng(1)
    area = shapely.union_all(shapely.make_valid(shapely.polygons(painter._quads)))
    holes = [shapely.make_valid(shapely.Polygon(hole)) for hole in painter._holes]
    # Slits of a few centimetres between lanes are no edges.
    area = shapely.union_all([area, *holes]).buffer(0.08).buffer(-0.08)
    point = rng.integers(0, len(network.x), 800)
    xy = np.stack([network.x[point], network.y[point]], axis=1) + rng.uniform(-6, 6, (800, 2))
    points = shapely.points(xy)
    truth = shapely.distance(area.boundary, points) * np.where(shapely.contains(area, points), 1.0, -1.0)
    # Half way between two edges the distance has a ridge, which a grid of 0.5 m rounds off.
    near = np.abs(truth) < 1.3
    assert near.sum() > 150
    error = (grid.distance(xy[:, 0], xy[:, 1]) - truth)[near]
    assert abs(np.median(error)) < 0.02
    assert np.percentile(np.abs(error), 98) < 0.1


def test_the_way_through_a_junction_is_drivable(network, grid):
    driving = network.lane_kind[network.point_lane] == DRIVING
    assert grid.distance(network.x[driving], network.y[driving]).min() > 1.4
    lane = network.point_lane
    middles = network.lane_junction[lane] & driving & (network.s > 1.0) & (network.s < network.lane_length[lane] - 1.0)
    assert (grid.lane_junction[grid.lane(network.x[middles], network.y[middles])] == 1).all()


def test_the_nearest_lane_is_the_lane_itself_on_open_roads(network, grid):
    lane = network.point_lane
    inner = (network.lane_kind[lane] == DRIVING) & ~network.lane_junction[lane]
    inner &= (network.s > 1.0) & (network.s < network.lane_length[lane] - 1.0)
    assert (grid.lane(network.x[inner], network.y[inner]) == lane[inner]).all()


def test_the_grid_is_cached(network, grid, monkeypatch):
    import craft_lightning.roads.grid as module

    def refuse(*_):
        raise AssertionError("the grid was built again")

    monkeypatch.setattr(module, "build_arrays", refuse)
    assert np.array_equal(RoadGrid.from_network(network).sdf, grid.sdf)
    with pytest.raises(AssertionError):
        RoadGrid.from_network(network, resolution=1.0)


def test_shoulders_are_drivable_and_sidewalks_are_not(make_network, network, grid):
    with_shoulder = RoadGrid.from_network(make_network(right=1, shoulder=2.0))
    assert with_shoulder.distance(50.0, -4.5) == pytest.approx(1.0, abs=0.06)
    assert (with_shoulder.lane_kind == SHOULDER).sum() == 1
    sidewalk = (network.lane_kind[network.point_lane] == 0) & ~network.lane_junction[network.point_lane]
    assert sidewalk.any()
    assert grid.distance(network.x[sidewalk], network.y[sidewalk]).max() < 0.0


def test_a_crop_shows_ahead_up_and_left_left(make_network):
    network = make_network(right=2)
    raster = StaticRaster.from_network(network)
    # On the right-hand lane, driving east: 8.75 m of road to the left edge, 1.75 m to the right one.
    view = raster.crop(50.0, -5.25, 0.0)
    assert view.shape == (2, BEV_CELLS, BEV_CELLS)
    assert view.dtype == np.uint8
    assert set(np.unique(view)) == {0, 255}
    row = int((BEV_METRES_AHEAD - 5.0) / BEV_METRES_PER_CELL)
    columns = np.flatnonzero(view[0, row])
    left = (BEV_CELLS / 2 - columns.min()) * BEV_METRES_PER_CELL
    right = (columns.max() + 1 - BEV_CELLS / 2) * BEV_METRES_PER_CELL
    assert (left, right) == (pytest.approx(8.75, abs=0.6), pytest.approx(1.75, abs=0.6))
    # Turned by 90 degrees to the left, the road runs across the view and ends 8.75 m ahead.
    north = raster.crop(50.0, -5.25, np.pi / 2)
    rows = np.flatnonzero(north[0, :, BEV_CELLS // 2])
    assert BEV_METRES_AHEAD - rows.min() * BEV_METRES_PER_CELL == pytest.approx(8.75, abs=0.6)
    # The end of the road lies 20 m ahead.
    ending = raster.crop(80.0, -5.25, 0.0)
    rows = np.flatnonzero(ending[0, :, BEV_CELLS // 2])
    assert BEV_METRES_AHEAD - rows.min() * BEV_METRES_PER_CELL == pytest.approx(20.0, abs=0.6)


def test_markings_lie_on_lane_edges(make_network):
    network = make_network(right=2)
    heights = {round(float(y), 2) for y in network.marking_xy[:, 1]}
    assert heights == {0.0, 3.5, -3.5, -7.0}
    raster = StaticRaster.from_network(network)
    column = raster.lane_marking[:, int((50.0 - raster.origin[0]) / raster.resolution)]
    found = raster.origin[1] + raster.resolution * np.flatnonzero(column)
    assert found == pytest.approx([-7.0, -3.5, 0.0, 3.5], abs=0.51)

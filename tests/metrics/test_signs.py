import dataclasses

import numpy as np
import pytest

from craft_lightning.errors import CraftError
from craft_lightning.metrics.records import RouteRecord
from craft_lightning.metrics.signs import judge_signs, route_sign_percent
from craft_lightning.roads.routes import read_routes
from craft_lightning.roads.routing import RoutePlanner
from craft_lightning.roads.towns import load_town, suite_path


@pytest.fixture(scope="module")
def suite():
    return [
        dataclasses.replace(
            route, scenarios=(dataclasses.replace(route.scenarios[0], type="VanillaNonSignalizedTurn"),)
        )
        for route in read_routes(suite_path("craftville_eval"))
        if route.scenarios
    ][:3]


def record(route, completion: float) -> RouteRecord:
    return RouteRecord(
        route_id=route.id,
        status="Failed",
        route_completion=completion,
        scenario="VanillaNonSignalizedTurn",
        town=route.town,
    )


def test_a_built_in_towns_map_decides(suite):
    network = load_town("craftville").network
    planner = RoutePlanner(network)
    for route in suite:
        planned = planner.plan_route(route)
        inside = np.asarray(network.lane_junction)[planned.lane].astype(bool)
        percent = route_sign_percent(planned, network, route.waypoints)
        first = 100.0 * float(planned.s[int(np.argmax(inside))]) / planned.length
        assert first < percent < first + 12.0  # 8 points and the first one, of about 200
        report = judge_signs([record(route, percent - 1.0), record(route, percent + 1.0)], suite)
        assert not report.estimated
        assert [answer.passed for answer in report.passed] == [False, True]
        assert all(answer.certain for answer in report.passed)


def test_without_a_map_it_is_estimated_and_said(suite):
    away = [dataclasses.replace(suite[0], town="Town99")]
    item = dataclasses.replace(record(away[0], 50.0), town="Town99")
    report = judge_signs([item], away)
    assert report.estimated == (item.route_id,)
    assert report.missing_maps == ("Town99",)
    assert judge_signs([item]).estimated == (item.route_id,)
    assert judge_signs([dataclasses.replace(item, sign_percent=40.0)]).estimated == ()


def test_finished_routes_need_no_map(suite):
    done = dataclasses.replace(record(suite[0], 100.0), status="Completed", town="Town99")
    assert judge_signs([done, dataclasses.replace(done, red_light=1)]).estimated == ()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(CraftError, match="--maps .*none is no folder"):
        judge_signs([], maps=tmp_path / "none")


@pytest.mark.parametrize(("town", "route"), [("Town02", "28048")])
def test_a_published_town_decides(shared_data, town, route):
    routes = [item for item in read_routes(shared_data / "routes/bench2drive220.xml") if item.id == route]
    item = RouteRecord(
        route_id=f"RouteScenario_{route}_rep0", status="Failed", route_completion=50.0, scenario="T_Junction", town=town
    )
    report = judge_signs([item], routes, shared_data / "maps")
    assert report.estimated == ()
    assert report.passed[0].passed

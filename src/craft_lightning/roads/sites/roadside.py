"""Where something stands in or beside the lane: obstacles, doors, cyclists, parked cars that pull out, people."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from craft_lightning.roads.sites.base import Finder
from craft_lightning.roads.sites.places import (
    PlaceFinder,
    Room,
    finder_table,
    has_left,
    has_parking,
    is_outer,
    two_way,
)

_TOWN = 17.0  # m/s; nobody parks or crosses on faster roads
_BLOCKERS = (
    "static.prop.vendingmachine",
    "static.prop.advertisement",
    "static.prop.busstoplb",
    "static.prop.container",
)


def _beside(rng: np.random.Generator, distance: float) -> Mapping[str, Any]:
    return {"distance": distance, "direction": "right", "speed": float(rng.integers(40, 60))}


def _against(rng: np.random.Generator, distance: float) -> Mapping[str, Any]:
    low, high = float(rng.integers(30, 71)), float(rng.integers(105, 201))
    return {"distance": distance, "frequency": {"from": low, "to": high}}


def _door(rng: np.random.Generator, distance: float) -> Mapping[str, Any]:
    low, high = float(rng.integers(30, 41)), float(rng.integers(85, 101))
    return {"distance": distance, "frequency": {"from": low, "to": high}}


def _cyclists(rng: np.random.Generator, distance: float) -> Mapping[str, Any]:
    ride, pace = float(rng.integers(40, 102)), float(rng.integers(6, 13))
    return {
        "distance": distance,
        "speed": float(rng.integers(32, 60)),
        "bicycle_drive_distance": ride,
        "bicycle_speed": pace,
    }


def _cyclists_against(rng: np.random.Generator, distance: float) -> Mapping[str, Any]:
    return {
        "distance": distance,
        "frequency": float(rng.integers(75, 101)),
        "bicycle_drive_distance": float(rng.integers(80, 117)),
        "bicycle_speed": float(rng.integers(7, 12)),
    }


def _crossing(rng: np.random.Generator, distance: float) -> Mapping[str, Any]:
    return {
        "distance": distance,
        "direction": "right" if rng.random() < 0.8 else "left",
        "blocker_model": str(rng.choice(_BLOCKERS)),
        "crossing_angle": float(rng.integers(0, 13)),
    }


def _parked_crossing(rng: np.random.Generator, distance: float) -> Mapping[str, Any]:
    return {"distance": distance, "direction": "right", "crossing_angle": float(rng.integers(0, 13))}


def _row(rng: np.random.Generator, distance: float) -> Mapping[str, Any]:
    del rng
    return {"distance": distance, "direction": "right"}


def _right(rng: np.random.Generator, distance: float) -> Mapping[str, Any]:
    del rng, distance
    return {"direction": "right"}


def _nothing(rng: np.random.Generator, distance: float) -> Mapping[str, Any]:
    del rng, distance
    return {}


def _exit(rng: np.random.Generator, distance: float) -> Mapping[str, Any]:
    del distance
    gap = float(rng.integers(9, 12))
    return {"direction": "right", "front_vehicle_distance": gap, "behind_vehicle_distance": 9.0}


_OBSTACLE = (40.0, 45.0)
_ONE_WAY = Room(20.0, 55.0, _OBSTACLE, beside=has_left)
_TWO_WAY = Room(15.0, 42.0, _OBSTACLE, beside=two_way)

FINDERS: dict[str, Finder] = finder_table(
    *(PlaceFinder(kind, _ONE_WAY, _beside) for kind in ("Accident", "ConstructionObstacle", "ParkedObstacle")),
    *(
        PlaceFinder(kind, _TWO_WAY, _against)
        for kind in ("AccidentTwoWays", "ConstructionObstacleTwoWays", "ParkedObstacleTwoWays")
    ),
    PlaceFinder("VehicleOpensDoorTwoWays", Room(15.0, 25.0, (37.0, 59.0), beside=two_way, top_speed=_TOWN), _door),
    PlaceFinder("HazardAtSideLane", Room(20.0, 60.0, (40.0, 45.0), beside=has_left), _cyclists),
    PlaceFinder("HazardAtSideLaneTwoWays", Room(10.0, 50.0, (40.0, 45.0), beside=two_way), _cyclists_against),
    PlaceFinder("DynamicObjectCrossing", Room(14.0, 8.0, (36.0, 46.0), top_speed=_TOWN), _crossing),
    PlaceFinder(
        "ParkingCrossingPedestrian", Room(14.0, 8.0, (36.0, 45.0), beside=is_outer, top_speed=_TOWN), _parked_crossing
    ),
    PlaceFinder("ParkingCutIn", Room(18.0, 30.0, (30.0, 30.0), beside=is_outer, top_speed=_TOWN), _right),
    PlaceFinder("StaticCutIn", Room(27.0, 30.0, (40.0, 45.0)), _row),
    PlaceFinder("ParkingExit", Room(14.0, 40.0, (0.0, 0.0), run_up=2.0, beside=has_parking, top_speed=_TOWN), _exit),
    PlaceFinder("HardBreakRoute", Room(5.0, 30.0, (0.0, 0.0), run_up=75.0, straight=False), _nothing),
    PlaceFinder("ControlLoss", Room(2.0, 45.0, (0.0, 0.0), run_up=55.0, straight=False), _nothing),
)

"""Meshes of vehicles by the size and kind of their blueprints: bodies with windows, wheels and lamps."""

import math

from craft_lightning.simulation.embedded.rendering.materials import (
    BEACON,
    BLINK_LEFT,
    BLINK_RIGHT,
    BODY,
    GLASS,
    HEAD_LAMP,
    LOWER,
    METAL,
    SKIN,
    TAG_BICYCLE,
    TAG_BUS,
    TAG_CAR,
    TAG_MOTORCYCLE,
    TAG_RIDER,
    TAG_TRUCK,
    TAIL_LAMP,
    TRIM,
    TYRE,
    UPPER,
    WHITE,
)
from craft_lightning.simulation.embedded.rendering.solids import Mesh, block, frustum, join, plate, prism, wheel


def vehicle_mesh(extent: tuple[float, float, float], wheelbase: float, base: str, special: str) -> Mesh:
    """Return the mesh of a vehicle.

    Args:
        extent: half length, half width, half height [m]; the origin is on the ground under the middle.
        wheelbase: metres between the axles.
        base: ``base_type`` of its blueprint: car, van, truck, bus, motorcycle or bicycle.
        special: ``special_type``: emergency vehicles carry a beacon, taxis a sign.

    """
    if base in ("motorcycle", "bicycle"):
        return _cycle(extent, wheelbase, base == "motorcycle")
    tag = {"truck": TAG_TRUCK, "van": TAG_TRUCK, "bus": TAG_BUS}.get(base, TAG_CAR)
    parts = [_car(extent, tag) if base == "car" else _box_van(extent, tag, base)]
    parts += _wheels(extent, wheelbase, tag, 0.33 if base in ("car", "van") else 0.46)
    parts += _lamps(extent, tag, 0.5 if base == "car" else 0.32)
    top = 2.0 * extent[2]
    if special == "emergency":
        x = 0.0 if base == "car" else 0.6 * extent[0]
        parts.append(block((x - 0.15, -0.55, top), (x + 0.15, 0.55, top + 0.12), BEACON, tag))
    if special == "taxi":
        parts.append(block((-0.15, -0.3, top), (0.1, 0.3, top + 0.14), WHITE, tag))
    return join(parts)


def _car(extent: tuple[float, float, float], tag: int) -> Mesh:
    """Return a bonnet, a boot and a glazed cabin."""
    half, wide, tall = extent[0], extent[1], 2.0 * extent[2]
    outline = [
        (-half, 0.20 * tall),
        (half, 0.20 * tall),
        (half, 0.42 * tall),
        (0.94 * half, 0.50 * tall),
        (0.30 * half, 0.61 * tall),
        (-0.95 * half, 0.63 * tall),
        (-half, 0.58 * tall),
    ]
    belt = 0.61 * tall
    cabin = frustum(
        (-0.88 * half, 0.42 * half),
        (-0.93 * wide, 0.93 * wide),
        (-0.58 * half, 0.08 * half),
        (-0.70 * wide, 0.70 * wide),
        belt,
        0.985 * tall,
        BODY,
        tag,
        sides=GLASS,
        ends=GLASS,
    )
    roof = frustum(
        (-0.59 * half, 0.09 * half),
        (-0.71 * wide, 0.71 * wide),
        (-0.56 * half, 0.05 * half),
        (-0.66 * wide, 0.66 * wide),
        0.97 * tall,
        tall,
        BODY,
        tag,
    )
    pillar = frustum(
        (-0.36 * half, -0.28 * half),
        (-0.935 * wide, 0.935 * wide),
        (-0.32 * half, -0.26 * half),
        (-0.705 * wide, 0.705 * wide),
        belt,
        0.985 * tall,
        BODY,
        tag,
    )
    sill = block((-0.99 * half, -0.98 * wide, 0.13 * tall), (0.99 * half, 0.98 * wide, 0.24 * tall), TRIM, tag)
    return join([prism(outline, wide, BODY, tag), cabin, roof, pillar, sill])


def _box_van(extent: tuple[float, float, float], tag: int, base: str) -> Mesh:
    """Return an upright body: a window all around for a bus, a cab and a load for the others."""
    half, wide, tall = extent[0], extent[1], 2.0 * extent[2]
    low = 0.14 * tall
    if base == "bus":
        lower = block((-half, -wide, low), (half, wide, 0.48 * tall), BODY, tag)
        panes = block(
            (-0.995 * half, -0.985 * wide, 0.48 * tall), (0.995 * half, 0.985 * wide, 0.80 * tall), GLASS, tag
        )
        upper = block((-half, -wide, 0.80 * tall), (half, wide, tall), BODY, tag)
        posts = [
            block((x - 0.06, -wide, 0.48 * tall), (x + 0.06, wide, 0.80 * tall), BODY, tag)
            for x in (-0.6 * half, -0.2 * half, 0.2 * half, 0.6 * half)
        ]
        return join([lower, panes, upper, *posts])
    front = 0.45 * half if base == "truck" else 0.5 * half
    load = block((-half, -wide, low), (front, wide, tall), BODY if base == "van" else WHITE, tag)
    bonnet = block((front, -0.98 * wide, low), (half, 0.98 * wide, 0.52 * tall), BODY, tag)
    cab = frustum(
        (front, 0.97 * half),
        (-0.96 * wide, 0.96 * wide),
        (front, 0.72 * half),
        (-0.86 * wide, 0.86 * wide),
        0.52 * tall,
        0.93 * tall,
        BODY,
        tag,
        sides=GLASS,
        ends=GLASS,
    )
    rear = [
        plate((-half - 0.01, side * 0.45 * wide, 0.72 * tall), (-1.0, 0.0), 0.7 * wide, 0.25 * tall, GLASS, tag)
        for side in (-1.0, 1.0)
        if base == "van"
    ]
    return join([load, bonnet, cab, *rear])


def _wheels(extent: tuple[float, float, float], wheelbase: float, tag: int, radius: float) -> list[Mesh]:
    meshes = []
    for x in (0.5 * wheelbase, -0.5 * wheelbase):
        for side in (-1.0, 1.0):
            y = side * (extent[1] - 0.10)
            meshes.append(wheel(x, y, radius, 0.24, TYRE, tag))
            hub = plate((x, y + side * 0.125, radius), (0.0, side), 1.2 * radius, 1.2 * radius, METAL, tag, sides=8)
            meshes.append(hub)
    return meshes


def _lamps(extent: tuple[float, float, float], tag: int, height: float) -> list[Mesh]:
    half, wide, tall = extent[0], extent[1], 2.0 * extent[2]
    front, rear = half + 0.012, -half - 0.012
    meshes = [
        plate((front, 0.0, 0.34 * tall), (1.0, 0.0), 0.9 * wide, 0.09 * tall, TRIM, tag),
        plate((rear, 0.0, 0.36 * tall), (-1.0, 0.0), 0.52, 0.11, WHITE, tag),
    ]
    for side, blink in ((-1.0, BLINK_LEFT), (1.0, BLINK_RIGHT)):
        lamp = 0.74 * side * wide
        edge = 0.93 * side * wide
        meshes += [
            plate((front, lamp, (height - 0.12) * tall), (1.0, 0.0), 0.34 * wide, 0.09 * tall, HEAD_LAMP, tag),
            plate((front, edge, (height - 0.12) * tall), (1.0, 0.0), 0.09 * wide, 0.09 * tall, blink, tag),
            plate((rear, lamp, height * tall), (-1.0, 0.0), 0.34 * wide, 0.10 * tall, TAIL_LAMP, tag),
            plate((rear, edge, height * tall), (-1.0, 0.0), 0.09 * wide, 0.10 * tall, blink, tag),
        ]
    return meshes


def _cycle(extent: tuple[float, float, float], wheelbase: float, motor: bool) -> Mesh:
    """Return two wheels, a frame and a rider who sits on it."""
    tag = TAG_MOTORCYCLE if motor else TAG_BICYCLE
    radius = 0.31 if motor else 0.34
    thick = 0.13 if motor else 0.05
    seat = 0.80 if motor else 0.92
    axle = 0.5 * wheelbase
    parts = [wheel(x, 0.0, radius, thick, TYRE, tag, sides=12) for x in (-axle, axle)]
    frame = [
        (-0.9 * axle, 0.75 * seat),
        (-0.2 * axle, 0.42),
        (0.5 * axle, 0.45),
        (0.75 * axle, seat),
        (-0.4 * axle, seat),
    ]
    parts.append(prism(frame, 0.14 if motor else 0.03, BODY, tag))
    bar = 1.08 if motor else 1.02
    parts.append(block((0.68 * axle, -0.32, bar - 0.03), (0.78 * axle, 0.32, bar + 0.03), TRIM, tag))
    parts.append(block((0.70 * axle, -0.04, 2.0 * radius), (0.80 * axle, 0.04, bar), METAL, tag))
    parts.append(plate((-axle - 0.2, 0.0, seat - 0.08), (-1.0, 0.0), 0.12, 0.08, TAIL_LAMP, tag))
    parts.append(plate((axle - 0.05, 0.0, bar - 0.1), (1.0, 0.0), 0.14, 0.14, HEAD_LAMP, tag))
    top = max(2.0 * extent[2], seat + 0.75)
    lean = math.copysign(0.18 if motor else 0.12, 1.0)
    torso = frustum(
        (-0.30, -0.05), (-0.19, 0.19), (-0.30 + lean, -0.05 + lean), (-0.22, 0.22), seat, top - 0.27, UPPER, TAG_RIDER
    )
    head = block((-0.22 + lean, -0.10, top - 0.26), (0.02 + lean, 0.10, top), TRIM if motor else SKIN, TAG_RIDER)
    legs = [
        block((-0.20, side * 0.13 - 0.07, 0.35), (0.16, side * 0.13 + 0.07, seat + 0.08), LOWER, TAG_RIDER)
        for side in (-1.0, 1.0)
    ]
    arms = [
        block((-0.05, side * 0.25 - 0.05, bar + 0.02), (0.74 * axle, side * 0.25 + 0.05, bar + 0.14), UPPER, TAG_RIDER)
        for side in (-1.0, 1.0)
    ]
    return join([*parts, torso, head, *legs, *arms])

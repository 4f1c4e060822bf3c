"""Meshes of people, street furniture, traffic lights and signs."""

from craft_lightning.simulation.embedded.rendering.materials import (
    BLACK,
    BODY,
    GLASS,
    LIT_GREEN,
    LIT_RED,
    LIT_YELLOW,
    LOWER,
    METAL,
    ORANGE,
    SIGN_RED,
    SKIN,
    TAG_DYNAMIC,
    TAG_LIGHT,
    TAG_POLE,
    TAG_SIGN,
    TAG_STATIC,
    TAG_WALKER,
    TRIM,
    UPPER,
    WHITE,
    WOOD,
)
from craft_lightning.simulation.embedded.rendering.solids import Mesh, block, frustum, join, plate, post, prism

LIGHT_POLE = 5.4  # m
_LAMP = 0.24  # m across
SIGN_BOARD = 0.9  # m across
SIGN_HEIGHT = 2.2  # m of its middle


def walker_mesh(half_height: float) -> Mesh:
    """Return a pedestrian in mid-stride; the origin is the middle of the body."""
    low, tall = -half_height, 2.0 * half_height
    hip, neck = low + 0.48 * tall, low + 0.83 * tall
    thick, wide = 0.065 * tall, 0.115 * tall
    legs = [
        frustum(
            (swing - 0.8 * thick, swing + 0.9 * thick),
            (side - 0.5 * thick, side + 0.5 * thick),
            (-0.7 * thick, 0.7 * thick),
            (side - 0.6 * thick, side + 0.6 * thick),
            low,
            hip,
            LOWER,
            TAG_WALKER,
        )
        for side, swing in ((-0.55 * wide, 0.10 * tall), (0.55 * wide, -0.10 * tall))
    ]
    torso = frustum(
        (-thick, thick), (-0.85 * wide, 0.85 * wide), (-thick, thick), (-wide, wide), hip, neck, UPPER, TAG_WALKER
    )
    arms = [
        frustum(
            (swing - 0.5 * thick, swing + 0.5 * thick),
            (side - 0.35 * thick, side + 0.35 * thick),
            (-0.5 * thick, 0.5 * thick),
            (side - 0.4 * thick, side + 0.4 * thick),
            hip - 0.02 * tall,
            neck - 0.01 * tall,
            UPPER,
            TAG_WALKER,
        )
        for side, swing in ((-1.25 * wide, -0.07 * tall), (1.25 * wide, 0.07 * tall))
    ]
    face = block(
        (-0.055 * tall, -0.05 * tall, neck + 0.01 * tall),
        (0.06 * tall, 0.05 * tall, low + 0.965 * tall),
        SKIN,
        TAG_WALKER,
    )
    hair = block(
        (-0.06 * tall, -0.053 * tall, low + 0.93 * tall), (0.045 * tall, 0.053 * tall, low + tall), TRIM, TAG_WALKER
    )
    return join([*legs, torso, *arms, face, hair])


def light_mesh() -> Mesh:
    """Return a traffic light; its y axis points at the traffic that it rules.

    One head on top of the pole, as ``get_light_boxes`` of the client has it, and a small one at a driver's height.
    """
    pole = post(0.0, 0.0, 0.0, LIGHT_POLE, 0.08, METAL, TAG_POLE)
    parts = [pole]
    for middle, scale in ((5.0, 1.25), (2.5, 0.8)):
        wide, high = 0.22 * scale, 0.52 * scale
        parts.append(block((-wide, 0.06, middle - high), (wide, 0.06 + 0.3 * scale, middle + high), BLACK, TAG_LIGHT))
        for step, part in ((1.0, LIT_RED), (0.0, LIT_YELLOW), (-1.0, LIT_GREEN)):
            centre = (0.0, 0.07 + 0.3 * scale, middle + step * 0.33 * scale)
            parts.append(plate(centre, (0.0, 1.0), 1.2 * _LAMP * scale, 1.2 * _LAMP * scale, part, TAG_LIGHT, sides=8))
    return join(parts)


def sign_mesh(kind: str) -> Mesh:
    """Return a stop or a yield sign; like a light's, its y axis points at the traffic that it rules.

    Args:
        kind: ``traffic.stop`` or ``traffic.yield``.

    """
    pole = post(0.0, -0.05, 0.0, SIGN_HEIGHT, 0.04, METAL, TAG_POLE)

    def board(share: float, part: int, before: float) -> Mesh:
        wide = share * SIGN_BOARD
        if kind == "traffic.stop":
            return plate((0.0, before, SIGN_HEIGHT), (0.0, 1.0), wide, wide, part, TAG_SIGN, sides=8)
        # The triangle of a yield sign stands on its tip.
        return plate((0.0, before, SIGN_HEIGHT), (0.0, 1.0), wide, -wide, part, TAG_SIGN, sides=3)

    back = plate((0.0, 0.0, SIGN_HEIGHT), (0.0, -1.0), 0.8 * SIGN_BOARD, 0.8 * SIGN_BOARD, METAL, TAG_SIGN, sides=8)
    if kind != "traffic.stop":
        return join([pole, back, board(1.15, SIGN_RED, 0.01), board(0.75, WHITE, 0.02)])
    word = [plate((x, 0.03, SIGN_HEIGHT), (0.0, 1.0), 0.11, 0.24, WHITE, TAG_SIGN) for x in (-0.27, -0.09, 0.09, 0.27)]
    return join([pole, back, board(1.0, WHITE, 0.01), board(0.92, SIGN_RED, 0.02), *word])


def prop_mesh(name: str, extent: tuple[float, float, float]) -> Mesh:
    """Return street furniture by the name of its blueprint; what is not known by name is a box of its size."""
    kind = name.rpartition(".")[2]
    x, y, tall = extent[0], extent[1], 2.0 * extent[2]
    if "cone" in kind:
        foot = block((-x, -y, 0.0), (x, y, 0.06 * tall), BLACK, TAG_DYNAMIC)
        body = post(0.0, 0.0, 0.05 * tall, tall, 0.8 * x, ORANGE, TAG_DYNAMIC, tip=0.2)
        band = post(0.0, 0.0, 0.45 * tall, 0.68 * tall, 0.57 * x, WHITE, TAG_DYNAMIC, tip=0.75)
        return join([foot, body, band])
    if "barrier" in kind:
        boards = [
            block((-0.04, -y, low * tall), (0.04, y, high * tall), part, TAG_DYNAMIC)
            for low, high, part in ((0.35, 0.60, SIGN_RED), (0.60, 0.75, WHITE), (0.75, 1.0, SIGN_RED))
        ]
        feet = [
            block((-x, side * 0.9 * y - 0.04, 0.0), (x, side * 0.9 * y + 0.04, 0.4 * tall), METAL, TAG_DYNAMIC)
            for side in (-1, 1)
        ]
        return join([*boards, *feet])
    if "warning" in kind:
        return _warning(x, y, tall, trailer="traffic" in kind)
    if "debris" in kind:
        heap = frustum((-x, x), (-y, y), (-0.3 * x, 0.4 * x), (-0.4 * y, 0.3 * y), 0.0, tall, WOOD, TAG_STATIC)
        return join([heap, block((-0.6 * x, 0.1 * y, 0.0), (-0.2 * x, 0.7 * y, 1.2 * tall), METAL, TAG_STATIC)])
    if "barrel" in kind:
        body = post(0.0, 0.0, 0.0, tall, x, ORANGE, TAG_DYNAMIC)
        return join([body, post(0.0, 0.0, 0.5 * tall, 0.7 * tall, 1.03 * x, WHITE, TAG_DYNAMIC)])
    if "busstop" in kind:
        return _shelter(x, y, tall)
    if "vending" in kind:
        body = block((-x, -y, 0.0), (x, y, tall), SIGN_RED, TAG_STATIC)
        return join([body, plate((x + 0.01, -0.1, 0.6 * tall), (1.0, 0.0), 1.3 * y, 0.6 * tall, GLASS, TAG_STATIC)])
    if "advertisement" in kind:
        return join(
            [
                block((-x, -y, 0.0), (x, y, tall), METAL, TAG_STATIC),
                block((-1.05 * x, -0.9 * y, 0.25 * tall), (1.05 * x, 0.9 * y, 0.95 * tall), WHITE, TAG_STATIC),
            ]
        )
    part = {"container": BODY, "box": WOOD}.get(kind.rstrip("0123456789"), METAL)
    return block((-x, -y, 0.0), (x, y, tall), part, TAG_STATIC if kind == "container" else TAG_DYNAMIC)


def _warning(x: float, y: float, tall: float, trailer: bool) -> Mesh:
    """Return a board with an arrow on a trailer, or a triangular sign on feet."""
    if trailer:
        board = block((-0.08, -0.9 * y, 0.4 * tall), (0.08, 0.9 * y, tall), ORANGE, TAG_DYNAMIC)
        base = block((-x, -0.7 * y, 0.12 * tall), (x, 0.7 * y, 0.28 * tall), METAL, TAG_DYNAMIC)
        mast = block((-0.06, -0.1, 0.2 * tall), (0.06, 0.1, 0.5 * tall), METAL, TAG_DYNAMIC)
        arrow = [
            plate((side * 0.09, 0.0, 0.7 * tall), (side, 0.0), 1.0 * y, 0.3 * tall, BLACK, TAG_DYNAMIC, sides=3)
            for side in (-1.0, 1.0)
        ]
        return join([board, base, mast, *arrow])
    outline = [(-0.03, 0.25 * tall), (0.03, 0.25 * tall), (0.03, tall), (-0.03, tall)]
    panel = prism(outline, 0.9 * y, WHITE, TAG_SIGN)
    mark = [
        plate((side * 0.04, 0.0, 0.6 * tall), (side, 0.0), 1.5 * y, 0.65 * tall, SIGN_RED, TAG_SIGN, sides=3)
        for side in (-1.0, 1.0)
    ]
    feet = block((-x, -0.06, 0.0), (x, 0.06, 0.25 * tall), METAL, TAG_DYNAMIC)
    return join([panel, *mark, feet])


def _shelter(x: float, y: float, tall: float) -> Mesh:
    roof = block((-x, -y, 0.93 * tall), (x, y, tall), METAL, TAG_STATIC)
    rear = block((-x, 0.85 * y, 0.1 * tall), (x, 0.92 * y, 0.93 * tall), GLASS, TAG_STATIC)
    posts = [
        block((sx * x - 0.05, sy * y - 0.05, 0.0), (sx * x + 0.05, sy * y + 0.05, 0.94 * tall), METAL, TAG_STATIC)
        for sx in (-0.95, 0.95)
        for sy in (-0.9, 0.9)
    ]
    bench = block((-0.7 * x, 0.3 * y, 0.15 * tall), (0.7 * x, 0.75 * y, 0.2 * tall), WOOD, TAG_STATIC)
    return join([roof, rear, *posts, bench])

"""Surfaces of the ground, semantic tags and colours; numbers alone, so that nothing heavy is loaded with them."""

import numpy as np

# Surfaces of the ground; rows of ``GROUND_COLOURS`` and ``GROUND_TAGS``.
TERRAIN, ROAD, SIDEWALK, KERB, SHOULDER_SURFACE = range(5)
GROUND_COLOURS = np.array(
    [[0.29, 0.35, 0.17], [0.25, 0.25, 0.26], [0.50, 0.48, 0.45], [0.66, 0.65, 0.62], [0.29, 0.28, 0.27]], np.float32
)

# Semantic tags of CARLA 0.9.14 and later.
(
    TAG_NONE,
    TAG_ROAD,
    TAG_SIDEWALK,
    TAG_BUILDING,
    TAG_WALL,
    TAG_FENCE,
    TAG_POLE,
    TAG_LIGHT,
    TAG_SIGN,
    TAG_VEGETATION,
    TAG_TERRAIN,
    TAG_SKY,
    TAG_WALKER,
    TAG_RIDER,
    TAG_CAR,
    TAG_TRUCK,
    TAG_BUS,
    TAG_TRAIN,
    TAG_MOTORCYCLE,
    TAG_BICYCLE,
    TAG_STATIC,
    TAG_DYNAMIC,
    TAG_OTHER,
    TAG_WATER,
    TAG_LINE,
) = range(25)
GROUND_TAGS = np.array([TAG_TERRAIN, TAG_ROAD, TAG_SIDEWALK, TAG_SIDEWALK, TAG_ROAD], np.uint8)

# Parts of solids; columns of an instance's table of paints.
(
    BODY,
    TRIM,
    GLASS,
    TYRE,
    HEAD_LAMP,
    TAIL_LAMP,
    BLINK_LEFT,
    BLINK_RIGHT,
    BEACON,
    SKIN,
    UPPER,
    LOWER,
    METAL,
    WHITE,
    BLACK,
    ORANGE,
    SIGN_RED,
    WOOD,
    LIT_RED,
    LIT_YELLOW,
    LIT_GREEN,
) = range(21)
PARTS = 21
# Red, green, blue and glow of each part where nothing else is known.
PAINTS = np.array(
    [
        [0.50, 0.50, 0.52, 0.0],
        [0.10, 0.10, 0.11, 0.0],
        [0.13, 0.17, 0.21, 0.0],
        [0.06, 0.06, 0.06, 0.0],
        [0.85, 0.85, 0.80, 0.0],
        [0.45, 0.04, 0.04, 0.0],
        [0.55, 0.30, 0.05, 0.0],
        [0.55, 0.30, 0.05, 0.0],
        [0.15, 0.20, 0.60, 0.0],
        [0.78, 0.58, 0.46, 0.0],
        [0.30, 0.40, 0.60, 0.0],
        [0.18, 0.19, 0.24, 0.0],
        [0.42, 0.43, 0.45, 0.0],
        [0.90, 0.90, 0.88, 0.0],
        [0.07, 0.07, 0.07, 0.0],
        [0.95, 0.38, 0.08, 0.0],
        [0.75, 0.08, 0.08, 0.0],
        [0.45, 0.34, 0.22, 0.0],
        [0.16, 0.03, 0.03, 0.0],
        [0.16, 0.12, 0.03, 0.0],
        [0.03, 0.13, 0.05, 0.0],
    ],
    np.float32,
)

"""Machine code that gives every pixel its colour: faces of solids, the painted ground, the sky; then fog and rain.

Single precision throughout: a bare Python number would turn a whole expression into double precision.
"""

# Types are numba's here; to a type checker numpy's scalars and Python's numbers do not mix.
# mypy: disable-error-code="operator,assignment,call-overload,return-value,arg-type"
import math

import numpy as np
from numba import njit

from craft_lightning.simulation.embedded.rendering.light_vector import (
    AMBIENT,
    CLOUD_DRIFT,
    CLOUDS,
    FAR,
    FOG,
    FOG_STEPS,
    HORIZON,
    LAMP,
    PUDDLES,
    STARS,
    SUN,
    SUNLIGHT,
    WETNESS,
    ZENITH,
)
from craft_lightning.simulation.embedded.rendering.raster import BLUE, GLOW, GREEN, LAMBERT, RED, UP

NOISE = 256  # side of the noise tile, a power of two
MARCH = 24  # steps of a ray over uneven ground at most
BLOCK = 8  # pixels in a row that share what changes slowly

_F = np.float32
_NIL, _HALF, _ONE, _TWO, _FOUR = _F(0.0), _F(0.5), _F(1.0), _F(2.0), _F(4.0)
_FAR, _STEPS, _BYTE = _F(FAR), _F(FOG_STEPS), _F(1.0 / 255.0)
_FINE, _ROUGH, _SHIFT = _F(11.0), _F(1.3), _F(4096.0)  # tiles a metre of the two grains; keeps places positive
_PAINT = _F(0.86)
_TAPS = 4  # looks at the road's paint along a ray that grazes it
_PART = _F(1.0) / np.arange(1, _TAPS + 1).astype(np.float32)
_WIDTHS = (2.0 ** np.arange(16)).astype(np.float32)
_LAMP_CONE, _LAMP_REACH = _F(0.75), _F(1.0 / 55.0)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def texel_cover(paint: np.ndarray, start: int, rows: int, columns: int, row: float, column: float) -> float:
    """Return one level of the paint at a place between texels, 0 to 1."""
    r, c = np.int64(row), np.int64(column)
    if row < _NIL or column < _NIL or r >= rows - 1 or c >= columns - 1:
        return _NIL
    down, right = row - _F(r), column - _F(c)
    at = start + r * columns + c
    first, second = _F(paint[at]), _F(paint[at + 1])
    upper = first + right * (second - first)
    first, second = _F(paint[at + columns]), _F(paint[at + columns + 1])
    lower = first + right * (second - first)
    return (upper + down * (lower - upper)) * _BYTE


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _smooth_noise(noise: np.ndarray, x: float, y: float) -> float:
    """Return the noise at a place between cells, 0 to 1."""
    fx, fy = x + _SHIFT, y + _SHIFT
    c, r = np.int64(fx), np.int64(fy)
    right, down = fx - _F(c), fy - _F(r)
    c0, r0, c1, r1 = c & (NOISE - 1), r & (NOISE - 1), (c + 1) & (NOISE - 1), (r + 1) & (NOISE - 1)
    upper = _F(noise[r0, c0]) + right * (_F(noise[r0, c1]) - _F(noise[r0, c0]))
    lower = _F(noise[r1, c0]) + right * (_F(noise[r1, c1]) - _F(noise[r1, c0]))
    return (upper + down * (lower - upper)) * _BYTE


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def ground_height(heights: np.ndarray, cell: float, x: float, y: float) -> float:
    """Return the ground's height at a place given in metres from the first cell."""
    row = min(max(y / cell, _NIL), _F(heights.shape[0]) - _F(1.001))
    column = min(max(x / cell, _NIL), _F(heights.shape[1]) - _F(1.001))
    r, c = np.int64(row), np.int64(column)
    down, right = row - _F(r), column - _F(c)
    upper = heights[r, c] + right * (heights[r, c + 1] - heights[r, c])
    lower = heights[r + 1, c] + right * (heights[r + 1, c + 1] - heights[r + 1, c])
    return upper + down * (lower - upper)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def march(
    heights: np.ndarray,
    cell: float,
    slope: float,
    ex: float,
    ey: float,
    ez: float,
    dx: float,
    dy: float,
    dz: float,
) -> float:
    """Return one over how many times (dx, dy, dz) it is from the eye to uneven ground, 0 where there is none."""
    t = _HALF
    level_speed = math.sqrt(dx * dx + dy * dy)
    for _ in range(MARCH):
        over = ez + dz * t - ground_height(heights, cell, ex + dx * t, ey + dy * t)
        if over < _F(0.01) or t > _FAR:
            break
        t += over / max(slope * level_speed - dz, _F(0.02))
    return _ONE / t if t < _FAR else _NIL


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def _beam(x: float, y: float, lamp: np.ndarray, power: float) -> float:
    """Return how brightly headlamps (x, y, direction) light a place."""
    to_x, to_y = x - lamp[0], y - lamp[1]
    reach = math.sqrt(to_x * to_x + to_y * to_y) + _F(0.1)
    ahead = (to_x * lamp[2] + to_y * lamp[3]) / reach
    if ahead <= _LAMP_CONE:
        return _NIL
    return power * (ahead - _LAMP_CONE) * _FOUR * max(_ONE - reach * _LAMP_REACH, _NIL)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def shade(
    inverse: np.ndarray,
    face_of: np.ndarray,
    faces: np.ndarray,
    shadow: np.ndarray,
    axes: np.ndarray,
    eye: np.ndarray,
    step: float,
    material: np.ndarray,
    paint: np.ndarray,
    levels: np.ndarray,
    heights: np.ndarray,
    frame: np.ndarray,
    noise: np.ndarray,
    light: np.ndarray,
    fog: np.ndarray,
    lamp: np.ndarray,
    colours: np.ndarray,
    picture: np.ndarray,
) -> None:
    """Colour a picture.

    Places are relative to the middle of texel [0, 0], where single precision is enough. All numbers are float32.

    Args:
        inverse: [H, W] inverse depth of the solids, 0 where there is none.
        face_of: [H, W] int32 row of ``faces``, -1 where there is no solid.
        faces: [N, FACE_COLUMNS].
        shadow: [H, W] uint8 bits of ``draw_shadows``.
        axes: [3, 3] rows are the camera's axes in the world.
        eye: [3] the camera's place [m].
        step: one over the focal length in pixels.
        material: [R, C] uint8, rows along y and columns along x.
        paint: flat uint8, all levels of the coverage with paint.
        levels: [K, 3] int64 offset, rows, columns of each level; a texel of the next one is twice as wide.
        heights: [r, c] heights of the ground [m]; [1, 1] for flat ground.
        frame: texel [m], cell of ``heights`` [m], steepest slope.
        noise: [NOISE, NOISE] uint8.
        light: [LIGHT_NUMBERS].
        fog: how much of a colour is left after i / FOG_STEPS metres.
        lamp: x, y, direction x, y of the headlamps.
        colours: [5, 3] of the materials.
        picture: [H, W, 4] uint8 blue, green, red, opacity, out.

    """
    height, width = inverse.shape
    cu, cv = _HALF * _F(width), _HALF * _F(height)
    texel, cell, slope = frame[0], frame[1], frame[2]
    per_texel = _ONE / texel
    ex, ey, ez = eye[0], eye[1], eye[2]
    flat = heights.shape[0] < 2
    base = heights[0, 0] if flat else ground_height(heights, cell, ex, ey)
    rise = max(ez - base, _F(0.3))
    rows, columns = material.shape
    sun_x, sun_y, sun_z = light[SUN], light[SUN + 1], light[SUN + 2]
    sunny_ground = max(sun_z, _NIL)
    wet, puddles, clouds, drift = light[WETNESS], light[PUDDLES], light[CLOUDS], light[CLOUD_DRIFT]
    soaked = wet > _NIL or puddles > _NIL
    power = light[LAMP]
    deepest = len(levels) - 1
    last_fog = len(fog) - 1
    ambient_r, ambient_g, ambient_b = light[AMBIENT], light[AMBIENT + 1], light[AMBIENT + 2]
    sun_r, sun_g, sun_b = light[SUNLIGHT], light[SUNLIGHT + 1], light[SUNLIGHT + 2]
    low_r, low_g, low_b = light[HORIZON], light[HORIZON + 1], light[HORIZON + 2]
    high_r, high_g, high_b = light[ZENITH] - low_r, light[ZENITH + 1] - low_g, light[ZENITH + 2] - low_b
    fog_r, fog_g, fog_b = light[FOG], light[FOG + 1], light[FOG + 2]
    for v in range(height):
        b = (cv - _F(v) - _HALF) * step
        row_x = axes[0, 0] + b * axes[2, 0]
        row_y = axes[0, 1] + b * axes[2, 1]
        row_z = axes[0, 2] + b * axes[2, 2]
        level, taps, grain, along, flat_speed = 0, 1, texel, _NIL, _ONE
        grit, patch, veil = _NIL, _NIL, _NIL
        ground_due = sky_due = 0
        for u in range(width):
            a = (_F(u) + _HALF - cu) * step
            dx, dy, dz = row_x + a * axes[1, 0], row_y + a * axes[1, 1], row_z + a * axes[1, 2]
            norm = math.sqrt(_ONE + a * a + b * b)
            near = _NIL  # inverse depth of the ground
            if flat:
                if dz < _F(-1e-6):
                    near = dz / (base - ez)
            elif dz < slope * norm:
                near = march(heights, cell, slope, ex, ey, ez, dx, dy, dz)
            depth_inverse = inverse[v, u]
            if near > depth_inverse and near * _FAR > norm:
                # ---- ground --------------------------------------------------------------------------------------
                t = _ONE / near
                distance = t * norm
                x, y = ex + dx * t, ey + dy * t
                column, row = x * per_texel, y * per_texel
                kind = 0
                if column > -_HALF and row > -_HALF:
                    c, r = np.int64(column + _HALF), np.int64(row + _HALF)
                    if c < columns and r < rows:
                        kind = np.int64(material[r, c])
                if u >= ground_due:
                    # One pixel covers ``side`` metres across and ``along`` metres along the ray.
                    ground_due = u + BLOCK
                    side = t * step
                    flat_speed = math.sqrt(dx * dx + dy * dy) + _F(1e-6)
                    along = min(side * t * flat_speed / rise, _F(12.0))
                    level, wide = 0, side
                    while wide > _F(1.5) * texel and level < deepest:
                        wide *= _HALF
                        level += 1
                    grain = texel * _WIDTHS[level]
                    taps = min(_TAPS, 1 + np.int64(along / (_F(1.5) * grain)))
                    grit = _F(0.26) / (_ONE + _TWO * along)
                    patch = _ONE / (_ONE + _F(0.15) * along)
                if kind:
                    down, right = np.int64(y * _ROUGH + _SHIFT), np.int64(x * _ROUGH + _SHIFT)
                    rough = _F(noise[down & (NOISE - 1), right & (NOISE - 1)]) * _BYTE
                else:
                    rough = _smooth_noise(noise, x * _ROUGH, y * _ROUGH)
                spots = _ONE + (_F(0.14) if kind else _F(0.30)) * patch * (rough - _HALF)
                if grit > _F(0.01):
                    down, right = np.int64(y * _FINE + _SHIFT), np.int64(x * _FINE + _SHIFT)
                    fine = _F(noise[down & (NOISE - 1), right & (NOISE - 1)])
                    spots += grit * (fine * _BYTE - _HALF)
                red, green, blue = colours[kind, 0] * spots, colours[kind, 1] * spots, colours[kind, 2] * spots
                cover = _NIL
                if kind != 0:
                    begin, level_rows, level_columns = levels[level, 0], levels[level, 1], levels[level, 2]
                    per_grain = _ONE / grain
                    share = _PART[taps - 1]
                    for tap in range(taps):
                        shift = ((_F(tap) + _HALF) * share - _HALF) * along / flat_speed
                        cover += texel_cover(
                            paint,
                            begin,
                            level_rows,
                            level_columns,
                            (y + dy * shift) * per_grain,
                            (x + dx * shift) * per_grain,
                        )
                    cover *= share
                    # Near by, the paint's blurred edge is made sharp again.
                    cover = (cover - _F(0.3)) * _F(3.0) if level == 0 and taps == 1 else cover * _F(1.25)
                    cover = min(max(cover, _NIL), _ONE)
                    red += cover * (_PAINT - red)
                    green += cover * (_PAINT - green)
                    blue += cover * (_PAINT - blue)
                bits = shadow[v, u]
                lit = _NIL if bits & 1 else sunny_ground
                open_sky = _F(0.6) if bits & 2 else _ONE
                glare = _beam(x, y, lamp, power) if power > _NIL else _NIL
                shine = _NIL
                if soaked:
                    dark = _ONE - (_F(0.38) if kind else _F(0.15)) * wet
                    red, green, blue = red * dark, green * dark, blue * dark
                    graze = _ONE + dz / norm
                    graze = graze * graze * graze * graze
                    pool = _NIL
                    if kind and puddles > _NIL:
                        depth = _smooth_noise(noise, x * _F(0.35), y * _F(0.35))
                        pool = min(max((puddles - depth) * _F(12.0), _NIL), _ONE)
                    shine = (_F(0.45) * wet + _HALF * pool) * (_F(0.12) + graze)
                    shine = min(shine if kind else shine * _F(0.3), _F(0.85))
                red *= ambient_r * open_sky + sun_r * lit + glare
                green *= ambient_g * open_sky + sun_g * lit + glare
                blue *= ambient_b * open_sky + sun_b * lit + glare * _F(0.92)
                if shine > _NIL:
                    up = -dz / norm
                    red += shine * (low_r + up * high_r - red)
                    green += shine * (low_g + up * high_g - green)
                    blue += shine * (low_b + up * high_b - blue)
            elif face_of[v, u] >= 0:
                # ---- a solid -------------------------------------------------------------------------------------
                t = _ONE / depth_inverse
                distance = t * norm
                face = face_of[v, u]
                sunny, glow = faces[face, LAMBERT], faces[face, GLOW]
                sky = _F(0.72) + _F(0.28) * faces[face, UP]
                glare = _beam(ex + dx * t, ey + dy * t, lamp, power) if power > _NIL else _NIL
                dull = _ONE - glow
                red = faces[face, RED] * (glow + dull * (ambient_r * sky + sun_r * sunny + glare))
                green = faces[face, GREEN] * (glow + dull * (ambient_g * sky + sun_g * sunny + glare))
                blue = faces[face, BLUE] * (glow + dull * (ambient_b * sky + sun_b * sunny + glare))
                # A lamp is seen through fog from farther away than what does not shine.
                distance *= _ONE - _F(0.6) * glow
            else:
                # ---- sky -----------------------------------------------------------------------------------------
                up = max(dz / norm, _NIL)
                root = math.sqrt(up)
                red, green, blue = low_r + root * high_r, low_g + root * high_g, low_b + root * high_b
                toward = (dx * sun_x + dy * sun_y + dz * sun_z) / norm
                if u >= sky_due:
                    sky_due = u + BLOCK // 2
                    veil = _NIL
                    if up > _F(0.015) and clouds > _NIL:
                        spread = _F(3.0) / (dz + _F(0.15))
                        place_x, place_y = dx * spread + drift, dy * spread
                        amount = _F(0.67) * _smooth_noise(noise, place_x, place_y)
                        amount += _F(0.33) * _smooth_noise(noise, place_x * _F(3.1), place_y * _F(3.1))
                        veil = min(max((amount - _ONE + clouds) * _F(3.0), _NIL), _ONE) * min(up * _F(9.0), _ONE)
                if toward > _F(0.9):
                    halo = (toward - _F(0.9)) * _F(10.0)
                    halo = halo * halo
                    halo = _F(0.35) * halo * halo
                    if toward > _F(0.9994):
                        halo += _TWO
                    halo *= (_ONE - veil) * (_ONE - clouds)
                    red, green, blue = red + halo * sun_r, green + halo * sun_g, blue + halo * sun_b
                if veil > _NIL:
                    white = ambient_g * _F(1.05) + _F(0.12) * sun_g
                    red += veil * (white - red)
                    green += veil * (white - green)
                    blue += veil * (white * _F(1.02) - blue)
                elif light[STARS] > _NIL and up > _F(0.05):
                    r, c = np.int64(dy / norm * _F(640.0) + _SHIFT), np.int64(dx / norm * _F(640.0) + _SHIFT)
                    if noise[r & (NOISE - 1), c & (NOISE - 1)] > 254:
                        red, green, blue = red + light[STARS], green + light[STARS], blue + light[STARS]
                # Fog lies low: the sky overhead stays visible through it.
                distance = _F(70.0) / (up + _F(0.12)) if up > _NIL else _FAR
            left = fog[min(np.int64(distance * _STEPS), last_fog)]
            red, green, blue = (
                fog_r + left * (red - fog_r),
                fog_g + left * (green - fog_g),
                fog_b + left * (blue - fog_b),
            )
            picture[v, u, 0] = np.uint8(min(max(blue, _NIL), _ONE) * _F(255.0))
            picture[v, u, 1] = np.uint8(min(max(green, _NIL), _ONE) * _F(255.0))
            picture[v, u, 2] = np.uint8(min(max(red, _NIL), _ONE) * _F(255.0))
            picture[v, u, 3] = 255


@njit(nogil=True, cache=True, error_model="numpy")
def rain(picture: np.ndarray, drops: np.ndarray, strength: float, brightness: float) -> None:
    """Draw falling drops over a finished picture.

    Args:
        picture: [H, W, 4] uint8, in and out.
        drops: [N, 4] float32 column, row, length and slant of each streak, as shares of the picture's size.
        strength: share of a streak that replaces what is behind it.
        brightness: of the streaks, 0 to 255.

    """
    height, width, _ = picture.shape
    for drop in range(len(drops)):
        for index in range(int(max(drops[drop, 2] * height, 2.0))):
            v = int(drops[drop, 1] * height) + index
            u = int(drops[drop, 0] * width + drops[drop, 3] * index)
            if 0 <= v < height and 0 <= u < width:
                for channel in range(3):
                    old = picture[v, u, channel]
                    picture[v, u, channel] = np.uint8(old + strength * (brightness - old))

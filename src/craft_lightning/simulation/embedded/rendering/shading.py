"""Machine code that gives every pixel its colour: faces of solids, the painted ground, the sky; then fog and rain."""

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
from craft_lightning.simulation.embedded.rendering.raster import BLUE, GLOW, GREEN, LAMBERT, RED, TAG, UP

NOISE = 256  # side of the noise tile, a power of two
TAPS = 4  # looks at the road's paint along a ray that grazes it
MARCH = 24  # steps of a ray over uneven ground at most

LINE_TAG, SKY_TAG = 24, 11
_PAINT = np.float32(0.86)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")
def _texel(paint: np.ndarray, start: int, rows: int, columns: int, row: float, column: float) -> float:
    """Return one level of the paint at a place between texels, 0 to 1."""
    r, c = int(row), int(column)
    if row < 0.0 or column < 0.0 or r >= rows - 1 or c >= columns - 1:
        return 0.0
    down, right = row - r, column - c
    at = start + r * columns + c
    upper = paint[at] + right * (np.float32(paint[at + 1]) - np.float32(paint[at]))
    at += columns
    lower = paint[at] + right * (np.float32(paint[at + 1]) - np.float32(paint[at]))
    return (upper + down * (lower - upper)) * np.float32(1.0 / 255.0)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")
def _cloud(noise: np.ndarray, x: float, y: float) -> float:
    """Return smooth noise of two octaves at a place, 0 to 1."""
    total = np.float32(0.0)
    for octave in range(2):
        scale = 1.0 if octave == 0 else 3.1
        fx, fy = x * scale + 4096.0, y * scale + 4096.0
        c, r = int(fx), int(fy)
        right, down = np.float32(fx - c), np.float32(fy - r)
        c0, r0, c1, r1 = c & (NOISE - 1), r & (NOISE - 1), (c + 1) & (NOISE - 1), (r + 1) & (NOISE - 1)
        upper = noise[r0, c0] + right * (noise[r0, c1] - noise[r0, c0])
        lower = noise[r1, c0] + right * (noise[r1, c1] - noise[r1, c0])
        total += (upper + down * (lower - upper)) * np.float32(0.67 if octave == 0 else 0.33)
    return total


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True, inline="always")
def _height(heights: np.ndarray, cell: float, x: float, y: float) -> float:
    """Return the ground's height at a place given in metres from the first cell."""
    row = min(max(y / cell, 0.0), heights.shape[0] - 1.001)
    column = min(max(x / cell, 0.0), heights.shape[1] - 1.001)
    r, c = int(row), int(column)
    down, right = row - r, column - c
    upper = heights[r, c] + right * (heights[r, c + 1] - heights[r, c])
    lower = heights[r + 1, c] + right * (heights[r + 1, c + 1] - heights[r + 1, c])
    return upper + down * (lower - upper)


@njit(nogil=True, cache=True, error_model="numpy", fastmath=True)
def shade(
    inverse: np.ndarray,
    face_of: np.ndarray,
    faces: np.ndarray,
    shadow: np.ndarray,
    camera: np.ndarray,
    eye: np.ndarray,
    focal: float,
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
    ground_tags: np.ndarray,
    picture: np.ndarray,
    tag_of: np.ndarray,
) -> None:
    """Colour a picture; depth and tags of the ground are filled in on the way.

    Args:
        inverse: [H, W] float32 inverse depth of the solids, in; of everything but the sky, out.
        face_of: [H, W] int32 row of ``faces`` or -1.
        faces: [N, FACE_COLUMNS] float32.
        shadow: [H, W] uint8 bits of ``draw_shadows``.
        camera: [3, 3] rows are the camera's axes in the world.
        eye: [3] the camera's place [m].
        focal: focal length in pixels.
        material: [R, C] uint8, rows along y and columns along x.
        paint: flat uint8, all levels of the coverage with paint.
        levels: [K, 3] int64 offset, rows, columns of each level; each halves the one before.
        heights: [r, c] float32 heights of the ground [m]; [1, 1] for flat ground.
        frame: x, y of the middle of texel [0, 0], texel [m], cell of ``heights`` [m], steepest slope.
        noise: [NOISE, NOISE] float32, 0 to 1.
        light: [LIGHT_NUMBERS] float32.
        fog: float32, how much of a colour is left after i / FOG_STEPS metres.
        lamp: x, y, direction x, y of the headlamps.
        colours: [5, 3] of the materials.
        ground_tags: [5] semantic tags of the materials.
        picture: [H, W, 4] uint8 blue, green, red, opacity, out.
        tag_of: [H, W] uint8, out.

    """
    height, width = inverse.shape
    cu, cv = np.float32(0.5 * width), np.float32(0.5 * height)
    step = np.float32(1.0 / focal)
    fx, fy, fz = np.float32(camera[0, 0]), np.float32(camera[0, 1]), np.float32(camera[0, 2])
    rx, ry, rz = np.float32(camera[1, 0]), np.float32(camera[1, 1]), np.float32(camera[1, 2])
    ux, uy, uz = np.float32(camera[2, 0]), np.float32(camera[2, 1]), np.float32(camera[2, 2])
    texel, cell, slope = np.float32(frame[2]), np.float32(frame[3]), np.float32(frame[4])
    # Places are kept relative to the first texel, where single precision is enough.
    ex, ey, ez = np.float32(eye[0] - frame[0]), np.float32(eye[1] - frame[1]), np.float32(eye[2])
    lamp_x, lamp_y = np.float32(lamp[0] - frame[0]), np.float32(lamp[1] - frame[1])
    lamp_dx, lamp_dy, lamp_power = np.float32(lamp[2]), np.float32(lamp[3]), light[LAMP]
    flat = heights.shape[0] < 2
    base = heights[0, 0] if flat else np.float32(_height(heights, cell, ex, ey))
    rows, columns = material.shape
    sun_x, sun_y, sun_z = light[SUN], light[SUN + 1], light[SUN + 2]
    wet, puddles, clouds, drift = light[WETNESS], light[PUDDLES], light[CLOUDS], light[CLOUD_DRIFT]
    one, nil = np.float32(1.0), np.float32(0.0)
    deepest = len(levels) - 1
    last_fog = len(fog) - 1
    for v in range(height):
        b = (cv - np.float32(v) - np.float32(0.5)) * step
        row_x, row_y, row_z = fx + b * ux, fy + b * uy, fz + b * uz
        for u in range(width):
            a = (np.float32(u) + np.float32(0.5) - cu) * step
            dx, dy, dz = row_x + a * rx, row_y + a * ry, row_z + a * rz
            norm = math.sqrt(one + a * a + b * b)
            depth_inverse = inverse[v, u]
            face = face_of[v, u]
            near = nil  # inverse depth of the ground
            if flat:
                if dz < np.float32(-1e-6):
                    near = dz / (base - ez)
            elif dz < slope * norm:
                t = np.float32(0.5)
                flat_speed = math.sqrt(dx * dx + dy * dy)
                for _ in range(MARCH):
                    over = ez + dz * t - np.float32(_height(heights, cell, ex + dx * t, ey + dy * t))
                    if over < np.float32(0.01) or t > np.float32(FAR):
                        break
                    t += over / max(slope * flat_speed - dz, np.float32(0.02))
                if t < np.float32(FAR):
                    near = one / t
            if near > depth_inverse and near * np.float32(FAR) > norm:
                # ---- ground ------------------------------------------------------------------------------------------
                t = one / near
                distance = t * norm
                x, y = ex + dx * t, ey + dy * t
                column, row = x / texel, y / texel
                kind = 0
                if column > np.float32(-0.5) and row > np.float32(-0.5):
                    c, r = int(column + np.float32(0.5)), int(row + np.float32(0.5))
                    if c < columns and r < rows:
                        kind = material[r, c]
                # One pixel covers ``side`` metres across and ``along`` metres along the ray.
                side = t * step
                flat_speed = math.sqrt(dx * dx + dy * dy) + np.float32(1e-6)
                along = min(side * t * flat_speed / max(ez - base, np.float32(0.3)), np.float32(12.0))
                level = 0
                wide = side
                while wide > np.float32(1.5) * texel and level < deepest:
                    wide *= np.float32(0.5)
                    level += 1
                grain = texel * np.float32(1 << level)
                taps = min(TAPS, 1 + int(along / (np.float32(1.5) * grain)))
                cover = nil
                if kind != 0:
                    begin, level_rows, level_columns = levels[level]
                    for tap in range(taps):
                        shift = ((tap + np.float32(0.5)) / taps - np.float32(0.5)) * along / flat_speed
                        cover += _texel(
                            paint,
                            begin,
                            level_rows,
                            level_columns,
                            (y + dy * shift) / grain,
                            (x + dx * shift) / grain,
                        )
                    cover = min(cover / taps * np.float32(1.25), one)
                fade = one / (one + np.float32(2.0) * along)
                fine = noise[int(y * 11.0 + 4096.0) & (NOISE - 1), int(x * 11.0 + 4096.0) & (NOISE - 1)]
                rough = noise[int(y * 1.3 + 4096.0) & (NOISE - 1), int(x * 1.3 + 4096.0) & (NOISE - 1)]
                rough_fade = one / (one + np.float32(0.15) * along)
                spots = (
                    one
                    + np.float32(0.30) * fade * (fine - np.float32(0.5))
                    + np.float32(0.16 if kind else 0.30) * rough_fade * (rough - np.float32(0.5))
                )
                red, green, blue = colours[kind, 0] * spots, colours[kind, 1] * spots, colours[kind, 2] * spots
                red += cover * (_PAINT - red)
                green += cover * (_PAINT - green)
                blue += cover * (_PAINT - blue)
                bits = shadow[v, u]
                lit = nil if bits & 1 else max(sun_z, nil)
                open_sky = np.float32(0.6) if bits & 2 else one
                glare = nil
                if lamp_power > nil:
                    to_x, to_y = x - lamp_x, y - lamp_y
                    reach = math.sqrt(to_x * to_x + to_y * to_y) + np.float32(0.1)
                    ahead = (to_x * lamp_dx + to_y * lamp_dy) / reach
                    if ahead > np.float32(0.75):
                        glare = lamp_power * (ahead - np.float32(0.75)) * 4 * max(one - reach / 55, nil)
                shine = nil
                if wet > nil or puddles > nil:
                    dark = one - (np.float32(0.38) if kind else np.float32(0.15)) * wet
                    red, green, blue = red * dark, green * dark, blue * dark
                    graze = one + dz / norm
                    graze = graze * graze * graze * graze
                    pool = one if kind and rough < puddles else nil
                    shine = (np.float32(0.45) * wet + np.float32(0.5) * pool) * (np.float32(0.12) + graze)
                    if not kind:
                        shine *= np.float32(0.3)
                    shine = min(shine, np.float32(0.85))
                red *= light[AMBIENT] * open_sky + light[SUNLIGHT] * lit + glare
                green *= light[AMBIENT + 1] * open_sky + light[SUNLIGHT + 1] * lit + glare
                blue *= light[AMBIENT + 2] * open_sky + light[SUNLIGHT + 2] * lit + glare * np.float32(0.92)
                if shine > nil:
                    up = -dz / norm
                    red += shine * (light[HORIZON] + up * (light[ZENITH] - light[HORIZON]) - red)
                    green += shine * (light[HORIZON + 1] + up * (light[ZENITH + 1] - light[HORIZON + 1]) - green)
                    blue += shine * (light[HORIZON + 2] + up * (light[ZENITH + 2] - light[HORIZON + 2]) - blue)
                inverse[v, u] = near
                tag_of[v, u] = LINE_TAG if cover > np.float32(0.5) else ground_tags[kind]
            elif face >= 0:
                # ---- a solid -----------------------------------------------------------------------------------------
                t = one / depth_inverse
                distance = t * norm
                row_of = faces[face]
                sunny, up, glow = row_of[LAMBERT], row_of[UP], row_of[GLOW]
                sky = np.float32(0.72) + np.float32(0.28) * up
                glare = nil
                if lamp_power > nil:
                    to_x, to_y = ex + dx * t - lamp_x, ey + dy * t - lamp_y
                    reach = math.sqrt(to_x * to_x + to_y * to_y) + np.float32(0.1)
                    ahead = (to_x * lamp_dx + to_y * lamp_dy) / reach
                    if ahead > np.float32(0.75):
                        glare = lamp_power * (ahead - np.float32(0.75)) * 3 * max(one - reach / 55, nil)
                dull = one - glow
                red = row_of[RED] * (glow + dull * (light[AMBIENT] * sky + light[SUNLIGHT] * sunny + glare))
                green = row_of[GREEN] * (glow + dull * (light[AMBIENT + 1] * sky + light[SUNLIGHT + 1] * sunny + glare))
                blue = row_of[BLUE] * (glow + dull * (light[AMBIENT + 2] * sky + light[SUNLIGHT + 2] * sunny + glare))
                # A lamp is seen through fog from farther away than what does not shine.
                distance *= one - np.float32(0.6) * glow
                tag_of[v, u] = np.uint8(row_of[TAG])
            else:
                # ---- sky ---------------------------------------------------------------------------------------------
                up = max(dz / norm, nil)
                root = math.sqrt(up)
                red = light[HORIZON] + root * (light[ZENITH] - light[HORIZON])
                green = light[HORIZON + 1] + root * (light[ZENITH + 1] - light[HORIZON + 1])
                blue = light[HORIZON + 2] + root * (light[ZENITH + 2] - light[HORIZON + 2])
                toward = (dx * sun_x + dy * sun_y + dz * sun_z) / norm
                veil = nil
                if up > np.float32(0.015) and clouds > nil:
                    spread = np.float32(3.0) / (dz + np.float32(0.15))
                    amount = np.float32(_cloud(noise, dx * spread + drift, dy * spread))
                    veil = min(max((amount - (one - clouds)) * 3, nil), one) * min(up * 9, one)
                if toward > np.float32(0.9):
                    halo = (toward - np.float32(0.9)) * 10
                    halo = halo * halo * halo * halo
                    disc = one if toward > np.float32(0.9994) else nil
                    gain = (np.float32(0.35) * halo + np.float32(2.0) * disc) * (one - veil) * (one - clouds)
                    red += gain * light[SUNLIGHT]
                    green += gain * light[SUNLIGHT + 1]
                    blue += gain * light[SUNLIGHT + 2]
                if veil > nil:
                    white = light[AMBIENT + 1] * np.float32(1.05) + np.float32(0.12) * light[SUNLIGHT + 1]
                    red += veil * (white - red)
                    green += veil * (white - green)
                    blue += veil * (white * np.float32(1.02) - blue)
                elif light[STARS] > nil and up > np.float32(0.05):
                    star = noise[int(dy / norm * 420.0 + 4096.0) & 255, int(dx / norm * 420.0 + 4096.0) & 255]
                    if star > np.float32(0.992):
                        red, green, blue = red + light[STARS], green + light[STARS], blue + light[STARS]
                # Fog lies low: the sky overhead stays visible through it.
                distance = np.float32(70.0) / (up + np.float32(0.12))
                if face < 0 and up <= nil:
                    distance = np.float32(FAR)
                inverse[v, u] = nil
                tag_of[v, u] = SKY_TAG
            left = fog[min(int(distance * np.float32(FOG_STEPS)), last_fog)]
            red = light[FOG] + left * (red - light[FOG])
            green = light[FOG + 1] + left * (green - light[FOG + 1])
            blue = light[FOG + 2] + left * (blue - light[FOG + 2])
            picture[v, u, 0] = np.uint8(min(max(blue, nil), one) * 255)
            picture[v, u, 1] = np.uint8(min(max(green, nil), one) * 255)
            picture[v, u, 2] = np.uint8(min(max(red, nil), one) * 255)
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
        long = max(drops[drop, 2] * height, 2.0)
        for index in range(int(long)):
            v = int(drops[drop, 1] * height) + index
            u = int(drops[drop, 0] * width + drops[drop, 3] * index)
            if 0 <= v < height and 0 <= u < width:
                for channel in range(3):
                    old = picture[v, u, channel]
                    picture[v, u, channel] = np.uint8(old + strength * (brightness - old))

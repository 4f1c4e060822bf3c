"""Sine, tangent, arctangent and exponential as short, branch-free arithmetic that compilers can vectorise.

A call into a maths library keeps a compiler from handling many candidates in one instruction; these do not. The
errors named below are absolute, against ``math``; ``tests/test_control.py`` holds them. Every world uses the same
functions, so no world differs from another by them.
"""

QUARTER_TURN = 1.5707963267948966

# arctan(t) = t * polynomial(t^2) on [0, 1]; fitted by reweighted least squares on Chebyshev nodes, error below 4e-8.
ATAN_1 = 0.999999336
ATAN_3 = -0.333298607
ATAN_5 = 0.199465652
ATAN_7 = -0.139086274
ATAN_9 = 0.0964219189
ATAN_11 = -0.0559122545
ATAN_13 = 0.0218629091
ATAN_15 = -0.00405455408


def small_sine(angle: float) -> float:
    """Sine of an angle in [-1, 1] rad, Taylor's series to the seventh order; error below 3e-6, 1e-9 up to 0.4 rad."""
    square = angle * angle
    return angle * (1.0 + square * (-1.0 / 6.0 + square * (1.0 / 120.0 - square * (1.0 / 5040.0))))


def small_cosine(angle: float) -> float:
    """Cosine of an angle in [-1, 1] rad, Taylor's series to the eighth order; error below 3e-7."""
    square = angle * angle
    return 1.0 + square * (-0.5 + square * (1.0 / 24.0 + square * (-1.0 / 720.0 + square * (1.0 / 40320.0))))


def tangent(angle: float) -> float:
    """Tangent of an angle in [-1.4, 1.4] rad, Pade's approximant of order (5, 6); error below 2e-6."""
    square = angle * angle
    above = angle * (10395.0 + square * (-1260.0 + square * 21.0))
    return above / (10395.0 + square * (-4725.0 + square * (210.0 - square)))


def arctangent(y: float, x: float) -> float:
    """Angle of the vector (x, y) in [-pi, pi]; error below 3e-7, 0 for the null vector."""
    size_x, size_y = abs(x), abs(y)
    large, small = max(size_x, size_y), min(size_x, size_y)
    t = small / max(large, 1e-30)
    u = t * t
    high = ATAN_9 + u * (ATAN_11 + u * (ATAN_13 + u * ATAN_15))
    angle = t * (ATAN_1 + u * (ATAN_3 + u * (ATAN_5 + u * (ATAN_7 + u * high))))
    angle = QUARTER_TURN - angle if size_y > size_x else angle
    angle = 2.0 * QUARTER_TURN - angle if x < 0.0 else angle
    return -angle if y < 0.0 else angle


def decaying_exponential(exponent: float) -> float:
    """exp(-exponent) for an exponent of 0 or more: a series for exp(-exponent / 16), squared four times.

    The error is below 2e-6; exponents above 40 count as 40.
    """
    z = -0.0625 * min(exponent, 40.0)
    high = 1.0 / 24.0 + z * (1.0 / 120.0 + z * (1.0 / 720.0))
    root = 1.0 + z * (1.0 + z * (0.5 + z * (1.0 / 6.0 + z * high)))
    root *= root
    root *= root
    root *= root
    return root * root

"""Savitzky-Golay filters as matrices, for arrays of any library."""

import functools

import numpy as np


@functools.lru_cache(maxsize=64)
def savgol_matrix(length: int, window: int, order: int, derivative: int = 0, delta: float = 1.0) -> np.ndarray:
    """Return the [length, length] matrix of a Savitzky-Golay filter (Savitzky and Golay 1964).

    ``values @ matrix.T`` is ``scipy.signal.savgol_filter(values, ...)`` with ``mode="interp"``: at the edges the
    polynomial of the first and the last window. An even window is centred between two samples, as scipy has it.

    Args:
        length: samples, at least ``window``.
        window: samples of a window, more than ``order``.
        order: degree of the polynomial.
        derivative: 0 smooths, 1 differentiates, 2 differentiates twice.
        delta: spacing of the samples.

    """
    from scipy.signal import savgol_filter

    matrix = savgol_filter(np.eye(length), window, order, deriv=derivative, delta=delta, axis=0)
    matrix.setflags(write=False)
    return matrix

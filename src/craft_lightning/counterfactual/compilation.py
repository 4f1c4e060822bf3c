"""Compiles plain scalar functions, and all they call, for a target: one source for the CPU and for CUDA.

A function is copied with its globals replaced by compiled copies of what it calls and with every float constant in
single precision (in numba a Python float would lift all arithmetic to double). The copy's name carries a digest of the
byte code of the whole call tree: numba's file cache knows only the file of the function itself and would otherwise
keep a stale machine code when a function in another file changes.
"""

import hashlib
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Jit = Callable[[types.FunctionType], Any]


def _globals_of(function: types.FunctionType) -> dict[str, Any]:
    names = function.__code__.co_names
    return {name: function.__globals__[name] for name in names if name in function.__globals__}


def call_tree(function: types.FunctionType) -> list[types.FunctionType]:
    """Every plain Python function that ``function`` reaches through module globals, itself last."""
    found: dict[types.FunctionType, None] = {}

    def visit(node: types.FunctionType) -> None:
        if node in found:
            return
        for value in _globals_of(node).values():
            if isinstance(value, types.FunctionType):
                visit(value)
        found[node] = None

    visit(function)
    return list(found)


def digest(function: types.FunctionType, constants: Mapping[str, int]) -> str:
    """Sixteen hexadecimal digits that change with the byte code or a constant of anything ``function`` reaches."""
    seen = hashlib.sha256()
    for node in call_tree(function):
        code = node.__code__
        known = {k: constants.get(k, v) for k, v in _globals_of(node).items() if isinstance(v, int | float)}
        seen.update(code.co_code)
        seen.update(repr((node.__name__, code.co_names, code.co_varnames, code.co_consts, known)).encode())
    return seen.hexdigest()[:16]


def compile_tree(
    function: Callable[..., Any], inner: Jit, outer: Jit, constants: Mapping[str, int] | None = None
) -> Any:
    """Compile ``function`` with ``outer`` and everything it calls with ``inner``.

    Args:
        function: plain function over ``math``, scalars and arrays.
        inner: decorator for the functions that are called, e.g. ``numba.njit`` or ``cuda.jit(device=True)``.
        outer: decorator for ``function`` itself, e.g. ``numba.njit(cache=True, nogil=True)`` or ``cuda.jit``.
        constants: module constants that have another value for this target, by name.

    Returns:
        What ``outer`` returns.

    """
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"{function} is not a plain function")
    compiled: dict[types.FunctionType, Any] = {}
    constants = constants or {}
    mark = digest(function, constants)
    for node in call_tree(function):
        namespace: dict[str, Any] = {"__name__": node.__module__}
        for name, value in _globals_of(node).items():
            called = isinstance(value, types.FunctionType)
            namespace[name] = compiled[value] if called else _single(constants.get(name, value))
        singles = tuple(_single(value) for value in node.__code__.co_consts)
        twin = types.FunctionType(node.__code__.replace(co_consts=singles), namespace, f"{node.__name__}_{mark}")
        twin.__qualname__ = twin.__name__
        compiled[node] = outer(twin) if node is function else inner(twin)
    return compiled[function]


def _single(value: Any) -> Any:
    return np.float32(value) if type(value) is float else value

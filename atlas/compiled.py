"""Loops over numbers that no library has, compiled for this processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(signature: Any, loop: Callable[P, R]) -> Callable[P, R]:
    """`loop` as machine code, kept beside its source or in the user's cache, if either can be written to.

    Numbers divided by zero are what NumPy says they are, not an error.
    """
    try:
        return numba.njit(signature, nogil=True, error_model="numpy", cache=True)(loop)  # type: ignore[no-any-return]
    except (RuntimeError, OSError):  # nowhere to keep it: half a second a process
        return numba.njit(signature, nogil=True, error_model="numpy")(loop)  # type: ignore[no-any-return]

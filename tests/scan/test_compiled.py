"""Compiled loops where nothing can be kept for the next process."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from atlas.compiled import compiled


def double(values: Any) -> None:
    for i in range(len(values)):
        values[i] *= 2


@pytest.mark.parametrize("trouble", [RuntimeError("cannot cache function: no locator available"), OSError(28, "full")])
def test_nowhere_to_keep_it(trouble: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    njit = numba.njit

    def without_room(*arguments: Any, cache: bool = False, **named: Any) -> Any:
        if cache:
            raise trouble
        return njit(*arguments, **named)

    monkeypatch.setattr(numba, "njit", without_room)
    loop = compiled(numba.types.void(numba.types.Array(numba.types.float32, 1, "C")), double)
    values = np.ones(3, np.float32)
    loop(values)
    assert values.tolist() == [2, 2, 2]

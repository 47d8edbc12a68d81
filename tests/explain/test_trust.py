"""The words of trust: the two measures apart where one of them is near nothing."""

from __future__ import annotations

import pyarrow as pa
import pytest

from atlas.explain.trust import words
from atlas.tables.columns import MEASURES
from atlas.tables.examples import TRUST


@pytest.mark.parametrize(
    ("sufficiency", "comprehensiveness", "says"),
    [
        (0.8, 0.7, "layers"),
        (0.12, 0.7, "needed, and not enough alone"),
        (0.8, 0.22, "what it marks is enough, and not all that is"),
        (0.02, 0.1, "neither sufficient nor comprehensive beyond chance"),
    ],
)
def test_verdicts(sufficiency: float, comprehensiveness: float, says: str) -> None:
    values = {
        "sufficiency": sufficiency,
        "comprehensiveness": comprehensiveness,
        "sufficiency_random": 0.1,
        "comprehensiveness_random": 0.2,
    }
    assert set(values) == set(MEASURES)
    row = {"layer": "conv1", "channel": 0, "kind": "deconvnet", "score": 0.1, "n": 3, **values}
    [line] = words(pa.Table.from_pylist([row], schema=TRUST.columns), 1, 1)
    assert line.endswith(says)

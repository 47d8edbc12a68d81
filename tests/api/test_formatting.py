"""Numbers and evidence as words; charts as numbers. Small cases by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.html import charts
from api.html import formatting as words

TRUST = {
    "sufficiency": 0.62,
    "comprehensiveness": 0.71,
    "sufficiency_random": 0.09,
    "comprehensiveness_random": 0.14,
    "score": 0.5,
    "n": 3,
}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"), (float("nan"), "–"), (0.0, "0"), (7.0, "7"), (1234.5, "1,234"), (101.6, "102"),
        (43.71, "43.7"), (3.14159, "3.14"), (-2.5, "\u22122.50"), (0.0004, "0.0004"), (-0.0, "0"),
    ],
)  # fmt: skip
def test_figures(value: float | None, said: str) -> None:
    assert words.figures(value) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (None, "–"), (0.0, "0\u202f%"), (1.0, "100\u202f%"), (0.624, "62\u202f%"), (0.025, "2.5\u202f%"),
        (0.9999, "99.9\u202f%"), (0.00001, "<\u202f0.1\u202f%"), (-0.008, "\u22120.8\u202f%"), (1.08, "108\u202f%"),
    ],
)  # fmt: skip
def test_percent(share: float | None, said: str) -> None:
    assert words.percent(share) == said


def test_less_than_all_is_never_said_to_be_all() -> None:
    assert all(words.percent(share) != "100\u202f%" for share in (0.99, 0.995, 0.9996, 0.99999))


def test_evidence_says_all_four_numbers() -> None:
    assert words.evidence(TRUST) == (
        "Keeps 62\u202f% of the response with only the marked fifth; a random fifth keeps 9\u202f%. "
        "Hiding the marked fifth takes away 71\u202f%; hiding a random fifth 14\u202f%."
    )
    assert words.evidence(None) == "Not tested."
    assert words.evidence(TRUST | {"sufficiency_random": None, "comprehensiveness": None}).endswith(
        "only the marked fifth."
    )


@pytest.mark.parametrize(
    ("keeps", "loses", "said"),
    [(0.62, 0.71, "far beyond chance"), (0.3, 0.3, "beyond chance"), (0.15, 0.18, "little beyond chance"),
     (0.09, 0.14, "no better than chance"), (0.0, 0.0, "no better than chance")],
)  # fmt: skip
def test_verdict(keeps: float, loses: float, said: str) -> None:
    assert words.verdict(TRUST | {"sufficiency": keeps, "comprehensiveness": loses}) == said
    assert words.verdict(None) == "not tested"


def test_beliefs_are_medians_over_the_layers() -> None:
    layers = [{"layer": str(kept), "trust": {"guided": TRUST | {"sufficiency": kept}}} for kept in (0.2, 0.9, 0.4)]
    sanity = [
        {"layer": str(i), "kind": "guided", "randomised": how, "measure": measure, "neurons": 3, "similarity": s}
        for i, s in enumerate((0.7, 0.9, 0.8))
        for how in ("own", "all")
        for measure in ("ssim absolute", "rank absolute")
    ]
    sanity.append(sanity[0] | {"kind": "gradient", "randomised": "none"})
    guided, gradient = words.beliefs(layers, sanity)
    assert guided["trust"]["sufficiency"] == 0.4
    assert (guided["layers"], guided["neurons"]) == (3, 9)
    assert guided["shuffled"] == [
        {"randomised": how, "similarity": 0.8, "measure": "rank absolute", "layers": 3} for how in ("own", "all")
    ]
    assert gradient == {"kind": "gradient", "trust": None, "layers": 0, "neurons": 0, "shuffled": []}


def test_kinds_are_compared_only_where_both_are_defined() -> None:
    """One kind is defined in two layers of three: beside the other, the third must not count."""
    both = {"a": (0.2, 0.3), "b": (0.4, 0.5)}
    layers = [
        {"layer": name, "trust": {"deconvnet": TRUST | {"sufficiency": d}, "gradient": TRUST | {"sufficiency": g}}}
        for name, (d, g) in both.items()
    ]
    assert words.compared(layers) == []
    layers.append({"layer": "c", "trust": {"gradient": TRUST | {"sufficiency": 0.99}}})
    assert words.compared(layers) == [
        {
            "first": "deconvnet",
            "second": "gradient",
            "sufficiency": (pytest.approx(0.3), pytest.approx(0.4)),
            "layers": 2,
        }
    ]


def test_any_value_of_a_table_can_be_shown() -> None:
    assert [words.shown(value) for value in (None, True, 1234, 0.12345, "x", {"y": 1}, [1.5, None], [0] * 13)] == [
        "–", "yes", "1,234", "0.12", "x", "y 1", "1.50, –", "13 values",
    ]  # fmt: skip


def test_boxes_as_attributes_and_the_largest_first() -> None:
    small, large = {"left": 1, "top": 2, "right": 3.25, "bottom": 4}, {"left": -4, "top": 0, "right": 9, "bottom": 8}
    assert words.rectangle(small) == 'x="1.0" y="2.0" width="2.2" height="2.0"'
    assert words.largest_first([{"box": small}, {"box": large}]) == [{"box": large}, {"box": small}]


def neuron(bins: list[tuple[float, float, int]], responses: list[float] | None = None) -> dict[str, Any]:
    return {
        "histogram": [{"left": left, "right": right, "count": count} for left, right, count in bins],
        "quantiles": {"p05": bins[0][0], "p50": (bins[0][0] + bins[-1][1]) / 2, "p95": None} if bins else {},
        "examples": {"max": [{"response": r} for r in responses or []], "spread": [], "min": []},
    }


def test_a_histogram_spans_its_bins_and_marks_its_examples() -> None:
    chart = charts.histogram(neuron([(-1.0, 0.0, 4), (0.0, 3.0, 12)], [3.0, 1.0]))
    assert chart is not None
    assert (chart["low"], chart["high"], chart["zero"]) == (-1.0, 3.0, charts.WIDTH / 4)
    assert chart["ticks"] == f"M{charts.WIDTH:.1f} {charts.HEIGHT + 2}v9M{charts.WIDTH / 2:.1f} {charts.HEIGHT + 2}v9"
    assert [x for x, _, _ in chart["quantiles"]] == [0.0, charts.WIDTH / 2]


def test_there_is_no_histogram_without_bins_or_width() -> None:
    assert charts.histogram(neuron([])) is None
    assert charts.histogram(neuron([(2.0, 2.0, 5)])) is None


@given(
    st.lists(st.tuples(st.floats(0.001, 50), st.floats(0, 5), st.integers(1, 1000)), min_size=1, max_size=40),
    st.floats(-100, 100),
)
def test_bars_hold_every_image_once(parts: list[tuple[float, float, int]], low: float) -> None:
    bins, left = [], low
    for width, gap, count in parts:
        bins.append({"left": left, "right": left + width, "count": count})
        left += width + gap
    high = bins[-1]["right"]
    bars = charts._bars(bins, low, (high - low) / charts.BARS)
    assert sum(bars) == pytest.approx(sum(count for _, _, count in parts), rel=1e-6)
    assert min(bars) >= -1e-9


def test_fields_are_drawn_to_scale() -> None:
    field: dict[str, Any] = {"size": {"x": 112, "y": 56}, "global_field": False, "gated": False}
    assert charts.field_scale(field, 224) == {"x": 25.0, "y": 37.5, "width": 50.0, "height": 25.0}
    assert charts.field_scale({**field, "global_field": True}, 224)["width"] == 100.0
    assert charts.field_scale({**field, "global_field": True, "gated": True}, 224)["width"] == 50.0
    assert charts.field_scale(field, 50) == {"x": 0.0, "y": 0.0, "width": 100.0, "height": 100.0}

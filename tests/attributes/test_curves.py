"""Accuracy by attribute against a slow twin on tables with nulls and ties, planted cases, and chance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from atlas.attributes import curves, values
from atlas.attributes.part import hardest, make
from atlas.attributes.settings import AttributesSettings
from tests import naive_attributes as naive
from tests.attributes import planted

NONE = AttributesSettings()


def of(table: pa.Table, attribute: str) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if row["attribute"] == attribute]


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[Any]]:
    count = draw(st.integers(1, 60))

    def column(value: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(value, min_size=count, max_size=count))

    tied = st.one_of(st.none(), st.sampled_from([-1.5, 0.0, -0.0, 0.25, 3.0, 1e300]), st.floats(-5, 5))
    return {
        "class_id": column(st.integers(-1, 3)),
        "correct": column(st.booleans()),
        "loss": column(st.one_of(st.none(), st.floats(0, 50, width=32))),
        "tied": column(st.one_of(tied, st.sampled_from([math.nan, math.inf]))),
        "word": column(st.one_of(st.none(), st.sampled_from(["", "a", "b'\"", "c"]))),
        "hue": column(st.floats(0, 6.25, width=32)),
        "edge_orientation": column(st.one_of(st.just(math.nan), st.floats(0, 3.125, width=32))),
    }


@given(tables())
@settings(max_examples=40)
def test_against_the_slow_twin(tmp_path_factory: pytest.TempPathFactory, given: dict[str, list[Any]]) -> None:
    count = len(given["class_id"])
    images = planted.images(np.array(given["class_id"]), np.array(given["correct"]), loss=given["loss"])
    path = tmp_path_factory.getbasetemp() / "given.parquet"
    import pyarrow.parquet as pq

    mine = {"key": images["key"], "tied": pa.array(given["tied"], pa.float64()), "word": given["word"]}
    pq.write_table(pa.table(mine), path)
    angles = {name: np.array(given[name], np.float32) for name in ("hue", "edge_orientation")}
    made = make(images, planted.measured(count, **angles), AttributesSettings(table=str(path)))["accuracy"]
    rows = [
        {"class_id": c, "correct": r, "loss": loss, **{name: given[name][i] for name in ("tied", "word", *angles)}}
        for i, (c, r, loss) in enumerate(zip(given["class_id"], given["correct"], given["loss"], strict=True))
        if c >= 0
    ]
    for name in ("tied", "word", *angles):
        present = [r for r in rows if r[name] is not None and (isinstance(r[name], str) or math.isfinite(r[name]))]
        own = [r[name] for r in present]
        if name == "word":
            bins = naive.bins_of_words(own)
        elif name == "tied":
            bins = naive.bins_of_numbers([v + 0.0 for v in own])
        else:
            bins = naive.bins_of_angles(own, 1 if name == "hue" else 2)
        found = of(made, name)
        assert [row["bin"] for row in found] == [b for b, members in enumerate(bins) if members]
        for row in found:
            _same(row, [present[i] for i in bins[row["bin"]]], name)


def _same(row: dict[str, Any], members: list[dict[str, Any]], name: str) -> None:
    right = sum(m["correct"] for m in members)
    assert row["n"] == len(members)
    assert row["top1"] == right / len(members)
    assert (row["top1_low"], row["top1_high"]) == pytest.approx(naive.wilson(right, len(members)), abs=1e-9)
    losses = [m["loss"] for m in members if m["loss"] is not None]
    assert (row["loss"] is None) == (not losses)
    if losses:
        assert row["loss"] == pytest.approx(math.fsum(losses) / len(losses), abs=2**-24)
    if name == "tied":
        assert (row["low"], row["high"]) == (min(m[name] for m in members), max(m[name] for m in members))
    assert row["value"] == (members[0][name] if name == "word" else None)
    assert row["answered"] is None


def hard(seed: int, count: int, slope: float) -> tuple[pa.Table, pa.Table]:
    """Images of ten classes, right with a chance that rises with brightness by `slope` from end to end."""
    rng = np.random.default_rng(seed)
    brightness = rng.random(count)
    correct = rng.random(count) < 0.7 + slope * (brightness - 0.5)
    return planted.images(rng.integers(0, 10, count), correct), planted.measured(
        count, seed, brightness=brightness.astype(np.float32)
    )


def test_a_planted_slope_is_found_and_monotone() -> None:
    images, measured = hard(0, 20_000, 0.5)
    made = make(images, measured, NONE)
    found = {row["attribute"]: row for row in made["attributes"].to_pylist()}
    assert [name for name, row in found.items() if row["significant"]] == ["brightness"]
    assert found["brightness"]["p"] < 1e-100
    assert found["brightness"]["within_class"]
    for which in ("top1", "top1_within_class"):
        curve = [row[which] for row in of(made["accuracy"], "brightness")]
        assert len(curve) == 10
        assert curve == sorted(curve)
        assert curve[0] == pytest.approx(0.475, abs=0.04)
    assert hardest(made["accuracy"], made["attributes"])[0].startswith("brightness 7.94e-05 to 0.0978 (4")
    assert found["width"] == {
        "attribute": "width", "kind": "number", "n": 20_000, "effect": None, "p": None, "significant": False,
        "within_class": False, "why": "all values are the same",
    }  # fmt: skip


def test_a_planted_direction_is_found() -> None:
    rng = np.random.default_rng(3)
    hue = (rng.random(8000) * 2 * math.pi).astype(np.float32)
    correct = rng.random(8000) < np.where(np.cos(hue) > math.cos(math.pi / 8), 0.3, 0.8)  # red is hard
    made = make(planted.images(rng.integers(0, 5, 8000), correct), planted.measured(8000, hue=hue), NONE)
    curve = [row["top1_within_class"] for row in of(made["accuracy"], "hue")]
    assert curve[0] < 0.35
    assert min(curve[1:]) > 0.7


@pytest.mark.parametrize("inside", [0.0, 0.3])
def test_a_mix_of_classes_is_no_slope(inside: float) -> None:
    """Simpson: an easy class is dark and a hard one bright; within each, accuracy does not change, or rises."""
    rng = np.random.default_rng(1)
    class_id = rng.integers(0, 2, 20_000)
    brightness = np.clip(np.where(class_id, 0.7, 0.3) + 0.15 * rng.normal(size=20_000), 0, 1)
    correct = rng.random(20_000) < np.where(class_id, 0.4, 0.8) + inside * (brightness - 0.5)
    images = planted.images(class_id, correct)
    made = make(images, planted.measured(20_000, brightness=brightness.astype(np.float32)), NONE)
    curve = of(made["accuracy"], "brightness")
    assert curve[0]["top1"] - curve[-1]["top1"] > 0.1  # what it looks like
    within = curve[-1]["top1_within_class"] - curve[0]["top1_within_class"]
    assert within == pytest.approx(inside * (curve[-1]["high"] - curve[0]["low"]), abs=0.08)
    found = next(row for row in made["attributes"].to_pylist() if row["attribute"] == "brightness")
    assert found["significant"] == (inside > 0)


@pytest.mark.slow
def test_chance_is_called_chance() -> None:
    p, significant = [], 0
    for seed in range(100):
        images, measured = hard(seed, 1500, 0.0)
        rows = make(images, measured, NONE)["attributes"].to_pylist()
        p += [row["p"] for row in rows if row["p"] is not None]
        significant += any(row["significant"] for row in rows)
    assert len(p) == 700
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert significant <= 11


def test_one_image_a_class_is_compared_with_all() -> None:
    rng = np.random.default_rng(5)
    brightness = rng.random(1000).astype(np.float32)
    images = planted.images(np.arange(1000), rng.random(1000) < 0.3 + 0.6 * brightness)
    made = make(images, planted.measured(1000, brightness=brightness), NONE)
    found = next(row for row in made["attributes"].to_pylist() if row["attribute"] == "brightness")
    assert found["significant"]
    assert not found["within_class"]
    assert {row["top1_within_class"] for row in of(made["accuracy"], "brightness")} == {None}


def test_without_a_class_there_is_nothing() -> None:
    made = make(planted.images(np.full(20, -1), np.zeros(20, bool)), planted.measured(20), NONE)
    assert made["accuracy"].num_rows == made["class_differences"].num_rows == 0
    assert {row["why"] for row in made["attributes"].to_pylist()} == {"0 images have a value; expected at least 10"}


def test_several_labels_count_each() -> None:
    labels = pa.array([[1, 2], [1], [0, 3]] * 10, pa.list_(pa.int32()))
    images = planted.images(np.full(30, -1), np.zeros(30, bool), class_ids=labels, predicted=[2, 2, 3] * 10)
    [row] = of(make(images, None, NONE)["accuracy"], values.ALL)
    assert (row["n"], row["top1"]) == (30, 2 / 3)


@given(st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=50))
def test_tenths_hold_every_value_once(numbers: list[float]) -> None:
    bins = curves.tenths(np.array(numbers))
    assert len(bins) <= 10
    assert [sum(b.low <= v <= b.high for b in bins) for v in numbers] == [1] * len(numbers)  # type: ignore[operator]
    assert [(min(numbers[i] for i in m), max(numbers[i] for i in m)) for m in naive.bins_of_numbers(numbers)] == [
        (b.low, b.high) for b in bins
    ]

"""The table of a whole small sample: what is named, what is not, and what the controls say."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from atlas.errors import InputError
from atlas.words import null, part
from atlas.words.settings import WordsSettings

IMAGES, CLASSES = 400, 8
SETTINGS = WordsSettings(shuffles=400, formulas=2)


def images(count: int = IMAGES) -> pa.Table:
    class_id = np.arange(count) % CLASSES
    return pa.table({
        "key": [f"{c}/{i}.png" for i, c in enumerate(class_id)],
        "content": pa.array([hashlib.sha256(str(i).encode()).digest() for i in range(count)]),
        "class_id": pa.array(class_id, pa.int32()), "class_name": [f"class {c}" for c in class_id],
        "width": np.full(count, 10), "height": np.full(count, 10),
    })  # fmt: skip


def responses() -> tuple[np.ndarray, np.ndarray]:
    """Six neurons: class 3; classes 1 or 2; against class 5; noise; constant; noise."""
    source = np.random.default_rng(0)
    maxima = source.normal(size=(IMAGES, 6)).astype(np.float32)
    minima = source.normal(size=(IMAGES, 6)).astype(np.float32)
    label = np.arange(IMAGES) % CLASSES
    maxima[:, 0] += 20 * (label == 3)
    maxima[:, 1] += 20 * np.isin(label, (1, 2))
    minima[:, 2] -= 20 * (label == 5)
    maxima[:, 4] = 7
    return maxima, minima


def named(step: int = 6, controls: bool = True) -> tuple[pa.Table, pa.Table, pa.Table, part.Prepared]:
    prepared = part.prepare(images(), {"brightness": np.arange(IMAGES) * 1.0}, None, SETTINGS)
    maxima, minima = responses()
    parts = [
        part.block(
            prepared, "conv", np.arange(at, min(at + step, 6)), maxima[:, at : at + step], minima[:, at : at + step],
            np.full(min(step, 6 - at), controls), SETTINGS,
        )
        for at in range(0, 6, step)
    ]  # fmt: skip
    rows = pa.concat_tables([rows for rows, _ in parts])
    keys = {(int(t), int(b)) for t, b in zip(rows["top"].to_pylist(), rows["bottom"].to_pylist(), strict=True) if t < 8}
    nulls = {
        key: null.Null.of(null.draw(prepared.halves.table, key, 0, SETTINGS.shuffles, 3, 10, 0)) for key in keys
    }  # fmt: skip
    table, shuffled = part.finish(rows, nulls)
    return table, shuffled, pa.concat_tables([constant for _, constant in parts]), prepared


def test_what_drives_a_neuron_is_its_first_word() -> None:
    table, shuffled, constant, prepared = named()
    first = {(r["channel"], r["side"]): r for r in table.to_pylist() if r["rank"] == 0}
    assert len(first) == 12
    assert first[0, "max"]["words"] == "class 3"
    assert first[1, "max"]["words"] in ("class 1 OR class 2", "class 2 OR class 1")
    assert first[2, "min"]["words"] == "class 5"
    for key in ((0, "max"), (1, "max"), (2, "min")):
        row = first[key]
        assert row["q"] <= 0.05
        assert row["held_out"] == pytest.approx(1)
        assert row["auc"] == pytest.approx(1)
        assert row["correlation"] > 0.9
        assert row["n"] == (100 if key[0] == 1 else 50)
    assert first[4, "max"]["words"] is None
    assert first[4, "max"]["p"] is None
    assert sum(row["q"] is not None and row["q"] <= 0.05 for row in first.values()) <= 4
    summary = part.summary(table, shuffled, constant, prepared, 0.05)
    assert summary["tests"] == 11
    assert summary["shuffled_tests"] == 11
    assert summary["shuffled_named"] == 0
    assert summary["shuffled_held_out"] < summary["held_out"]
    assert summary["constant_held_out"] < summary["held_out"]
    assert summary["constant_word"] in prepared.concepts.names


def test_rows_do_not_depend_on_how_neurons_are_cut() -> None:
    whole, parts = named(6), named(2)
    order = [("channel", "ascending"), ("side", "ascending"), ("rank", "ascending")]
    for a, b in zip(whole[:2], parts[:2], strict=True):
        assert a.sort_by(order).equals(b.sort_by(order))


def test_ranks_share_few_images_and_later_ones_say_less() -> None:
    table = named()[0]
    by_neuron: dict[tuple[int, str], list[dict[str, object]]] = {}
    for row in table.to_pylist():
        by_neuron.setdefault((row["channel"], row["side"]), []).append(row)
    for rows in by_neuron.values():
        assert [row["rank"] for row in rows] == list(range(len(rows)))
        ps = [row["p"] for row in rows if row["p"] is not None]
        assert ps == sorted(ps)


def test_without_concepts_it_is_refused() -> None:
    few = images(8)
    with pytest.raises(InputError, match=r"no concept holds for 5 images of each half .*--concepts FILE"):
        part.prepare(few, {}, None, SETTINGS)


def test_controls_are_chosen_by_what_they_are() -> None:
    chosen = part.controls([("a", 300), ("b", 100)], 0)
    assert sum(int(flags.sum()) for flags in chosen.values()) == part.CONTROLS
    fewer = part.controls([("b", 100)], 0)
    assert fewer["b"].all()


def test_several_classes_an_image() -> None:
    many = images().append_column("class_ids", pa.array([[i % 8, 8 if i % 2 else 9] for i in range(IMAGES)]))
    prepared = part.prepare(many, {}, None, SETTINGS)
    assert "class 9" in prepared.concepts.names

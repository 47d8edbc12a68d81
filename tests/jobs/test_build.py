"""The atlas of the main job against the slow twin, on tensors: they agree entirely."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests import naive, tiny

LAYERS = {
    "conv1": "bn1",
    "block.conv1": "block.bn1",
    "block.conv2": "block.bn2",
    "block": "block",
    "conv2": "conv2",
    "fc": "fc",
}
RECTIFIED = {"conv1", "block.conv1", "conv2"}
K, SAMPLE = 9, 60


def table(atlas: Path, name: str) -> list[dict[str, Any]]:
    return list(pq.read_table(atlas / f"{name}.parquet").to_pylist())


@pytest.fixture(scope="module")
def twin(tiny_root: Path, tiny_atlas: Path) -> naive.Scan:
    images = {
        row["image_id"]: naive.to_pixels((tiny_root / "images" / row["key"]).read_bytes(), 36, tiny.CROP)
        for row in table(tiny_atlas, "images")
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        module = tiny.module().to(memory_format=torch.channels_last)
        return naive.scan(module, LAYERS, naive.batches_of(images, 8), "fc")
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def examples(tiny_atlas: Path) -> dict[tuple[str, int, str], list[dict[str, Any]]]:
    found: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for row in table(tiny_atlas, "examples"):
        found.setdefault((row["layer"], row["channel"], row["side"]), []).append(row)
    return found


def neurons(twin: naive.Scan) -> list[tuple[str, int]]:
    return [(name, channel) for name in LAYERS for channel in range(twin.high[name].shape[1])]


def test_listed_is_scanned_and_quarantined(tiny_atlas: Path) -> None:
    images, bad = table(tiny_atlas, "images"), table(tiny_atlas, "quarantine")
    assert len(images) == tiny.COUNT
    assert {row["key"] for row in bad} == set(tiny.BAD)
    assert sorted(row["image_id"] for row in images + bad) == list(range(len(images) + len(bad)))


def test_images(tiny_atlas: Path, twin: naive.Scan) -> None:
    for row, logits in zip(table(tiny_atlas, "images"), twin.logits.astype(np.float64), strict=True):
        share = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert row["class_name"] == tiny.CLASSES[row["class_id"]] == row["key"].split("/")[0]
        assert row["predicted"] == logits.argmax()
        assert row["probability"] == pytest.approx(share.max(), rel=1e-6)
        assert row["loss"] == pytest.approx(-np.log(share[row["class_id"]]), rel=1e-5)
        assert row["thumbnail"]["length"] > 0
        assert row["class_ids"] is None
        body = (tiny_atlas.parent / "images" / row["key"]).read_bytes()
        assert row["content"] == hashlib.sha256(body).digest()


def test_winners_and_positions_agree_entirely(twin: naive.Scan, examples: dict[Any, Any]) -> None:
    for name, channel in neurons(twin):
        for side, values, places, best in (
            ("max", twin.high, twin.high_at, naive.strongest),
            ("min", twin.low, twin.low_at, naive.weakest),
        ):
            column = values[name][:, channel]
            rows = examples.get((name, channel, side), [])
            wanted = best(column.tolist(), twin.ids, K) if column.max() > column.min() else []
            assert [(row["image_id"], row["response"]) for row in rows] == wanted, (name, channel, side)
            assert [row["rank"] for row in rows] == list(range(len(rows)))
            for row in rows:
                place = places[name][twin.ids.index(row["image_id"]), channel]
                assert (row["y"], row["x"]) == divmod(int(place), twin.width[name])


def test_spread_and_response_sample(tiny_atlas: Path, twin: naive.Scan, examples: dict[Any, Any]) -> None:
    for number, name in enumerate(LAYERS):
        sample = pq.read_table(tiny_atlas / f"responses/part-{number:05d}.parquet").to_pylist()
        ids = [row["image_id"] for row in sample]
        assert ids == sorted(ids)
        assert len(ids) == SAMPLE
        digests = {row["image_id"]: row["content"] for row in table(tiny_atlas, "images")}
        smallest = sorted(digests, key=lambda i: (naive.sample_hash(0, digests[i]), i))[:SAMPLE]
        assert ids == sorted(smallest)
        at = [twin.ids.index(i) for i in ids]
        np.testing.assert_array_equal(np.array([row["max"] for row in sample], np.float32), twin.high[name][at])
        np.testing.assert_array_equal(np.array([row["min"] for row in sample], np.float32), twin.low[name][at])
        for channel in range(twin.high[name].shape[1]):
            column = twin.high[name][at, channel]
            rows = examples.get((name, channel, "spread"), [])
            wanted = naive.spread(column.tolist(), ids) if column.max() > column.min() else []
            assert [(row["image_id"], row["response"]) for row in rows] == wanted


def test_boxes(tiny_atlas: Path, examples: dict[Any, Any]) -> None:
    """Fields from the layers table; in the image as stored by the definition of Resize and CenterCrop."""
    sizes = {row["image_id"]: (row["width"], row["height"]) for row in table(tiny_atlas, "images")}
    fields = {row["layer"]: row for row in table(tiny_atlas, "layers")}
    for rows in examples.values():
        for row in rows:
            for low, high, axis, side in (("left", "right", "x", 0), ("top", "bottom", "y", 1)):
                layer = fields[row["layer"]]
                start = layer["field_start"][axis] + layer["field_stride"][axis] * row[axis]
                assert row[f"field_{low}"] == start
                assert row[f"field_{high}"] == start + layer["field_size"][axis]
                size = sizes[row["image_id"]]
                resized = 36 if size[side] == min(size) else int(36 * size[side] / min(size))
                offset = round((resized - tiny.CROP) / 2)
                positions = layer["width" if axis == "x" else "height"]
                assert row[f"cell_{low}"] == pytest.approx(row[axis] * tiny.CROP / positions)
                assert row[f"cell_{high}"] == pytest.approx((row[axis] + 1) * tiny.CROP / positions)
                for edge in (low, high):
                    wanted = (offset + row[f"field_{edge}"]) * size[side] / resized
                    assert row[f"image_{edge}"] == pytest.approx(wanted, abs=1e-9)


def test_numbers_of_neurons(tiny_atlas: Path, twin: naive.Scan) -> None:
    class_ids = np.array([row["class_id"] for row in table(tiny_atlas, "images")])
    rows = table(tiny_atlas, "neurons")
    assert [(row["layer"], row["channel"]) for row in rows] == neurons(twin)
    sampled = pq.read_table(tiny_atlas / "responses/part-00000.parquet").column("image_id").to_pylist()
    at = [twin.ids.index(i) for i in sampled]
    for row in rows:
        high = twin.high[row["layer"]][:, row["channel"]]
        low = twin.low[row["layer"]][:, row["channel"]]
        assert row["images"] == len(high)
        assert row["mean"] == pytest.approx(high.mean(dtype=np.float64), rel=1e-9, abs=1e-12)
        assert row["std"] == pytest.approx(high.std(dtype=np.float64), rel=1e-5, abs=1e-9)
        assert row["max"] == high.max()
        assert row["min"] == low.min()
        rectified = row["layer"] in RECTIFIED
        assert row["activation_rate"] == ((high > 0).mean() if rectified else None)
        assert row["reference_max"] == (0 if rectified else np.float32(np.median(high[at])))
        assert row["reference_min"] == (0 if rectified else np.float32(np.median(low[at])))
        means = twin.mean[row["layer"]][:, row["channel"]]
        assert row["map_mean"] == pytest.approx(means.mean(), rel=1e-5, abs=1e-6)
        assert row["dead"] == (not (high > 0).any() if row["layer"] in RECTIFIED else None)
        for side, values in (("max", high), ("min", low)):
            assert (row[f"why_{side}"] is not None) == (values.max() == values.min())
        index = naive.selectivity(high, class_ids)
        if np.isnan(index):
            assert row["selectivity"] is None
        else:
            assert row["selectivity"] == pytest.approx(index, rel=1e-5)


def test_histograms_and_quantiles(tiny_atlas: Path, twin: naive.Scan) -> None:
    for row in table(tiny_atlas, "neurons"):
        high = np.sort(twin.high[row["layer"]][:, row["channel"]])
        edges = [(b["left"], b["right"], b["count"]) for b in row["histogram"]]
        assert edges == sorted(edges)
        assert sum(count for _, _, count in edges) == len(high)
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(edges))
        for left, right, count in edges:
            inside = (high >= left) & ((high < right) | ((high == right) & (right == high[-1])))
            assert inside.sum() == count
        for name, value in row["quantiles"].items():
            rank = int(name[1:]) / 100 * len(high)
            near = high[[max(int(rank) - 1, 0), min(int(rank) + 1, len(high) - 1)]]  # its neighbours in the sample
            slack = np.abs(near).max() / 16 + 2.0**-20
            assert near[0] - slack <= value <= near[1] + slack


def test_class_profiles(tiny_atlas: Path, twin: naive.Scan) -> None:
    class_ids = np.array([row["class_id"] for row in table(tiny_atlas, "images")])
    rows = {(row["layer"], row["channel"], row["class_id"]): row for row in table(tiny_atlas, "classes")}
    tops = {(row["layer"], row["channel"]): row["top_classes"] for row in table(tiny_atlas, "neurons")}
    assert len(rows) == len(neurons(twin)) * len(tiny.CLASSES)
    for name, channel in neurons(twin):
        means = []
        for class_id in range(len(tiny.CLASSES)):
            values = twin.high[name][class_ids == class_id, channel]
            row = rows[name, channel, class_id]
            assert row["mean"] == pytest.approx(values.mean(dtype=np.float64), rel=1e-6, abs=1e-9)
            share = pytest.approx((values > 0).mean(), rel=1e-6) if name in RECTIFIED else None
            assert row["share"] == share
            means.append(row["mean"])
        assert [t["class_id"] for t in tops[name, channel]] == sorted(range(4), key=lambda c: (-means[c], c))


def test_codes(tiny_atlas: Path, twin: naive.Scan) -> None:
    parts = [row for path in sorted((tiny_atlas / "codes").iterdir()) for row in pq.read_table(path).to_pylist()]
    assert [row["image_id"] for row in parts] == twin.ids
    np.testing.assert_array_equal(np.array([row["code"] for row in parts], np.float32), twin.codes)


def test_provenance(tiny_atlas: Path, twin: naive.Scan) -> None:
    about = json.loads((tiny_atlas / "atlas.json").read_text())
    class_ids = np.array([row["class_id"] for row in table(tiny_atlas, "images")])
    assert about["accuracy"]["top1"] == (twin.logits.argmax(1) == class_ids).mean()
    assert about["counts"] | {"images": len(twin.ids), "quarantined": 3, "layers": 6, "dead": 2} == about["counts"]
    assert about["counts"]["neurons"] == len(neurons(twin))
    assert not (tiny_atlas / "work").exists()


def test_pictures_are_rows(tiny_atlas: Path, examples: dict[Any, Any]) -> None:
    """A row for each example of side max and kind; one that is not driven says so and names its reference."""
    references = {(row["layer"], row["channel"]): row["reference_max"] for row in table(tiny_atlas, "neurons")}
    pictures = table(tiny_atlas, "explanations")
    kinds = ("deconvnet", "guided", "gradient", "gradient_max")
    wanted = [
        (*key, row["rank"], kind) for key, rows in examples.items() if key[2] == "max" for row in rows for kind in kinds
    ]
    found = {(row["layer"], row["channel"], row["side"], row["rank"], row["kind"]): row for row in pictures}
    assert len(found) == len(pictures)
    assert set(found) == set(wanted)
    undriven = 0
    for (layer, channel, side, rank, kind), row in found.items():
        response = examples[layer, channel, side][rank]["response"]
        if response <= references[layer, channel]:
            undriven += 1
            assert "nothing in the image drives the neuron" in row["picture"]["why"]
        elif row["picture"]["why"] is None and kind == "gradient" and rank < 3:
            assert row["sufficiency"] is not None
        if rank >= 3 or kind == "gradient_max":
            assert row["sufficiency"] is None
    assert undriven


def test_trust_is_the_median_of_the_evidence(tiny_atlas: Path) -> None:
    tested: dict[Any, list[float]] = {}
    for row in table(tiny_atlas, "explanations"):
        if row["sufficiency"] is not None:
            tested.setdefault((row["layer"], row["channel"], row["kind"]), []).append(row["sufficiency"])
    rows = table(tiny_atlas, "trust")
    neurons = {(r["layer"], r["channel"], r["kind"]): r for r in rows if r["channel"] is not None}
    assert set(neurons) == set(tested)
    for key, values in tested.items():
        assert neurons[key]["sufficiency"] == pytest.approx(np.median(values), rel=1e-6)
        assert neurons[key]["n"] == len(values)
    for row in rows:
        if row["channel"] is None:
            mine = [r["sufficiency"] for k, r in neurons.items() if (k[0], k[2]) == (row["layer"], row["kind"])]
            assert row["sufficiency"] == pytest.approx(np.median(mine), rel=1e-6)
            assert row["n"] == len(mine)

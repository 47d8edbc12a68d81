"""The map: principal axes, t-SNE, what is placed among it, and the grid."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from atlas.analyse import axis, similar, stage
from atlas.codes import embedding, grid
from atlas.store import parquet
from atlas.store.codes import unit
from tests import naive_codes
from tests.constructed_codes import make


def clusters(count: int, dimensions: int = 8, seed: int = 0) -> npt.NDArray[np.float32]:
    random = np.random.default_rng(seed)
    centres = 3 * random.normal(size=(10, dimensions))
    return unit(centres[random.integers(0, 10, count)] + random.normal(size=(count, dimensions)))


def test_pca_against_scikit_learn() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 60)).astype(np.float32) @ np.diag(np.arange(60)) + 100
    found = embedding.pca(np.array_split(rows, 7), 60)
    twin = PCA(n_components=50, svd_solver="full").fit(rows)
    assert found.explained == pytest.approx(twin.explained_variance_ratio_.tolist(), rel=1e-9)
    assert np.abs(found.axes @ twin.components_[:2].T) == pytest.approx(np.eye(2), abs=1e-9)
    assert np.abs(found.place(rows)) == pytest.approx(np.abs(twin.transform(rows)[:, :2]), abs=1e-3)
    assert found.axes[np.arange(2), np.abs(found.axes).argmax(axis=1)].min() > 0


def test_pca_by_hand() -> None:
    found = embedding.pca([np.array([[0.0, 0], [2, 0], [0, 1], [2, 1]])], 2)
    assert found.explained == pytest.approx([0.8, 0.2])
    assert found.place(np.array([[2.0, 1.0]])).tolist() == [[1, 0.5]]
    one = embedding.pca([np.array([[1.0], [3.0]])], 1)
    assert one.place(np.array([[3.0]])).tolist() == [[1, 0]]
    assert embedding.pca([], 3).place(np.zeros((0, 3))).shape == (0, 2)


def test_neighbours_by_lists_are_nearly_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clusters(3000)
    exact = embedding.Neighbours(vectors, 0).of_all(10)
    monkeypatch.setattr(embedding, "EXACT_WORK", 0)
    by_lists = embedding.Neighbours(vectors, 0)
    assert not by_lists.exact
    rows, distances = by_lists.of_all(10)
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, exact[0], strict=True)]) > 0.95
    assert not (rows == np.arange(3000)[:, None]).any()
    own = np.linalg.norm(vectors[0] - vectors[rows[0]], axis=1)
    assert distances[0] == pytest.approx(own, abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.integers(3, 30))
@settings(max_examples=20, deadline=None)
def test_preservation_against_the_slow_twin(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    vectors, points = clusters(count, seed=seed), random.normal(size=(count, 2)).astype(np.float32)
    expected = naive_codes.preservation(vectors, points, min(15, count - 1))
    assert embedding.preservation(vectors, points, 0) == pytest.approx(expected, abs=1e-9)


def test_tsne_keeps_more_than_pca_and_places_further_rows_near_their_like() -> None:
    vectors = clusters(600)
    flat = embedding.pca([vectors], 8).place(vectors)
    tsne = embedding.Tsne(vectors[:400], flat[:400], 0)
    assert embedding.preservation(vectors[:400], tsne.coordinates, 0) > embedding.preservation(
        vectors[:400], flat[:400], 0
    )
    placed = tsne.place(vectors[400:])
    halves = np.concatenate([tsne.place(vectors[400:450]), tsne.place(vectors[450:])])
    assert (placed == halves).all()
    spread = np.ptp(tsne.coordinates, axis=0).max()
    nearest, _ = tsne.neighbours.of(vectors[400:], 1)
    assert np.median(np.linalg.norm(placed - tsne.coordinates[nearest[:, 0]], axis=1)) < 0.1 * spread


@pytest.mark.slow
def test_tsne_by_interpolation_is_the_same_in_another_process(tmp_path: Path) -> None:
    """Above 10,000 rows openTSNE interpolates with Fourier transforms; here 12,000, a few steps, other threads."""
    script = (
        "import sys; import numpy as np\n"
        "from tests.codes.test_map import clusters; from atlas.codes import embedding\n"
        "from atlas.analyse import stage\n"
        "embedding.ITERATIONS = (5, 5); vectors = clusters(12000)\n"
        "with stage.single_thread():\n"
        "    tsne = embedding.Tsne(vectors, embedding.pca([vectors], 8).place(vectors), 0)\n"
        "np.save(sys.argv[1], tsne.coordinates)"
    )
    for threads in ("1", "4"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        root, out = Path(__file__).parents[2], str(tmp_path / threads)
        subprocess.run([sys.executable, "-c", script, out], check=True, cwd=root, env=environment)
    assert (tmp_path / "1.npy").read_bytes() == (tmp_path / "4.npy").read_bytes()


def test_above_the_sample_the_rest_is_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "SAMPLED", 120)
    monkeypatch.setattr(grid, "LARGEST", 50)
    made = make(tmp_path)
    result = stage.run(made.folder, made.settings, made.layers, made.neurons, made.examples, None)
    found = parquet.read(made.folder, "map")
    tsne = found.filter(pc.equal(found["kind"], "tsne"))
    assert tsne["image_id"].to_pylist() == made.ids.tolist()
    assert (result.map["tsne"]["sampled"], result.map["tsne"]["grid"]) == (120, 50)
    assert len(tsne) - tsne["grid_row"].null_count == 50
    points = np.stack([tsne["x"].to_numpy(), tsne["y"].to_numpy()], 1)
    assert np.isfinite(points).all()
    centres = np.stack([points[made.classes == c].mean(axis=0) for c in range(5)])
    own = np.linalg.norm(points[:, None] - centres, axis=2).argmin(axis=1)
    assert (own == made.classes).mean() > 0.9  # the placed ones lie with their class too


def test_grid_by_hand() -> None:
    corners = np.array([[1, 1], [0, 0], [0, 1], [1, 0]], np.float32)
    rows, columns = grid.arrange(corners)
    assert rows.tolist() == [1, 0, 1, 0]
    assert columns.tolist() == [1, 0, 0, 1]
    assert [a.tolist() for a in grid.arrange(np.zeros((1, 2), np.float32))] == [[0], [0]]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_grid_is_the_best_of_all(seed: int) -> None:
    points = np.random.default_rng(seed).random((4, 2)).astype(np.float32)
    rows, columns = grid.arrange(points)
    scaled = (points - points.min(axis=0)) / np.ptp(points, axis=0)

    def cost(cells: list[tuple[int, int]]) -> float:
        return sum((p[1] - row) ** 2 + (p[0] - column) ** 2 for p, (row, column) in zip(scaled, cells, strict=True))

    every = itertools.permutations(itertools.product(range(2), repeat=2))
    found = cost(list(zip(rows.tolist(), columns.tolist(), strict=True)))
    assert found == pytest.approx(min(cost(list(cells)) for cells in every), abs=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_largest_against_sorting(seed: int, columns: int, top: int) -> None:
    """With ties, and with entries that do not count."""
    random = np.random.default_rng(seed)
    values = random.integers(0, 3, (5, columns)).astype(np.float32)
    values[random.random(values.shape) < 0.3] = -np.inf
    rows, others, found = similar.largest(values, top)
    for row in range(5):
        expected = sorted((-v, c) for c, v in enumerate(values[row].tolist()) if v > -np.inf)[:top]
        assert [
            (-v, c) for v, c in zip(found[rows == row].tolist(), others[rows == row].tolist(), strict=True)
        ] == expected


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_axis_statistics_against_the_slow_twin(seed: int) -> None:
    random = np.random.default_rng(seed)
    responses, near = random.normal(size=(3, 40)).astype(np.float32), clusters(40, seed=seed)
    classes = random.integers(-1, 4, 40)
    found = axis.statistics(responses, near, classes)
    for row, values in enumerate(responses.tolist()):
        top = sorted(range(40), key=lambda i: (-values[i], i))[:9]
        assert found["closeness"][row] == pytest.approx(naive_codes.closeness(near[top]), abs=1e-5)
        known = [c for c in classes[top].tolist() if c >= 0]
        assert found["purity"][row] == max(known.count(c) for c in known) / len(known)
        middle = np.median(values)
        pairs = [(v, c) for v, c in zip(values, classes.tolist(), strict=True) if c >= 0]
        shifted = [max(v - middle, 0) for v, _ in pairs]
        means = [
            np.mean([s for s, (_, c) in zip(shifted, pairs, strict=True) if c == k]) for k in {c for _, c in pairs}
        ]
        most = max(means)
        others = (sum(means) - most) / (len(means) - 1)
        assert found["selectivity"][row] == pytest.approx((most - others) / (most + others), abs=1e-6)


def test_axis_in_words() -> None:
    row = {f"{measure}_{who}": None for measure in axis.MEASURES for who in ("neurons", "random")}
    first = {**row, "selectivity_neurons": 0.5, "selectivity_random": 0.25}
    second = {**row, "selectivity_neurons": 0.5, "selectivity_random": 0.75}
    assert axis.words({"a": first, "b": second, "c": row}) == [
        "class selectivity: neurons above random directions in 1 of 2 layers (median over layers 0.500 against 0.500)"
    ]
    assert axis.words({}) == []


def test_axis_statistics_by_hand() -> None:
    responses = np.array([[5, 0, 0, 0], [1, 1, 1, 1], [0, -2, -2, -2]], np.float32)
    near, classes = unit(np.eye(4)[[0, 0, 1, 2]]), np.array([0, 0, 1, 1])
    found = axis.statistics(responses, near, classes)
    assert found["selectivity"].tolist() == pytest.approx([1, np.nan, 1], nan_ok=True)
    assert found["purity"].tolist() == pytest.approx([0.5, np.nan, 0.5], nan_ok=True)
    assert found["closeness"].tolist() == pytest.approx([1 / 6, np.nan, 1 / 6], nan_ok=True)
    assert np.isnan(axis.selectivity(responses, np.zeros(4, np.int64))).all()  # one class only

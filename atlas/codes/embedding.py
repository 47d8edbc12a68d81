"""The map of the images: PCA of the codes, t-SNE of the codes, and PCA of a layer's responses.

t-SNE (van der Maaten & Hinton 2008) by openTSNE with its Fourier interpolation (Linderman et al. 2019) on neighbours
found by FAISS, from a PCA start, on one thread: the same bytes for the same codes and seed. The distance is that of
codes of unit length, which orders pairs as their cosine does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from atlas.arrays import Doubles, Floats
from atlas.store.codes import Ids

PERPLEXITY = 30.0
SAMPLED = 200_000
"""Images that t-SNE itself runs on at most; the rest is placed among them by openTSNE's transform."""
LEAST = 5
"""Images below which there is no t-SNE map."""
ITERATIONS = (250, 500)  # with early exaggeration, and without
EXPLAINED = 50
KEPT = 15  # neighbours of which the map should keep as many as it can
ASKED = 2_000  # images on which that is measured
EXACT_WORK = 1e12  # multiplications up to which the neighbours are exact
PROBES = 32


@dataclass(frozen=True)
class Pca:
    """Principal axes of rows: `mean` (d,), `axes` (2, d) of unit length, share of variance of the first 50."""

    mean: Doubles
    axes: Doubles
    explained: list[float]

    def place(self, rows: npt.NDArray[Any]) -> Floats:
        """Coordinates (n, 2) on the first two axes; 0 for an axis there is not, nan for a row that is not finite."""
        finite = np.isfinite(rows).all(axis=1, keepdims=True)
        placed = (np.where(finite, rows, 0) - self.mean) @ self.axes.T
        return np.where(finite, placed, np.nan).astype(np.float32)


def pca(blocks: Iterable[npt.NDArray[Any]], dimensions: int) -> Pca:
    """Principal axes of the rows of all blocks, by the eigenvectors of their covariance, summed in float64.

    The sign of an axis is that of its largest entry, made positive. Rows that are not
    finite are left out. Passes once; memory: dimensions squared.
    """
    from scipy import linalg

    count, total, products = 0, np.zeros(dimensions), np.zeros((dimensions, dimensions))
    shift: Doubles | None = None
    for every in blocks:
        block = every[np.isfinite(every).all(axis=1)]
        if shift is None and len(block):
            shift = block.mean(axis=0, dtype=np.float64)  # near the mean: nothing is lost by cancellation
        rows = block.astype(np.float64) - (0 if shift is None else shift)
        count += len(rows)
        total += rows.sum(axis=0)
        products += rows.T @ rows
    if shift is None:
        return Pca(np.zeros(dimensions), np.zeros((2, dimensions)), [])
    covariance = products / count - np.outer(total, total) / count**2
    first = max(0, dimensions - EXPLAINED)
    values, vectors = linalg.eigh(covariance, subset_by_index=[first, dimensions - 1])
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1].T  # largest first, (axes, dimensions)
    largest = np.abs(vectors).argmax(axis=1)
    vectors = vectors * np.where(vectors[np.arange(len(vectors)), largest] < 0, -1, 1)[:, None]
    axes = np.zeros((2, dimensions))
    axes[: min(2, dimensions)] = vectors[:2]
    variance = float(np.trace(covariance))
    explained = [float(v) / variance for v in values] if variance > 0 else []
    return Pca(shift + total / count, axes, explained)


class Neighbours:
    """Nearest rows of `vectors` (n, d), which are of unit length: exact where that is cheap, else by inverted lists."""

    def __init__(self, vectors: Floats, seed: int) -> None:
        self.vectors = vectors
        count, dimensions = vectors.shape
        self.exact = count * count * dimensions <= EXACT_WORK
        flat = faiss.IndexFlatIP(dimensions)
        self._index: Any = flat
        if not self.exact:
            lists = round(4 * count**0.5)
            self._index = faiss.IndexIVFFlat(flat, dimensions, lists, faiss.METRIC_INNER_PRODUCT)
            self._index.cp.seed = 1 + seed % (2**31 - 2)
            self._index.cp.niter = 10
            self._index.nprobe = PROBES
            self._index.train(vectors)
        self._index.add(vectors)

    def of(self, queries: Floats, k: int) -> tuple[Ids, Floats]:
        """Rows (queries, k) and distances, nearest first."""
        cosine, rows = self._index.search(queries, k)
        return rows, np.sqrt(np.maximum(2 - 2 * cosine, 0)).astype(np.float32)

    def of_all(self, k: int) -> tuple[Ids, Floats]:
        """Of every row, the `k` nearest others."""
        rows, distances = self.of(self.vectors, k + 1)
        own = np.arange(len(rows))[:, None]
        order = np.argsort(rows == own, axis=1, kind="stable")[:, :k]  # itself last, and cut off
        return np.take_along_axis(rows, order, 1), np.take_along_axis(distances, order, 1)


class Tsne:
    """A t-SNE map of `vectors` (n, d) of unit length from the start `coordinates` (n, 2): `coordinates` after it.

    Needs at least `LEAST` rows that are not all alike.
    """

    def __init__(self, vectors: Floats, coordinates: Floats, seed: int) -> None:
        from openTSNE import TSNEEmbedding, affinity, initialization

        self.perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
        self.neighbours = Neighbours(vectors, seed)
        affinities = affinity.PerplexityBasedNN(
            knn_index=_knn_index(self.neighbours, min(len(vectors) - 1, int(3 * self.perplexity))),
            perplexity=self.perplexity,
            n_jobs=1,
            random_state=seed % 2**32,
        )
        start = initialization.rescale(coordinates.astype(np.float64))
        embedding = TSNEEmbedding(start, affinities, n_jobs=1, random_state=seed % 2**32)
        embedding = embedding.optimize(n_iter=ITERATIONS[0], exaggeration=12, momentum=0.5)
        self._embedding = embedding.optimize(n_iter=ITERATIONS[1], momentum=0.8)
        self.coordinates: Floats = np.asarray(self._embedding, np.float32)

    def place(self, vectors: Floats) -> Floats:
        """Coordinates (n, 2) of further rows among those of the map; however they are split, they are the same."""
        return np.asarray(self._embedding.transform(vectors), np.float32)


def _knn_index(neighbours: Neighbours, k: int) -> Any:
    """FAISS as one of openTSNE's neighbour indices."""
    from openTSNE import nearest_neighbors

    class Index(nearest_neighbors.KNNIndex):  # type: ignore[misc]
        VALID_METRICS = ("cosine",)

        def build(self) -> tuple[Ids, Floats]:
            return neighbours.of_all(k)

        def query(self, query: Floats, k: int) -> tuple[Ids, Floats]:
            return neighbours.of(np.ascontiguousarray(query, np.float32), k)

    return Index(neighbours.vectors, k, metric="cosine")


def preservation(vectors: Floats, coordinates: Floats, seed: int) -> float:
    """Share of the 15 nearest by code that are among the 15 nearest on the map, over 2,000 rows drawn by the seed."""
    count = len(vectors)
    k = min(KEPT, count - 1)
    asked = np.sort(np.random.default_rng([seed, 3]).choice(count, min(ASKED, count), replace=False))
    _, near = faiss.knn(vectors[asked], vectors, k + 1, metric=faiss.METRIC_INNER_PRODUCT)
    points = np.ascontiguousarray(coordinates, np.float32)
    _, shown = faiss.knn(points[asked], points, k + 1, metric=faiss.METRIC_L2)
    kept = 0
    for own, a, b in zip(asked, near, shown, strict=True):
        kept += len(set(a[a != own][:k]) & set(b[b != own][:k]))
    return kept / (k * len(asked))

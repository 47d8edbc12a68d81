"""How alike are two layers? Debiased linear centred kernel alignment (CKA), with intervals over images.

Kornblith et al. 2019 with the unbiased estimator of HSIC of Song et al. 2012 (as Nguyen, Raghu & Kornblith 2021), which
does not rise where neurons outnumber images. Kernels are made a stripe of images at a time and are never held whole.
Intervals come from random halves of the images, drawn without repeats: the spread of a half around the whole is that of
the whole around the truth, and an image that stands twice, as in the usual bootstrap, would bias the estimator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.arrays import Doubles, Floats, Ints

MOST = 2048
"""Images that kernels are made over; of more, those of the smallest hashes."""
REPEATS = 200
HALVED = 1024
"""Images from whose halves the intervals come; they are narrowed to the number compared."""
HELD = 1 << 25  # values of kernels held at once: 256 MiB
LEVELS = (0.025, 0.975)


def centred(responses: Floats) -> Doubles:
    """Responses (images, neurons) less their means, scaled so that a kernel is of size 1; 0 where none changes."""
    rows = responses.astype(np.float64)
    rows -= rows.mean(0)
    size = np.sqrt((rows * rows).sum() / max(len(rows), 1))
    return np.asarray(rows / size if size > 0 else rows)


@dataclass(frozen=True)
class Sums:
    """Sums over a stripe of the kernels' rows: of products of all pairs of layers (a, b), of squares (a,), (b,), and
    each row's own sum (layers, images of the stripe). The diagonal counts as 0."""

    products: Doubles
    squares_a: Doubles
    squares_b: Doubles
    rows_a: Doubles
    rows_b: Doubles


def stripe(a: Sequence[Doubles], b: Sequence[Doubles], first: int, count: int) -> Sums:
    """Sums over the kernels' rows `first` … of all layers (images, neurons), centred."""
    images = len(a[0])
    most = max(1, HELD // max(images * (len(a) + len(b)), 1))
    parts = []
    for start in range(first, first + count, most):
        stop = min(start + most, first + count)
        ka, kb = _kernels(a, start, stop), _kernels(b, start, stop)  # (layers, rows, images)
        flat_a, flat_b = ka.reshape(len(a), -1), kb.reshape(len(b), -1)
        parts.append(Sums(flat_a @ flat_b.T, (flat_a * flat_a).sum(1), (flat_b * flat_b).sum(1), ka.sum(2), kb.sum(2)))
    return joined(parts)


def _kernels(layers: Sequence[Doubles], start: int, stop: int) -> Doubles:
    kernels = np.empty((len(layers), stop - start, len(layers[0])))
    for at, layer in enumerate(layers):
        np.matmul(layer[start:stop], layer.T, out=kernels[at])
    rows = np.arange(stop - start)
    kernels[:, rows, rows + start] = 0
    return kernels


def joined(parts: Sequence[Sums]) -> Sums:
    """The sums over all stripes, in their order."""
    return Sums(
        np.sum([part.products for part in parts], 0), np.sum([part.squares_a for part in parts], 0),
        np.sum([part.squares_b for part in parts], 0), np.concatenate([part.rows_a for part in parts], 1),
        np.concatenate([part.rows_b for part in parts], 1),
    )  # fmt: skip


def alignment(sums: Sums) -> Doubles:
    """CKA of all pairs of layers (a, b), from sums over all images; nan where a layer tells nothing apart."""
    n = sums.rows_a.shape[1]
    across = _hsic(sums.products, sums.rows_a, sums.rows_b, n)
    own_a = _own(sums.squares_a, sums.rows_a, n)
    own_b = _own(sums.squares_b, sums.rows_b, n)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.sqrt(own_a[:, None] * own_b)
        return np.asarray(np.where((own_a[:, None] > 0) & (own_b > 0), across / size, np.nan))


def _hsic(products: Doubles, rows_a: Doubles, rows_b: Doubles, n: int) -> Doubles:
    """n (n - 3) times the unbiased estimator of all pairs."""
    totals = np.outer(rows_a.sum(1), rows_b.sum(1)) / ((n - 1) * (n - 2))
    return np.asarray(products + totals - 2 / (n - 2) * (rows_a @ rows_b.T))


def _own(squares: Doubles, rows: Doubles, n: int) -> Doubles:
    total = rows.sum(1)
    found = squares + total * total / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows * rows).sum(1)
    return np.where(found > 1e-9 * squares, found, 0.0)  # less is rounding


def halves(a: Sequence[Floats], b: Sequence[Floats], seed: int, repeats: Ints) -> Doubles:
    """CKA of all pairs in random halves of the images, (repeats, a, b); a half's seed is that of its number."""
    images = len(a[0])
    ka, kb = (_kernels([centred(x) for x in side], 0, images).astype(np.float32) for side in (a, b))
    found = np.empty((len(repeats), len(a), len(b)))
    for at, number in enumerate(repeats.tolist()):
        half = np.sort(np.random.default_rng([seed, images, number]).permutation(images)[: images // 2])
        cut = np.ix_(np.arange(len(a)), half, half), np.ix_(np.arange(len(b)), half, half)
        sa, sb = ka[cut[0]], kb[cut[1]]
        fa, fb = sa.reshape(len(a), -1), sb.reshape(len(b), -1)
        sums = Sums(
            (fa @ fb.T).astype(np.float64), np.einsum("ij,ij->i", fa, fa).astype(np.float64),
            np.einsum("ij,ij->i", fb, fb).astype(np.float64), sa.sum(2, dtype=np.float64), sb.sum(2, dtype=np.float64),
        )  # fmt: skip
        found[at] = alignment(sums)
    return found


def interval(cka: Doubles, repeats: Doubles, halved: int, images: int) -> tuple[Doubles, Doubles]:
    """Bounds (a, b) that hold 95 % of what other images would give; `repeats` come from halves of `halved` images.

    The spread around the halves' own mean is narrowed by the root of how many more images were compared.
    """
    spread = np.quantile(repeats - repeats.mean(0), LEVELS, axis=0) * np.sqrt(halved / images)
    high = np.maximum(np.minimum(cka + spread[1], 1.0), cka)
    return np.asarray(np.minimum(cka + spread[0], cka)), np.asarray(high)

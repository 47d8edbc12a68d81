"""Does a neuron's response depend on a simple property of the image? Rank correlations over the response sample.

Spearman's rank correlation; for angles the circular-linear correlation of Mardia (1976), on the ranks of the response
and with the angle itself (an axial angle doubled). Unlike Mardia's rank version the angle keeps its values, and p is
taken from the F distribution of the equivalent regression on cosine and sine. Significant: p below 0.05 divided by the
number of tests of the atlas (Bonferroni). A pair that has no association, because one side does not vary, has no row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from atlas.analyse.sample import Order, Sample
from atlas.arrays import Doubles, Floats
from atlas.images.properties import NAMES
from atlas.store.codes import Ids
from atlas.tables.attributes import ANGLES
from atlas.tables.relations import PROPERTIES

LEVEL = 0.05
LEAST = 10
"""Images below which no association is stated."""
CHANNELS = 512  # ranked at a time


@dataclass(frozen=True)
class Associations:
    """The table `properties`, and how it was made (for atlas.json)."""

    table: pa.Table
    about: dict[str, Any]


def find(order: Order, sample: Sample, measured: pa.Table | None) -> Associations:
    """Associations of every neuron with every property. `measured`: image_id, and a column a property."""
    from scipy import stats

    about: dict[str, Any] = {
        "method": "Spearman; circular-linear (Mardia 1976) on ranks for " + " and ".join(ANGLES),
        "level": LEVEL,
        "correction": "Bonferroni",
    }
    if measured is None or not len(sample.image_ids):
        return Associations(PROPERTIES.columns.empty_table(), {**about, "tests": 0, "why": "nothing was measured"})
    properties = _aligned(measured, sample.image_ids)
    found: list[tuple[npt.NDArray[np.int64], int, Doubles, Doubles, int]] = []
    for part in sample.layers():
        rows = order.of_layer(part.layer, part.maxima.shape[1])
        for start in range(0, len(rows), CHANNELS):
            responses = part.maxima[:, start : start + CHANNELS].T  # (channels, images)
            for number, values, p, n in _pairs(responses, properties, stats):
                found.append((rows[start : start + CHANNELS], number, values, p, n))
    tests = sum(int(np.isfinite(values).sum()) for _, _, values, _, _ in found)
    least = LEVEL / max(tests, 1)
    return Associations(_table(order, found, least), {**about, "tests": tests, "p_below": least})


def _aligned(measured: pa.Table, image_ids: Ids) -> Doubles:
    """Properties (properties, images) of the images; nan for an image that was not measured."""
    ids = measured.column("image_id").to_numpy()
    sequence = np.argsort(ids, kind="stable")
    values = np.full((len(NAMES), len(image_ids)), np.nan)
    if len(ids):
        place = sequence[np.minimum(np.searchsorted(ids[sequence], image_ids), len(ids) - 1)]
        there = ids[place] == image_ids
        for row, name in enumerate(NAMES):
            column = measured.column(name).to_numpy().astype(np.float64)
            values[row, there] = column[place[there]]
    return values


def _pairs(responses: Floats, properties: Doubles, stats: Any) -> Iterator[tuple[int, Doubles, Doubles, int]]:
    """Number of the property, associations (channels,), p (channels,), n; properties with the same nan together."""
    known = np.isfinite(properties)
    for pattern in np.unique(known, axis=0):
        n = int(pattern.sum())
        if n < LEAST:
            continue
        ranks = _standard(stats.rankdata(responses[:, pattern], axis=1))  # (channels, n)
        for number in np.flatnonzero((known == pattern).all(axis=1)):
            values = properties[number, pattern]
            name = NAMES[number]
            if name in ANGLES:
                association = circular_linear(ranks, values * ANGLES[name])
                p = _p_circular(association, n, stats)
            else:
                association = ranks @ _standard(stats.rankdata(values)[None])[0]
                p = _p_linear(association, n, stats)
            yield int(number), association, p, n


def _standard(rows: Doubles) -> Doubles:
    """Rows less their mean and of unit length; nan where a row does not vary."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.sqrt((rows * rows).sum(axis=1, keepdims=True))
    return np.asarray(rows / np.where(length > 1e-9, length, np.nan))


def circular_linear(rows: Doubles, angles: Doubles) -> Doubles:
    """Mardia's circular-linear correlation, 0 to 1, of standardised `rows` (channels, n) with `angles` (n,), radian."""
    cosine, sine = _standard(np.cos(angles)[None])[0], _standard(np.sin(angles)[None])[0]
    with_cosine, with_sine, between = rows @ cosine, rows @ sine, float(cosine @ sine)
    if not abs(between) < 1 - 1e-9:
        return np.full(len(rows), np.nan)
    squared = (with_cosine**2 + with_sine**2 - 2 * with_cosine * with_sine * between) / (1 - between**2)
    return np.asarray(np.sqrt(np.clip(squared, 0, 1)))


def _p_linear(association: Doubles, n: int, stats: Any) -> Doubles:
    """Two-sided p of Spearman's correlation by Student's t with n - 2 degrees of freedom."""
    r = np.clip(association, -1 + 1e-15, 1 - 1e-15)
    return np.asarray(2 * stats.t.sf(np.abs(r) * np.sqrt((n - 2) / (1 - r * r)), n - 2))


def _p_circular(association: Doubles, n: int, stats: Any) -> Doubles:
    """p of the squared correlation, by F with 2 and n - 3 degrees of freedom."""
    squared = np.clip(association**2, 0, 1 - 1e-15)
    return np.asarray(stats.f.sf(squared / 2 / ((1 - squared) / (n - 3)), 2, n - 3))


def _table(order: Order, found: list[Any], least: float) -> pa.Table:
    if not found:
        return PROPERTIES.columns.empty_table()
    neuron = np.concatenate([rows for rows, *_ in found])
    number = np.concatenate([np.full(len(rows), which) for rows, which, *_ in found])
    association = np.concatenate([values for _, _, values, _, _ in found])
    p = np.concatenate([values for _, _, _, values, _ in found])
    n = np.concatenate([np.full(len(rows), count) for rows, _, _, _, count in found])
    sequence = np.lexsort((number, neuron))
    sequence = sequence[np.isfinite(association[sequence])]
    names = pa.DictionaryArray.from_arrays(pa.array(number[sequence]), pa.array(list(NAMES))).cast(pa.string())
    columns = {
        **order.columns(neuron[sequence]),
        "property": names,
        "association": association[sequence].astype(np.float32),
        "n": n[sequence].astype(np.int32),
        "significant": p[sequence] < least,
    }
    return pa.table(columns).select(PROPERTIES.columns.names)

"""From the fold of some neurons to tables: their rows, and those of their classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.arrays import Flags, Floats
from atlas.scan import statistics
from atlas.scan.fold import Fold
from atlas.scan.references import References
from atlas.scan.statistics import ClassSums
from atlas.tables.neurons import BIN, CLASSES, NEURONS, QUANTILE, QUANTILES, TOP_CLASS
from atlas.types import Layer

TOP_CLASSES = 5
NOT_ASKED = "not among the neurons of its layer that examples were asked of (--neurons)"


@dataclass(frozen=True)
class Named:
    """What is known of some neurons besides their responses: layer, channel, whether a rectifier follows; and `asked`,
    whether they may have examples. All (neurons,)."""

    layer: NDArray[np.str_]
    channel: NDArray[np.int32]
    rectified: Flags
    asked: Flags

    def of(self, part: slice) -> Named:
        """Some of them."""
        return Named(*(getattr(self, f.name)[part] for f in fields(self)))


def named(layers: Sequence[Layer], asked: Flags) -> Named:
    """The neurons of some layers; `asked` (neurons,)."""
    channels = [layer.channels for layer in layers]
    channel = np.concatenate([np.zeros(0, np.int32), *(np.arange(count, dtype=np.int32) for count in channels)])
    rectified = np.repeat(np.array([layer.rectified for layer in layers], bool), channels)
    return Named(np.repeat([layer.name for layer in layers], channels), channel, rectified, asked)


def neuron_rows(fold: Fold, who: Named, sides: Sequence[str], references: References) -> pa.Table:
    """One row a neuron by the table `neurons`, without `vector`, of neurons over which something was scanned."""
    m = fold.moments
    histograms, quantiles = _histograms(fold)
    dead = pa.array(m.active == 0, pa.bool_(), mask=~who.rectified)
    columns: dict[str, Any] = {
        "layer": who.layer,
        "channel": who.channel,
        "images": np.full(fold.neurons, m.images, np.int64),
        "mean": m.mean,
        "std": np.sqrt(m.m2 / m.images),
        "min": m.min_low,
        "max": m.max_high,
        "activation_rate": pa.array(m.active / m.images, mask=~who.rectified),
        "reference_max": references.high,
        "reference_min": references.low,
        "map_mean": m.map_total / m.images,
        "dead": dead,
        "why_max": _why("max", sides, m.max_high, m.max_low, m.images, who.asked),
        "why_min": _why("min", sides, m.min_high, m.min_low, m.images, who.asked),
        "quantiles": quantiles,
        "histogram": histograms,
        "top_classes": _top_classes(fold, who.rectified),
        "selectivity": pa.array(_selectivity(fold), pa.float32(), from_pandas=True),
    }
    absent = [f.name for f in NEURONS.columns if f.name not in columns]
    columns |= {name: pa.nulls(fold.neurons, NEURONS.columns.field(name).type) for name in absent}
    return pa.table([pa.array(columns[f.name], f.type) for f in NEURONS.columns], schema=NEURONS.columns)


def _why(side: str, sides: Sequence[str], high: Floats, low: Floats, images: int, asked: Flags) -> list[str | None]:
    if side not in sides:
        return [f"side {side} was not asked for"] * len(high)
    same = [f"all {images} responses are {h:.6g}" if h == lo else None for h, lo in zip(high, low, strict=True)]
    return [why if wanted else NOT_ASKED for why, wanted in zip(same, asked.tolist(), strict=True)]


def _histograms(fold: Fold) -> tuple[pa.Array, pa.Array]:
    m = fold.moments
    histogram, low, high = fold.histogram, m.max_low, m.max_high
    neuron, bins = np.nonzero(histogram)
    count = histogram[neuron, bins].astype(np.int64)
    left, right = statistics.edges_of(bins)
    left, right = np.maximum(left, low[neuron]), np.minimum(right, high[neuron])
    offsets = np.searchsorted(neuron, np.arange(len(histogram) + 1)).astype(np.int32)
    rows = pa.StructArray.from_arrays([pa.array(left), pa.array(right), pa.array(count)], fields=list(BIN))
    at = np.empty((len(histogram), len(QUANTILES)), np.float32)
    for i in range(len(histogram)):
        one = slice(offsets[i], offsets[i + 1])
        at[i] = statistics.quantiles(bins[one], count[one], QUANTILES, low[i], high[i])
    quantiles = pa.StructArray.from_arrays([pa.array(c) for c in at.T.copy()], fields=list(QUANTILE))
    return pa.ListArray.from_arrays(pa.array(offsets), rows), quantiles


def _class_mean(sums: ClassSums, total: NDArray[Any]) -> NDArray[np.float64]:
    """(classes that occur, neurons)."""
    return np.asarray(total / sums.images[:, None])


def _top_classes(fold: Fold, rectified: Flags) -> pa.Array:
    sums = fold.classes
    count = min(TOP_CLASSES, len(sums.classes))
    mean, share = _class_mean(sums, sums.total), _class_mean(sums, sums.active)
    order = np.argsort(-mean, axis=0, kind="stable")[:count].T  # (neurons, count)
    neuron = np.arange(mean.shape[1])[:, None]
    columns = [
        pa.array(sums.classes[order].reshape(-1), pa.int32()),
        pa.array(mean[order, neuron].reshape(-1), pa.float32()),
        pa.array(share[order, neuron].reshape(-1), pa.float32(), mask=np.repeat(~rectified, count)),
    ]
    values = pa.StructArray.from_arrays(columns, fields=list(TOP_CLASS))
    return pa.ListArray.from_arrays(pa.array(np.arange(fold.neurons + 1, dtype=np.int32) * count), values)


def _selectivity(fold: Fold) -> Floats:
    sums = fold.classes
    return statistics.selectivity(_class_mean(sums, sums.rectified), sums.images)


def class_rows(fold: Fold, who: Named) -> pa.Table:
    """The class profile by the table `classes`: neurons in order, and classes ascend within a neuron."""
    sums = fold.classes
    count = len(sums.classes)
    mean, share = _class_mean(sums, sums.total), _class_mean(sums, sums.active)
    columns = [
        pa.array(who.layer, pa.string()).take(pa.array(np.repeat(np.arange(fold.neurons), count))),
        pa.array(np.repeat(who.channel, count)),
        pa.array(np.tile(sums.classes.astype(np.int32), fold.neurons)),
        pa.array(mean.T.astype(np.float32).reshape(-1)),
        pa.array(share.T.astype(np.float32).reshape(-1), mask=np.repeat(~who.rectified, count)),
    ]
    return pa.table(columns, schema=CLASSES.columns)

"""The neurons of an atlas: numbers of one, and pages of many, sorted and filtered."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from atlas import tables
from atlas.errors import FolderError
from atlas.read import source
from atlas.read.layers import Layers
from atlas.read.pictures import none
from atlas.read.records import Array, Records, Words
from atlas.read.trust import Trusts
from atlas.store.files import Folder

SORTS = ("channel", "max", "mean", "activation_rate", "selectivity", "trust")
TOP = 5
"""Top classes that are kept a neuron."""
QUANTILES = ("p01", "p05", "p25", "p50", "p75", "p95", "p99")
_FLOATS = ("mean", "std", "min", "max", "activation_rate", "reference_max", "reference_min", "map_mean")
_NUMBERS = np.dtype(
    [
        ("there", "?"), ("images", "<i8"), ("mean", "<f8"), ("std", "<f8"), ("min", "<f4"), ("max", "<f4"),
        ("activation_rate", "<f8"), ("reference_max", "<f4"), ("reference_min", "<f4"), ("map_mean", "<f8"),
        ("dead", "i1"), ("why_max", "<u2"), ("why_min", "<u2"), ("selectivity", "<f4"),
        ("quantiles", "<f4", (len(QUANTILES),)),
        ("top", "<i4", (TOP,)), ("top_mean", "<f4", (TOP,)), ("top_share", "<f4", (TOP,)),
    ]
)  # fmt: skip
_BIN = np.dtype([("left", "<f4"), ("right", "<f4"), ("count", "<i8")])


class TopClass(NamedTuple):
    """A class as a neuron responds to it."""

    class_id: int
    mean: float | None
    share: float | None


class NeuronRow(NamedTuple):
    """One row of neurons.parquet, without its vector; what is not a number is null."""

    images: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    activation_rate: float | None
    reference_max: float | None
    reference_min: float | None
    map_mean: float | None
    dead: bool | None
    why_max: str | None
    why_min: str | None
    selectivity: float | None
    quantiles: dict[str, float | None]
    classes: list[TopClass]


class Neurons:
    """neurons.parquet by number, its histograms laid out apart."""

    def __init__(self, folder: Folder, layers: Layers) -> None:
        self._whys = Words()
        self.numbers: Array = np.zeros(layers.neurons, _NUMBERS)
        self._bins = Records(_BIN, layers.neurons, "neurons.parquet")
        columns = [field.name for field in tables.BY_NAME["neurons"].columns if field.name != "vector"]
        for batch in source.batches(folder, "neurons", columns=columns, dictionary=["layer"], rows=16_384):
            self._lay_out(batch, layers)
        if not self.numbers["there"].all():
            missing = int(np.flatnonzero(~self.numbers["there"])[0])
            raise FolderError(f"neurons.parquet has no row for {layers.neuron(missing)}; layers.parquet says it has")
        self.trust = Trusts(folder, layers)

    def _lay_out(self, batch: pa.RecordBatch, layers: Layers) -> None:
        number = layers.numbers("neurons", batch.column("layer"), batch.column("channel"))
        rows = np.zeros(len(batch), _NUMBERS)
        rows["there"] = True
        rows["images"] = batch.column("images").to_numpy(zero_copy_only=False)
        for name in _FLOATS:
            rows[name] = _floats(batch.column(name))
        rows["dead"] = batch.column("dead").cast(pa.int8()).fill_null(-1).to_numpy()
        rows["selectivity"] = _floats(batch.column("selectivity"))
        for name in ("why_max", "why_min"):
            rows[name] = self._whys.encode(batch.column(name), np.uint16)
        quantiles = _children(batch.column("quantiles"))
        for at, name in enumerate(QUANTILES):
            rows["quantiles"][:, at] = _floats(quantiles[name])
        _put_top(rows, batch.column("top_classes"))
        self.numbers[number] = rows
        histogram = batch.column("histogram")
        bins = _children(histogram.flatten())
        lengths = histogram.value_lengths().fill_null(0).to_numpy()
        laid = np.empty(len(bins["left"]), _BIN)
        for name in ("left", "right", "count"):
            laid[name] = bins[name].to_numpy(zero_copy_only=False)
        self._bins.append(np.repeat(number, lengths), laid)

    def get(self, number: int) -> NeuronRow:
        """One neuron by its number."""
        (
            _, images, mean, std, low, high, rate, reference_max, reference_min, map_mean, dead, why_max, why_min,
            selectivity, quantiles, top, top_mean, top_share,
        ) = self.numbers[number].item()  # fmt: skip
        texts = self._whys.texts
        return NeuronRow(
            images, none(mean), none(std), none(low), none(high), none(rate),
            none(reference_max), none(reference_min), none(map_mean),
            None if dead < 0 else bool(dead), texts[why_max], texts[why_min], none(selectivity),
            {name: none(float(value)) for name, value in zip(QUANTILES, quantiles, strict=True)},
            [
                TopClass(int(c), none(float(m)), none(float(s)))
                for c, m, s in zip(top, top_mean, top_share, strict=True)
                if c >= 0
            ],
        )  # fmt: skip

    def histogram(self, number: int) -> list[tuple[float, float, int]]:
        """Left, right and count of the bins that hold images."""
        found: list[tuple[float, float, int]] = self._bins.of(number).tolist()
        return found

    def bins(self) -> tuple[Array, Array]:
        """The bins of all neurons, and the number of the neuron of each."""
        rows = self._bins.span(0, self._bins.total)
        return self._bins.group_of(np.arange(len(rows))), rows

    def select(
        self, numbers: range, *, sort: str = "channel", descending: bool = False, class_id: int | None = None,
        dead: bool | None = None, kind: str | None = None,
    ) -> Array:  # fmt: skip
        """Numbers of neurons among `numbers`, filtered and sorted; ties by number, what has no value last.

        `class_id`: among its top classes. `dead`: whether it is; neurons without a rectifier are not dead.
        `kind`: of picture whose trust they are sorted by; without one, the first that a neuron was tested for.
        """
        chosen = np.arange(numbers.start, numbers.stop)
        rows = self.numbers[numbers.start : numbers.stop]
        keep = np.ones(len(rows), bool)
        if class_id is not None:
            keep &= (rows["top"] == class_id).any(axis=1)
        if dead is not None:
            keep &= (rows["dead"] == 1) == dead
        if sort == "channel":
            chosen = chosen[keep]
            return chosen[::-1] if descending else chosen
        found = self.trust.scores(kind)[numbers.start : numbers.stop] if sort == "trust" else rows[sort]
        values = found[keep].astype(np.float64)
        order = np.argsort(-values if descending else values, kind="stable")  # NaN sorts last
        return np.asarray(chosen[keep][order])

    def of_class(self, class_id: int, count: int) -> Array:
        """Numbers of the neurons of which it is the top class, the most selective first."""
        chosen = np.flatnonzero(self.numbers["top"][:, 0] == class_id)
        chosen = chosen[self.numbers["why_max"][chosen] == 0]
        order = np.argsort(-self.numbers["selectivity"][chosen], kind="stable")
        return np.asarray(chosen[order][:count])

    def telling(self, numbers: range, count: int) -> Array:
        """Numbers of the neurons to show a layer by: with examples, the most selective first, else the strongest."""
        rows = self.numbers[numbers.start : numbers.stop]
        chosen = np.flatnonzero(rows["why_max"] == 0)
        selectivity = rows["selectivity"][chosen]
        values = rows["max"][chosen] if np.isnan(selectivity).all() else selectivity
        return np.asarray(chosen[np.argsort(-values, kind="stable")][:count] + numbers.start)

    def close(self) -> None:
        self._bins.close()
        self.trust.close()


def _children(column: Any) -> dict[str, Any]:
    return dict(zip(column.type.names, column.flatten(), strict=True))


def _floats(column: Any) -> Array:
    return np.asarray(column.fill_null(np.nan).to_numpy(zero_copy_only=False))


def _put_top(rows: Array, column: pa.ListArray) -> None:
    lengths = column.value_lengths().fill_null(0).to_numpy()
    values = _children(column.flatten())
    row = np.repeat(np.arange(len(rows)), lengths)
    at = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    kept = at < TOP
    rows["top"] = -1
    rows["top"][row[kept], at[kept]] = values["class_id"].to_numpy()[kept]
    for name, of in (("top_mean", "mean"), ("top_share", "share")):
        rows[name] = np.nan
        rows[name][row[kept], at[kept]] = _floats(values[of])[kept]

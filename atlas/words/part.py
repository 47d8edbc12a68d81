"""The table of words: its concepts, a block of neurons, and what is said once the null is known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.arrays import Doubles, Flags, Floats, Ints
from atlas.errors import InputError
from atlas.words import chance, concepts, measures
from atlas.words.concepts import Concepts
from atlas.words.halves import halve
from atlas.words.naming import Halves, Named, name
from atlas.words.null import Null, false_discovery
from atlas.words.settings import WordsSettings

SIDES = ("max", "min")
CONTROLS = 256
"""Neurons at most that are named a second time with their images shuffled, and by one constant word."""
_HIDDEN = ("best", "top", "bottom", "control")
_ROW = {
    "layer": pa.string(), "channel": pa.int32(), "side": pa.string(), "rank": pa.int32(), "words": pa.string(),
    "length": pa.int32(), "auprc": pa.float64(), "base_rate": pa.float64(), "excess": pa.float64(),
    "correlation": pa.float64(), "auc": pa.float64(), "held_out": pa.float64(), "held_out_excess": pa.float64(),
    "n": pa.int32(), "best": pa.list_(pa.float64()), "top": pa.int16(), "bottom": pa.int16(), "control": pa.bool_(),
}  # fmt: skip
ROWS = pa.schema([pa.field(column, kind) for column, kind in _ROW.items()])
"""What a block of neurons gives: the table's columns but p, q and iou, and what these follow from."""
CONSTANT = pa.schema([("concept", pa.int32()), ("held_out", pa.float64()), ("held_out_excess", pa.float64()),
                      ("neurons", pa.int32())])  # fmt: skip
"""Sums over a block's controls of what each single concept reaches on the held-out half."""


@dataclass(frozen=True)
class Prepared:
    """Concepts that are searched, and the two halves as rows of the response sample."""

    concepts: Concepts
    searched: Ints
    held: Ints
    halves: Halves


def prepare(
    images: pa.Table, measured: Mapping[str, Doubles], table: Sequence[tuple[str, str, str]] | None,
    settings: WordsSettings, class_names: Sequence[str] = (),
) -> Prepared:  # fmt: skip
    """`images`: rows of the response sample, in its order (key, content, class_id, class_ids, class_name, width,
    height); `measured`: its properties by name; `table`: rows of `--concepts`; `class_names`: by
    number, where images have several. Raises `InputError`, `SettingsError`.
    """
    searched, held = halve(images.column("content").to_pylist(), settings.seed)
    labels = _labels(images)
    named = zip(images.column("class_id").to_pylist(), images.column("class_name").to_pylist(), strict=True)
    names = dict(enumerate(class_names)) | dict(named)
    keys = images.column("key").to_pylist()
    parts = [concepts.classes(labels, names)]
    if table is not None:
        aliases = [[str(label) for label in row] + [names.get(label) or "" for label in row] for row in labels]
        parts.append(concepts.of_table(table, keys, aliases, f"--concepts {settings.concepts}"))
    size = np.asarray(images.column("width").to_numpy(), np.float64) * images.column("height").to_numpy()
    shapes = {"aspect": images.column("width").to_numpy() / images.column("height").to_numpy(), "size": size}
    parts.append(concepts.of_properties({**measured, **shapes}))
    found = concepts.common(concepts.distinct(concepts.joined(parts)), (searched, held), settings.least)
    if not found.names:
        raise InputError(
            f"no concept holds for {settings.least} images of each half of the response sample ({len(searched)} and "
            f"{len(held)} images); give --concepts FILE, or build with a larger --sample"
        )
    return Prepared(found, searched, held, Halves.of(found.flags[searched], found.flags[held], settings.least))


def _labels(images: pa.Table) -> list[list[int]]:
    several = images.column("class_ids").to_pylist() if "class_ids" in images.column_names else [None] * len(images)
    single = images.column("class_id").to_pylist()
    return [many if many else [] if one is None else [one] for many, one in zip(several, single, strict=True)]


def block(
    prepared: Prepared, layer: str, channels: Ints, maxima: Floats, minima: Floats, controls: Flags,
    settings: WordsSettings,
) -> tuple[pa.Table, pa.Table]:  # fmt: skip
    """Rows (`ROWS`) of some neurons of a layer, and the sums of single concepts over those of `controls` (`CONSTANT`).

    `maxima`, `minima`: responses (images of the sample, neurons).
    """
    rows: list[dict[str, Any]] = []
    sums = np.zeros((2, len(prepared.concepts.names)))
    used = 0
    for side, responses in zip(SIDES, (maxima, -minima), strict=True):
        a, b = (np.ascontiguousarray(responses[half].T) for half in (prepared.searched, prepared.held))
        named = name(a, b, prepared.halves, settings.length, settings.beam, settings.formulas)
        rows += _rows(named, prepared, layer, channels, side, control=False)
        chosen = controls & np.array([bool(stated) for stated in named.stated], bool)
        if not chosen.any():
            continue
        for at, channel in zip(np.flatnonzero(chosen).tolist(), channels[chosen].tolist(), strict=True):
            source = np.random.default_rng(seed_of("control", settings.seed, layer, channel, side))
            shuffled = (a[at][source.permutation(a.shape[1])][None], b[at][source.permutation(b.shape[1])][None])
            again = name(*shuffled, prepared.halves, settings.length, settings.beam, 1)
            rows += _rows(again, prepared, layer, np.array([channel]), side, control=True)
            sums += _single(b[at], prepared)
            used += 1
    constant = {
        "concept": np.arange(sums.shape[1], dtype=np.int32), "held_out": sums[0], "held_out_excess": sums[1],
        "neurons": np.full(sums.shape[1], used, np.int32),
    }  # fmt: skip
    return pa.Table.from_pylist(rows, schema=ROWS), pa.table(constant, schema=CONSTANT)


def seed_of(*what: object) -> list[int]:
    """A seed for NumPy from what a draw is about."""
    digest = hashlib.sha256("\0".join(map(str, what)).encode()).digest()
    return [int(word) for word in np.frombuffer(digest, np.uint32)]


def controls(layers: Sequence[tuple[str, int]], seed: int) -> dict[str, Flags]:
    """Which neurons are controls, by layer: those of the smallest hashes of (seed, layer, channel)."""
    keys = [(seed_of("chosen", seed, layer, channel), layer, channel) for layer, n in layers for channel in range(n)]
    chosen = {layer: np.zeros(n, bool) for layer, n in layers}
    for _, layer, channel in sorted(keys)[:CONTROLS]:
        chosen[layer][channel] = True
    return chosen


def _rows(
    named: Named, prepared: Prepared, layer: str, channels: Ints, side: str, *, control: bool
) -> list[dict[str, Any]]:
    rows = []
    for at, channel in enumerate(channels.tolist()):
        top, bottom = named.keys[at].tolist()
        common = {
            "layer": layer, "channel": channel, "side": side, "best": named.best[at].tolist(), "top": top,
            "bottom": bottom, "control": control,
        }  # fmt: skip
        for rank, stated in enumerate(named.stated[at]):
            rows.append({
                **common, "rank": rank, "words": stated.formula.text(prepared.concepts.names),
                "length": len(stated.formula), "auprc": stated.precision, "base_rate": stated.share,
                "excess": stated.excess, "correlation": stated.correlation, "auc": stated.area,
                "held_out": stated.held_precision, "held_out_excess": stated.held_excess, "n": stated.n,
            })  # fmt: skip
        if not named.stated[at]:
            rows.append({**common, "rank": 0})
    return rows


def _single(held: Floats, prepared: Prepared) -> Doubles:
    """Held-out precision and excess (2, concepts) of every concept as a name of a neuron."""
    order = np.argsort(-held, kind="stable")
    ends = chance.ends(held[order])
    flags = prepared.halves.held[order].T
    precision = measures.average_precision(flags, ends.astype(np.int64))
    excess = chance.moments(ends).excess(precision, flags.sum(1).astype(np.float64))
    return np.stack([precision, excess])


def finish(rows: pa.Table, nulls: Mapping[tuple[int, int], Null]) -> tuple[pa.Table, pa.Table]:
    """The rows with p and q, of the neurons and of their shuffled controls: two tables without hidden columns.

    A neuron's first formula has the p of its whole search; a further one that of a search which found no more than it.
    q is Benjamini and Hochberg's, over the first formulas of all neurons and sides.
    """
    p = np.full(len(rows), np.nan)
    rank = rows.column("rank").to_numpy()
    known = rows.column("words").is_valid().to_numpy(zero_copy_only=False)
    top, bottom = rows.column("top").to_numpy(), rows.column("bottom").to_numpy()
    best = np.array(rows.column("best").to_pylist(), np.float64).reshape(len(rows), -1)
    excess, length = _filled(rows, "excess", -np.inf), _filled(rows, "length", 1).astype(np.int64)
    for key, null in nulls.items():
        at = np.flatnonzero(known & (top == key[0]) & (bottom == key[1]))
        own = np.full((len(at), best.shape[1]), -np.inf)
        own[np.arange(len(at)), length[at] - 1] = excess[at]
        p[at] = null.p(np.where((rank[at] == 0)[:, None], best[at], own))
    control = rows.column("control").to_numpy(zero_copy_only=False)
    found = []
    for which in (~control, control):
        part = np.flatnonzero(which)
        first = known[part] & (rank[part] == 0)
        q = np.full(len(part), np.nan)
        q[known[part]] = _at(p[part][first], false_discovery(p[part][first]), p[part][known[part]])
        table = rows.take(pa.array(part)).drop_columns(list(_HIDDEN))
        table = table.append_column("p", pa.array(p[part], from_pandas=True))
        found.append(table.append_column("q", pa.array(q, from_pandas=True)))
    return found[0], found[1]


def _at(p: Doubles, q: Doubles, wanted: Doubles) -> Doubles:
    """The q that a p has among others: that of the smallest p which is no smaller; 1 beyond the last."""
    order = np.argsort(p, kind="stable")
    place = np.searchsorted(p[order], wanted, side="left")
    return np.append(q[order], 1.0)[place]


def _filled(rows: pa.Table, column: str, null: float) -> Doubles:
    return np.asarray(rows.column(column).cast(pa.float64()).fill_null(null).to_numpy())


def summary(
    named: pa.Table, shuffled: pa.Table, constant: pa.Table, prepared: Prepared, level: float
) -> dict[str, Any]:
    """Figures of the part: how many are named, and what a constant word and a shuffled table reach beside them."""
    sums = np.zeros((3, len(prepared.concepts.names)))
    for row, column in enumerate(("held_out", "held_out_excess", "neurons")):
        np.add.at(sums[row], constant.column("concept").to_numpy(), constant.column(column).to_numpy())
    tests = max(int(sums[2].max(initial=0)), 1)
    best = int(np.argmax(sums[0]))
    return {
        "concepts": len(prepared.concepts.names),
        "searched_images": len(prepared.searched),
        "held_out_images": len(prepared.held),
        "same_images": len(prepared.concepts.same),
        **_figures(named, level, ""),
        **_figures(shuffled, level, "shuffled_"),
        "constant_word": prepared.concepts.names[best],
        "constant_held_out": _rounded(sums[0, best] / tests),
        "constant_held_out_excess": _rounded(sums[1, best] / tests),
    }


def _rounded(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _figures(rows: pa.Table, level: float, what: str) -> dict[str, Any]:
    """Of the first formulas: tests, how many stand at the level alone and after Benjamini and Hochberg, means."""
    first = rows.filter(pc.equal(rows.column("rank"), 0))
    p, q = _filled(first, "p", 2.0), _filled(first, "q", 2.0)
    held, excess = (_filled(first, name, np.nan) for name in ("held_out", "held_out_excess"))
    known = np.isfinite(excess)
    return {
        f"{what}tests": int((p <= 1).sum()),
        f"{what}named": int((q <= level).sum()),
        f"{what}below_level": int((p <= level).sum()),
        f"{what}held_out": _rounded(held[known].mean()) if known.any() else None,
        f"{what}held_out_excess": _rounded(excess[known].mean()) if known.any() else None,
    }

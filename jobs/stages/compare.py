"""Compare: neurons matched a block, layers aligned a stripe, intervals some repeats at a time; then the answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from atlas import tables
from atlas.compare import answers, cka, flips, matching, pairs, said
from atlas.compare.answers import Answers
from atlas.compare.matching import Best
from atlas.compare.pairs import Pair
from atlas.compare.settings import CompareSettings
from atlas.compare.shared import enough
from atlas.store.sealed import Sealed
from jobs import chunks as results
from jobs.job import Chunk, Job
from jobs.replay import Replayed

if TYPE_CHECKING:
    from atlas.store.parts import Part
    from jobs.forecast import Rates, Todo
    from jobs.work import Work

NEURONS = 2048  # of a chunk
ROWS = 256  # of the kernels, a chunk
REPEATS = 20  # of a chunk
PAIR = 2e-9  # seconds for one image of one pair of neurons on one core
_SAME = 1e-9


def named(options: CompareSettings) -> str:
    """AS where none is given: the other atlas's name, or the file's."""
    name = PurePath(options.to).stem if options.answers else Sealed(options.to).name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:64].strip("-") or "other"


def check(sealed: Sealed, settings: CompareSettings) -> None:
    """Raises `InputError` where the two cannot be compared."""
    _answers(sealed, settings)
    if not settings.answers:
        _pair(sealed, settings)


def chunks(job: Job) -> Sequence[Chunk]:
    """Blocks of neurons, stripes of kernels, repeats; none for a table of answers."""
    settings: CompareSettings = job.options
    if settings.answers:
        return []
    pair = _pair(job.atlas, settings)
    found = []
    for blocks in answers.groups(pair.a.sizes, NEURONS):
        size = sum(last - first for _, first, last in blocks)
        found.append(Chunk(size, f"neurons from {blocks[0][0]} {blocks[0][1]}", ("match", blocks)))
    for what, whole, step in (("stripe", pairs.kernels(pair), ROWS), ("halves", cka.REPEATS, REPEATS)):
        for first in range(0, whole, step):
            count = min(step, whole - first)
            found.append(Chunk(count, f"{what} {first} to {first + count - 1}", (what, first, count)))
    return found


def _pair(sealed: Sealed, settings: CompareSettings) -> Pair:
    return pairs.pair(sealed, Sealed(settings.to))


def _answers(sealed: Sealed, settings: CompareSettings) -> Answers | None:
    """What both sides answer; None where a network has no classes. Raises `InputError`."""
    images = sealed.table("images")
    if settings.answers:
        found = answers.of_table(images, settings.to)
    else:
        others = Sealed(settings.to).table("images")
        if any(table.column("predicted").null_count == len(table) for table in (images, others)):
            return None
        found = answers.of_atlases(images, others)
    enough(len(found.image_id), "this atlas and " + settings.to)
    return found


def work(worker: Work, chunk: int, given: tuple[Any, ...]) -> None:
    """Does one block, stripe, or some repeats."""
    settings: CompareSettings = worker.options
    pair = worker.keep("pair", lambda: _pair(worker.atlas, settings))
    with worker.result("compare", chunk) as result:
        if given[0] == "match":
            found = pairs.match(pair, given[1], settings.seed)
            nulls = {"layer": list(found.null95), "null95": np.array(list(found.null95.values()), np.float64)}
            result.rows |= {"best": _dump(found.best), "back": _dump(found.back)}
            result.rows["null"] = pa.table(nulls, pa.schema([("layer", pa.string()), ("null95", pa.float64())]))
        elif given[0] == "stripe":
            sums = pairs.stripe(pair, *given[1:])
            result.rows |= {name: _flat(values) for name, values in vars(sums).items()}
        else:
            repeats = np.arange(given[1], given[1] + given[2])
            result.rows["repeats"] = _flat(pairs.halves(pair, repeats, settings.seed).reshape(len(repeats), -1))


def _dump(best: Best) -> pa.Table:
    at = np.flatnonzero(best.other >= 0)
    return pa.table({"neuron": at, "correlation": best.correlation[at], "other": best.other[at]})


def _load(tables_: Sequence[pa.Table], neurons: int) -> Best:
    whole = Best.none(neurons)
    for table in tables_:
        neuron, correlation, other = (table.column(name).to_numpy() for name in ("neuron", "correlation", "other"))
        whole.take(neuron, correlation, other)
    return whole


def _flat(values: np.ndarray) -> pa.Table:
    """An array of one or two dimensions as a table: a list a row."""
    return pa.table({"row": pa.array(np.atleast_2d(values).tolist(), pa.list_(pa.float64()))})


def _square(table: pa.Table) -> np.ndarray:
    return np.array(table.column("row").to_pylist(), np.float64)


def finish(job: Job) -> None:
    """The tables, and the figures that a person wants first."""
    settings: CompareSettings = job.options
    found = {table.name: table.columns.empty_table() for table in tables.of_part("compare")}
    given, classes = _answers(job.atlas, settings), None
    if given is not None:
        classes, found["class_changes"] = given.classes()
        found["flips"] = given.table()
        job.summary |= answers.agreement(classes, given)
    if not settings.answers:
        pair = _pair(job.atlas, settings)
        parts = [results.read(job.folder, "compare", chunk) for chunk in range(job.count["compare"])]
        best = _matches(job, pair, parts, found)
        _alignments(pair, parts, found)
        if given is not None:
            found["moved"] = _moved(pair, best, given)
        found["trust_changes"] = _trust(pair, found["layers_cka"])
        job.summary |= _dead(pair)
    names = answers.names(job.atlas.table("images", ["class_id", "class_name"]))
    job.summary["in_words"] = said.lines(job.summary, classes, names, found["layers_cka"])
    for name, rows in found.items():
        job.write(name, rows)


def _matches(job: Job, pair: Pair, parts: Sequence[dict[str, pa.Table]], found: dict[str, pa.Table]) -> Best:
    best = _load([part["best"] for part in parts if "best" in part], pair.a.neurons)
    back = _load([part["back"] for part in parts if "back" in part], pair.b.neurons)
    null95 = {
        row["layer"]: row["null95"] for part in parts if "null" in part for row in part["null"].to_pylist()
    }  # fmt: skip
    mutual = matching.mutual(best, back)
    layers, channels = pair.a.places(np.arange(pair.a.neurons))
    others, other_channels = pair.b.places(best.other)
    known = best.other >= 0
    limits = np.array([null95[str(layer)] for layer in layers])
    found["matches"] = pa.table({
        "layer": pa.array(layers, pa.string()), "channel": pa.array(channels, pa.int32()),
        "other_layer": pa.array(others, pa.string()), "other_channel": pa.array(other_channels, pa.int32()),
        "correlation": pa.array(best.correlation, mask=~known), "mutual": mutual,
        "null95": pa.array(limits, from_pandas=True),
    })  # fmt: skip
    above = known & (best.correlation > limits)
    job.summary |= {
        "sample_images": len(pair.image_ids),
        "neurons": pair.a.neurons,
        "matched": int(above.sum()),
        "mutual": int((mutual & above).sum()),
        "median_correlation": round(float(np.median(best.correlation[known])), 6) if known.any() else None,
    }
    return best


def _alignments(pair: Pair, parts: Sequence[dict[str, pa.Table]], found: dict[str, pa.Table]) -> None:
    stripes = [part for part in parts if "products" in part]
    sums = cka.joined([
        cka.Sums(
            _square(part["products"]), _square(part["squares_a"])[0], _square(part["squares_b"])[0],
            _square(part["rows_a"]), _square(part["rows_b"]),
        )
        for part in stripes
    ])  # fmt: skip
    values = cka.alignment(sums)
    repeats = np.concatenate([_square(part["repeats"]) for part in parts if "repeats" in part])
    images = pairs.kernels(pair)
    low, high = cka.interval(values, repeats.reshape(-1, *values.shape), min(images, cka.HALVED), images)
    a, b = ([layer for layer, _ in side.sizes] for side in (pair.a, pair.b))
    found["layers_cka"] = pa.table({
        "layer": np.repeat(a, len(b)).tolist(), "other_layer": b * len(a),
        **{n: pa.array(v.reshape(-1), from_pandas=True) for n, v in (("cka", values), ("low", low), ("high", high))},
    })  # fmt: skip


def _moved(pair: Pair, best: Best, given: Answers) -> pa.Table:
    """The neurons that moved most at each flip of the sample, of those that have a match."""
    flipped = np.isin(pair.image_ids, given.image_id[given.flipped])
    moved = flips.Moved(int(flipped.sum()))
    if flipped.any():
        other = _standardised(pair.b)
        for layer, size in pair.a.sizes:
            numbers = np.arange(size) + pair.a.starts[layer]
            numbers = numbers[best.other[numbers] >= 0]
            own = flips.standardised(pair.a.responses(layer))[flipped][:, numbers - pair.a.starts[layer]]
            moved.take(numbers, own, other(best.other[numbers])[flipped])
    ids = np.repeat(pair.image_ids[flipped], moved.neuron.shape[1])
    neurons = moved.neuron.reshape(-1)
    layers, channels = pair.a.places(neurons)
    others, other_channels = pair.b.places(best.other[neurons])
    return pa.table({
        "image_id": pa.array(ids),
        "rank": np.tile(np.arange(moved.neuron.shape[1], dtype=np.int32), int(flipped.sum())),
        "layer": pa.array(layers, pa.string()), "channel": pa.array(channels, pa.int32()),
        "other_layer": pa.array(others, pa.string()), "other_channel": pa.array(other_channels, pa.int32()),
        "change": moved.change.reshape(-1),
    })  # fmt: skip


def _standardised(side: pairs.Side) -> Callable[[np.ndarray], np.ndarray]:
    """Reads standardised responses (images, neurons) of neurons of any layers by number."""
    firsts = np.array(list(side.starts.values()))

    def read(numbers: np.ndarray) -> np.ndarray:
        values = np.zeros((len(side.rows), len(numbers)))
        which = np.searchsorted(firsts, numbers, side="right") - 1
        for at in np.unique(which).tolist():
            mine = np.flatnonzero(which == at)
            own = side.responses(side.sizes[at][0])[:, numbers[mine] - firsts[at]]
            values[:, mine] = flips.standardised(own)
        return values

    return read


def _trust(pair: Pair, alignments: pa.Table) -> pa.Table:
    """Layers' trust beside that of the layer of the largest CKA."""
    empty = tables.BY_NAME["trust_changes"].columns.empty_table()
    if not all(side.sealed.has("trust") for side in (pair.a, pair.b)):
        return empty
    here, there = (
        {
            (row["layer"], row["kind"]): row["score"]
            for row in side.sealed.table("trust").to_pylist()
            if row["channel"] is None
        }
        for side in (pair.a, pair.b)
    )
    nearest: dict[str, tuple[float, str]] = {}
    for row in alignments.to_pylist():
        if row["cka"] is not None and row["cka"] > nearest.get(row["layer"], (-np.inf, ""))[0]:
            nearest[row["layer"]] = (row["cka"], row["other_layer"])
    rows = [
        {
            "layer": layer, "other_layer": nearest[layer][1], "kind": kind, "score": score,
            "other_score": there.get((nearest[layer][1], kind)),
        }
        for (layer, kind), score in here.items()
        if layer in nearest
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=empty.schema)


def _dead(pair: Pair) -> dict[str, int]:
    """Dead neurons of either, and of neurons that both have by name those that died and that woke."""
    here, there = (
        {
            (row["layer"], row["channel"]): bool(row["dead"])
            for row in side.sealed.table("neurons", ["layer", "channel", "dead"]).to_pylist()
        }
        for side in (pair.a, pair.b)
    )
    both = here.keys() & there.keys()
    return {
        "dead": sum(here.values()),
        "other_dead": sum(there.values()),
        "died": sum(there[key] and not here[key] for key in both),
        "woke": sum(here[key] and not there[key] for key in both),
    }


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """Products of all pairs of neurons over the sample, taking the other atlas to be as large."""
    return PAIR * rates.core * todo.neurons**2 * todo.sample / max(workers, 1) / 8 + 5


def replay(worker: Work, part: Part, count: int) -> Replayed:
    """The correlations of some matches again, and some flips."""
    settings: CompareSettings = worker.options
    found = Replayed(0, {"correlation": 0.0})
    if not settings.answers:
        pair = _pair(worker.atlas, settings)
        rows = [row for row in part.table("matches").to_pylist() if row["other_layer"] is not None]
        chosen = np.random.default_rng(settings.seed).permutation(len(rows))[:count]
        for row in (rows[at] for at in sorted(chosen.tolist())):
            own = pair.a.responses(row["layer"])[:, row["channel"]].astype(np.float64)
            other = pair.b.responses(row["other_layer"])[:, row["other_channel"]].astype(np.float64)
            again = float(np.corrcoef(own, other)[0, 1])
            found.rows += 1
            found.largest["correlation"] = max(found.largest["correlation"], abs(again - row["correlation"]))
    given = _answers(worker.atlas, settings)
    if given is not None:
        again_flips = given.table().to_pylist()
        found.rows += len(again_flips)
        if sorted(r["image_id"] for r in again_flips) != part.table("flips").column("image_id").to_pylist():
            found.wrong.append("flips: other images are answered differently now")
    if found.largest["correlation"] > _SAME:
        found.wrong.append(f"correlation differs by {found.largest['correlation']:.2g}")
    return found

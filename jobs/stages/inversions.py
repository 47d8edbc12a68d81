"""Inversions: images made again from what layers keep of them; and cells of the map, from their mean codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from atlas.arrays import Doubles, Floats
from atlas.errors import NetworkError, SettingsError
from atlas.invert import chunk as library
from atlas.invert.chunk import Inverse, encoded
from atlas.invert.invert import error, priors, psnr
from atlas.invert.nearest import Cell, cells, mean_codes, ranks
from atlas.invert.settings import InversionSettings
from atlas.invert.through import CODE, chosen, depth_of, encoder, gives_the_code, place_of
from atlas.store.codes import matrix
from atlas.store.parts import Part
from atlas.store.pictures import PackWriter, missing
from atlas.store.sealed import Sealed
from atlas.tables.inversions import INVERSIONS
from atlas.visualize import files
from atlas.visualize.ascend import generator
from atlas.visualize.classes import itself
from jobs.job import Chunk, Job
from jobs.replay import Replayed
from jobs.stages.visualizations import inputs_of, subject_of

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo
    from jobs.work import Work

NAME = "inversions"
TOLERANCE = 1e-3
"""How far an error may lie from the one that is stored, as a share of its size."""
MOST_DB = 99.0
Given = tuple[str, int, list[Any]]
"""A layer, its depth, and the images or the cells."""


def check(sealed: Sealed, options: InversionSettings) -> None:
    """Raises `SettingsError` for a key that no image has, before anything is written."""
    _images(sealed, options)


def chunks(job: Job) -> Sequence[Chunk]:
    """A few images through one layer, or a few cells; which, follows from the seed, the keys and the atlas alone."""
    settings: InversionSettings = job.options
    ids, layers = _images(job.atlas, settings), row_of(job.atlas, settings)
    _check(job, layers)
    found = []
    for depth, layer in enumerate(layers):
        for part in _pieces(ids, settings):
            found.append(Chunk(len(part), f"layer {layer}, images {part[0]} to {part[-1]}", (layer, depth, part)))
    for piece in _pieces(list(_members(job.atlas, settings)), settings):
        found.append(Chunk(len(piece), f"cells {piece[0]} to {piece[-1]}", (CODE, len(layers), piece)))
    return found


def row_of(atlas: Sealed, settings: InversionSettings) -> list[str]:
    """The layers that images are inverted through, in the order of the row."""
    predicted = atlas.table("images", ["predicted"]).column("predicted")
    return chosen(atlas.layers, settings.layers, predicted.null_count < len(predicted))


def _check(job: Job, layers: Sequence[str]) -> None:
    """Raises `SettingsError` for a name that the network has not."""
    if all(name in job.atlas.layers for name in layers):
        return
    session = job.plan.network.session(job.plan.settings)
    for name in layers:
        try:
            place_of(session.module, session.layers, name)
        except NetworkError as wrong:
            raise SettingsError(str(wrong)) from None


def _images(atlas: Sealed, settings: InversionSettings) -> list[int]:
    table = atlas.table("images", ["image_id", "key"]).to_pylist()
    by_key = {row["key"]: row["image_id"] for row in table}
    unknown = [key for key in settings.keys if key not in by_key]
    if unknown:
        raise SettingsError(f"--keys {unknown[0]}: no image of that key; expected one like {next(iter(by_key))}")
    order = generator(settings.seed, NAME).permutation(len(table))[: settings.inversions]
    return sorted({*(table[i]["image_id"] for i in order), *(by_key[key] for key in settings.keys)})


def _members(atlas: Sealed, settings: InversionSettings) -> dict[Cell, list[int]]:
    """The images of each cell of the map."""
    if not settings.cells or not atlas.has("map"):
        return {}
    table = atlas.table("map", ["image_id", "grid_row", "grid_column", "kind"]).to_pylist()
    first = next((row["kind"] for row in table if row["grid_row"] is not None), None)
    places = [(row["image_id"], row["grid_row"], row["grid_column"]) for row in table if row["kind"] == first]
    return cells(places, settings.cells)


def _pieces(things: list[Any], settings: InversionSettings) -> Iterator[list[Any]]:
    size = max(1, settings.rows // settings.repeats)
    return (things[start : start + size] for start in range(0, len(things), size))


def work(worker: Work, chunk: int, given: Given) -> None:
    """Inverts some images through one layer, or some cells."""
    layer, depth, things = given
    settings: InversionSettings = worker.options
    session, subject = worker.session, subject_of(worker)
    each = [(thing, repeat) for thing in things for repeat in range(settings.repeats)]
    weights = priors(depth_of(session.module, session.layers, layer))
    with worker.result(NAME, chunk) as result:
        with encoder(session.module, session.layers, session.code, layer, itself) as encode:
            wanted = _wanted(worker, encode, layer, [thing for thing, _ in each])
            others = _wanted(worker, encode, layer, [_other(worker, thing) for thing, _ in each])
            side, about = session.preprocessing.crop, [(layer, *_named(thing), repeat) for thing, repeat in each]
            try:
                made = library.work(
                    subject, encode, (side, side), wanted, others, about, settings.steps, weights,
                    max(settings.rows, len(each)), settings.seed,
                )  # fmt: skip
            except ValueError as wrong:
                result.rows[NAME] = _rows(
                    [_row(layer, depth, *pair) | {"picture": missing(str(wrong))} for pair in each]
                )
                return
        result.rows[NAME] = _rows(_measured(worker, layer, depth, each, made, result.pack))


def _named(thing: Any) -> tuple[object, ...]:
    return thing if isinstance(thing, tuple) else (thing,)


def _rows(rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=INVERSIONS.columns)


def _row(layer: str, depth: int, thing: Any, repeat: int) -> dict[str, Any]:
    cell = thing if layer == CODE and isinstance(thing, tuple) else (None, None)
    image_id = None if isinstance(thing, tuple) else thing
    return {
        "image_id": image_id, "grid_row": cell[0], "grid_column": cell[1], "layer": layer, "depth": depth,
        "method": "tv", "repeat": repeat,
    }  # fmt: skip


def _measured(
    worker: Work, layer: str, depth: int, each: Sequence[tuple[Any, int]], made: Sequence[Inverse], pack: PackWriter
) -> list[dict[str, Any]]:
    ids = [thing for thing, _ in each if not isinstance(thing, tuple)]
    seen = inputs_of(worker, sorted(set(ids)))
    places = _ranks(worker, layer, made, ids) if ids else [None] * len(each)
    found = []
    for (thing, repeat), inverse, rank in zip(each, made, places, strict=True):
        name = "-".join(f"{number:05d}" for number in _named(thing))
        row = _row(layer, depth, thing, repeat) | {
            "error": inverse.error, "error_other": inverse.error_other, "rank": rank,
            "psnr": min(psnr(inverse.pixels, seen[thing]), MOST_DB) if ids else None,
            "picture": pack.add(f"{depth:02d}-{name}-{repeat}.{files.ENDING}", inverse.body),
        }  # fmt: skip
        found.append(row)
    return found


def _other(worker: Work, thing: Any) -> Any:
    """Another image, or cell, at random; the thing itself where there is no other."""
    if isinstance(thing, tuple):
        known: list[Any] = list(_means(worker))
    else:
        known = worker.keep("ids", lambda: worker.atlas.table("images", ["image_id"]).column(0).to_pylist())
    drawn = known[int(generator(worker.options.seed, "other", *_named(thing)).integers(len(known)))]
    return drawn if drawn != thing else known[(known.index(thing) + 1) % len(known)]


def _wanted(worker: Work, encode: Callable[[Any], Any], layer: str, things: Sequence[Any]) -> Any:
    """What a layer keeps of images, or the mean codes of cells, (N, …)."""
    if isinstance(things[0], tuple):
        subject, means = subject_of(worker), _means(worker)
        dtype = next(subject.module.parameters()).dtype
        return torch.from_numpy(np.stack([means[cell] for cell in things])).to(subject.device, dtype)
    pixels = inputs_of(worker, sorted(set(things)))
    ids = list(dict.fromkeys(things))
    found = encoded(subject_of(worker), encode, [pixels[i] for i in ids], worker.options.rows)
    return found[[ids.index(i) for i in things]]


def _blocks(atlas: Sealed) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    for table in atlas.files("codes", ["image_id", "code"]):
        for batch in table.to_batches():
            yield batch.column("image_id").to_numpy(), matrix(batch.column("code")).astype(np.float32)


def _means(worker: Work) -> dict[Cell, Doubles]:
    members = worker.keep("members", lambda: _members(worker.atlas, worker.options))
    return worker.keep("means", lambda: mean_codes(lambda: _blocks(worker.atlas), members))


def _ranks(worker: Work, layer: str, made: Sequence[Inverse], ids: Sequence[int]) -> Sequence[int | None]:
    """Of each original its place among all images, by cosine of the picture's code; not where the code follows."""
    session, subject = worker.session, subject_of(worker)
    rows = worker.options.rows

    def behind() -> set[str]:
        inputs = subject.inputs(made[0].pixels[None], rows)
        return gives_the_code(session.module, session.layers, session.code, inputs)

    if layer in worker.keep("behind", behind):
        return [None] * len(ids)
    with encoder(session.module, session.layers, session.code, CODE, itself) as encode:
        codes = library.codes(subject, encode, [each.pixels for each in made], rows)
    return ranks(lambda: _blocks(worker.atlas), codes, ids)


def finish(job: Job) -> None:
    """Writes the table, and the figures of the part."""
    job.finish(NAME)
    job.summary.update(summary(job.rows(NAME, NAME).to_pylist()))


def summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Pictures; and by layer the median error, and how many pictures' codes are nearest to their original's."""
    out: dict[str, Any] = {"pictures": sum(row["picture"]["pack"] is not None for row in found)}
    made = sorted((row for row in found if row["error"] is not None), key=lambda row: row["depth"])
    for layer in dict.fromkeys(row["layer"] for row in made):
        mine = [row for row in made if row["layer"] == layer]
        said = f"{np.median([row['error'] for row in mine]):.3g}"
        ranked = [row["rank"] for row in mine if row["rank"] is not None]
        out[f"error_{layer}"] = said + (f", rank 0: {ranked.count(0)} of {len(ranked)}" if ranked else "")
    return out


SHARE = 1.5
"""What a step costs, in forwards of a whole input: forward and back, to layers that lie halfway on average."""


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """From the network's time an image."""
    settings: InversionSettings = todo.options
    layers = 8 if settings.layers == ("auto",) else len(settings.layers)
    made = (settings.inversions + len(settings.keys)) * layers + settings.cells**2
    return float(SHARE * settings.steps * made * settings.repeats / rates.scan / max(workers, 1))


def replay(worker: Work, part: Part, count: int) -> Replayed:
    """The errors of some pictures again, from their files and the originals."""
    table = [row for row in part.table(NAME).to_pylist() if row["picture"]["pack"]]
    order = generator(0, "replay").permutation(len(table))[:count]
    found = Replayed(len(order), {"error": 0.0})
    session, subject = worker.session, subject_of(worker)
    for row in (table[i] for i in sorted(order)):
        cell = (row["grid_row"], row["grid_column"])
        thing = cell if row["image_id"] is None else row["image_id"]
        stored = files.decode(part.picture(row["picture"]), subject.spectrum.channels)
        with encoder(session.module, session.layers, session.code, row["layer"], itself) as encode:
            wanted = _wanted(worker, encode, row["layer"], [thing])
            again = float(error(encoded(subject, encode, [stored], worker.options.rows), wanted)[0])
        change = abs(again - row["error"]) / max(row["error"], 1e-3)
        found.largest["error"] = max(found.largest["error"], change)
        if change > TOLERANCE:
            name = f"cell {cell}" if row["image_id"] is None else f"image {thing}"
            found.wrong.append(f"{name}, {row['layer']}: {again:.6g}, stored {row['error']:.6g}")
    return found

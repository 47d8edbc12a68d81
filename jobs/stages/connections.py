"""The part `connections`: the images of examples once more, responses taken apart by the maps that a layer reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from PIL import Image

from atlas.connections import rows
from atlas.connections.apart import Apart
from atlas.connections.contributions import Places
from atlas.connections.edges import Edges, edges
from atlas.connections.examine import Examiner, aparts_of
from atlas.connections.rows import seen_of, taken_rows, use_of
from atlas.images import decode
from atlas.network.session import Session
from atlas.store.parts import Part
from jobs import chunks as results
from jobs.job import Chunk, Job
from jobs.replay import Replayed

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo
    from jobs.work import Work

IMAGES = 256
"""Images of a chunk."""
BYTES = 1 << 29
"""Vectors that the driver holds at once, about."""
NAME = "connections"
_COLUMNS = ["layer", "channel", "side", "rank", "image_id", "y", "x"]
TOLERANCE = 1e-4
"""Largest difference of a share that is made again."""


def chunks(job: Job) -> Sequence[Chunk]:
    """The examples of sides max and spread, in whole images."""
    examples = asked(job.atlas.table("examples", _COLUMNS)).sort_by("image_id")
    ids = examples.column("image_id").to_numpy()
    if not len(ids):
        return ()
    starts = np.flatnonzero(np.diff(ids, prepend=-1))[::IMAGES].tolist()
    ends = [*starts[1:], len(ids)]
    parts = [examples.slice(start, end - start).combine_chunks() for start, end in zip(starts, ends, strict=True)]
    return [Chunk(len(part), f"{len(part)} examples", part) for part in parts]


def asked(examples: pa.Table) -> pa.Table:
    """The examples that are taken apart."""
    return examples.filter(pc.field("side").isin(["max", "spread"]))


def work(worker: Work, chunk: int, given: pa.Table) -> None:
    """Takes the examples of a chunk apart."""
    with worker.result(NAME, chunk) as result:
        found = list(taken(worker, given))
        result.rows["taken"] = pa.concat_tables(found) if found else rows.TAKEN.empty_table()


def examiner_of(worker: Work) -> Examiner:
    """The network, ready to have its examples taken apart."""
    session, means = worker.session, {}
    table = worker.atlas.table("neurons", ["layer", "channel", "map_mean"])
    for layer in session.layers:
        of = table.filter(pc.field("layer") == layer.name).sort_by("channel")
        means[layer.name] = torch.from_numpy(of.column("map_mean").to_numpy().astype(np.float32).copy())
    return Examiner(session.module, session.layers, means, shape_of(session), worker.options)


def shape_of(session: Session) -> tuple[int, int, int]:
    """Channels, height and width of the network's input."""
    pixels = decode.to_input(Image.new("RGB", (8, 8)), session.preprocessing)
    channels, height, width = session.call(pixels[None], [0]).shape[1:]
    return channels, height, width


def taken(worker: Work, examples: pa.Table) -> Iterator[pa.Table]:
    """Rows of `TAKEN` of examples: their images in the slots of the scan, in calls as full as the slots allow."""
    examiner = worker.keep(NAME, lambda: examiner_of(worker))
    session = worker.session
    place = {layer.name: number for number, layer in enumerate(session.layers)}
    number = np.array([place[name] for name in examples.column("layer").to_pylist()], np.int64)
    image, channel, rank, y, x = (
        examples.column(name).to_numpy().astype(np.int64) for name in ("image_id", "channel", "rank", "y", "x")
    )
    use = [use_of(*each) for each in zip(examples.column("side").to_pylist(), rank.tolist(), strict=True)]
    finds = np.array([u == "find" for u in use], bool)
    done = 0
    worker.watch = lambda: done
    for ids in calls(np.unique(image).tolist(), session.batch_size):
        pixels = np.stack([session.pixels(body) for body in worker.bodies(ids).values()])
        slots = [image_id % session.batch_size for image_id in ids]
        which = np.flatnonzero(np.isin(image, ids))
        places = Places(number[which], image[which] % session.batch_size, channel[which], y[which], x[which])
        found = examiner.take(session.call(pixels, slots), places, finds[which])
        yield taken_rows(found, channel[which], [use[i] for i in which.tolist()], rank[which])
        done += len(which)


def calls(image_ids: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Images, ascending, of each call of the network: no two in one slot, as many as there are slots taken."""
    by_slot: dict[int, list[int]] = {}
    for image_id in image_ids:
        by_slot.setdefault(image_id % batch_size, []).append(image_id)
    for turn in range(max(map(len, by_slot.values()), default=0)):
        yield sorted(of[turn] for of in by_slot.values() if turn < len(of))


def finish(job: Job) -> None:
    """The edges of each layer, from its examples of all chunks."""
    session = job.plan.network.session(job.plan.settings)
    aparts, table = aparts_of(session.module, session.layers, shape_of(session))
    found: list[Edges] = []
    for group in groups(job.atlas.table("examples", ["layer", "side"]), aparts):
        parts = [_of_layers(job, chunk, group) for chunk in range(job.count[NAME])]
        every = pa.concat_tables(parts) if parts else rows.TAKEN.empty_table()
        for number in group:
            seen = seen_of(every.filter(pc.field("number") == number), aparts[number].inputs)
            found.append(edges(aparts[number], seen, job.options.seed))
    connections = rows.connection_rows(found, table, [layer.name for layer in session.layers])
    job.write("connections", connections)
    job.write("additivity", rows.additivity_rows(found))
    job.write("removals", rows.removal_rows(found))
    job.write("pathways", rows.pathway_rows(found, table))
    job.summary.update({key: value for key, value in rows.summary(found, connections).items() if value is not None})


def groups(examples: pa.Table, aparts: Sequence[Apart]) -> Iterator[list[int]]:
    """Numbers of layers, in order, whose vectors fit into memory together."""
    counts = asked(examples).column("layer").value_counts().to_pylist()
    count = {each["values"]: each["counts"] for each in counts}
    group: list[int] = []
    size = 0
    for number, apart in enumerate(aparts):
        needed = 8 * count.get(apart.layer.name, 0) * apart.inputs
        if group and size + needed > BYTES:
            yield group
            group, size = [], 0
        group.append(number)
        size += needed
    yield group


def _of_layers(job: Job, chunk: int, numbers: Sequence[int]) -> pa.Table:
    return results.read(job.folder, NAME, chunk)["taken"].filter(pc.field("number").isin(numbers))


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """Two forward passes an image that has examples, and the sums: about as long as four scans of these images."""
    return 4 * todo.harvest_images / (rates.scan / rates.together * workers)


def replay(worker: Work, part: Part, count: int) -> Replayed:
    """The edges of some neurons again, from all of their examples."""
    table = part.table("connections").filter(pc.field("direction") == "from")
    neurons = table.group_by(["layer", "channel"], use_threads=False).aggregate([])
    chosen = np.sort(np.random.default_rng(worker.options.seed).permutation(len(neurons))[:count])
    examples = asked(worker.atlas.table("examples", _COLUMNS))
    result = Replayed(len(chosen), {"contribution": 0.0, "drop": 0.0})
    examiner = worker.keep(NAME, lambda: examiner_of(worker))
    names = [layer.name for layer in worker.session.layers]
    for neuron in neurons.take(pa.array(chosen)).to_pylist():
        wanted = (pc.field("layer") == neuron["layer"]) & (pc.field("channel") == neuron["channel"])
        number = names.index(neuron["layer"])
        apart = examiner.aparts[number]
        every = pa.concat_tables(taken(worker, examples.filter(wanted).combine_chunks()))
        found = edges(apart, seen_of(every, apart.inputs), worker.options.seed)
        again = rows.from_rows(0, found, examiner.table, [neuron["layer"]])
        _compare(table.filter(wanted), again, neuron, result)
    return result


def _compare(before: pa.Table, after: pa.Table, neuron: dict[str, Any], result: Replayed) -> None:
    """Adds the differences of one neuron's edges."""
    known = {(row["other_layer"], row["source"], row["other_channel"]): row for row in before.to_pylist()}
    made = {(row["other_layer"], row["source"], row["other_channel"]): row for row in after.to_pylist()}
    here = f"{neuron['layer']}:{neuron['channel']}"
    for place, row in known.items():
        other = made.get(place)
        if other is None:
            if abs(row["contribution"]) > TOLERANCE:
                result.wrong.append(f"{here}: is no longer fed by {place[0] or place[1]}:{place[2]}")
            continue
        for name in result.largest:
            if row[name] is None or other[name] is None or row["rank"] != other["rank"]:
                continue
            gap = abs(row[name] - other[name])
            result.largest[name] = max(result.largest[name], gap)
            if gap > TOLERANCE * (1 if name == "contribution" else max(1.0, abs(row[name])) * 10):
                result.wrong.append(f"{here}: {name} of rank {row['rank']} was {row[name]:.6g}, is {other[name]:.6g}")

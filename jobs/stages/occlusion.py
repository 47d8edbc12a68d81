"""Occlusion: a part; a map for each of the strongest examples, some neurons of a layer a chunk."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.explain.aligned import Images
from atlas.explain.prepared import Prepared, prepare
from atlas.harvest.occluded import occlude
from atlas.store.parts import Part
from atlas.store.pictures import PackWriter
from atlas.store.sealed import Sealed
from jobs.job import Chunk, Job
from jobs.replay import Replayed

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo
    from jobs.work import Work

EXAMPLES = 64
"""Examples of a chunk."""
CALLS = 66
"""Calls of the network on a crop, an example: eight cells each way, and the response itself."""
SHARE = 0.3
"""What a call on a crop costs of one on the whole image, over the layers of a network."""


def chunks(job: Job) -> Sequence[Chunk]:
    """The examples that are asked for, layer after layer."""
    rows = wanted(job.atlas, job.options.examples, job.options.sides)
    found = []
    for name in job.atlas.layers:
        of_layer = [row for row in rows if row["layer"] == name]
        for start in range(0, len(of_layer), EXAMPLES):
            some = of_layer[start : start + EXAMPLES]
            found.append(Chunk(len(some), f"layer {name}, neurons from {some[0]['channel']}", some))
    return found


def wanted(atlas: Sealed, examples: int, sides: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the strongest examples, each with the reference of its neuron and side."""
    names = ["layer", "channel", "side", "rank", "image_id", "response", "y", "x"]
    table = atlas.table("examples", names)
    asked = pc.and_(pc.less(table["rank"], examples), pc.is_in(table["side"], value_set=pa.array(list(sides))))
    neurons = atlas.table("neurons", ["layer", "channel", "reference_max", "reference_min"]).to_pylist()
    reference = {(each["layer"], each["channel"]): each for each in neurons}
    rows: list[dict[str, Any]] = table.filter(asked).to_pylist()
    return [row | {"reference": reference[row["layer"], row["channel"]][f"reference_{row['side']}"]} for row in rows]


def work(worker: Work, chunk: int, given: list[dict[str, Any]]) -> None:
    """Draws the maps of a chunk of examples."""
    with worker.result("occlusion", chunk) as result:
        result.rows["occlusion"] = drawn(worker, given, result.pack)


def drawn(worker: Work, rows: Sequence[dict[str, Any]], pack: PackWriter) -> pa.Table:
    """The rows of the table `occlusion`, of examples of one layer."""
    session, longest = worker.session, worker.plan.settings.picture_size
    bodies = worker.bodies([row["image_id"] for row in rows])
    images = Images(np.stack([session.pixels(body) for body in bodies.values()]), session.normalise)
    layer = session.layer(rows[0]["layer"])
    prepared: Prepared = worker.keep(layer.name, lambda: prepare(session.module, layer, images, ()))
    places = {image_id: number for number, image_id in enumerate(bodies)}
    return occlude(session, layer, prepared, rows, images, places, longest, pack)


def finish(job: Job) -> None:
    """Writes the table."""
    job.finish("occlusion")
    pictures = job.rows("occlusion", "occlusion").column("picture").combine_chunks().field("pack")
    job.summary["maps"] = len(pictures) - pictures.null_count


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """So many calls of the network an example."""
    neurons = todo.neurons if todo.asked is None else todo.asked
    examples = neurons * todo.options.examples * len(todo.options.sides)
    return float(examples * CALLS * SHARE * rates.network / workers)


def replay(worker: Work, part: Part, count: int) -> Replayed:
    """Some maps drawn again: their bytes must be the same."""
    table = part.table("occlusion")
    some = np.sort(np.random.default_rng(0).permutation(len(table))[:count])
    asked = wanted(worker.atlas, worker.options.examples, worker.options.sides)
    by_name = {_name(row): row for row in asked}
    found = Replayed(len(some))
    for stored in table.take(pa.array(some)).to_pylist():
        body = io.BytesIO()
        (again,) = drawn(worker, [by_name[_name(stored)]], PackWriter(body, "again")).to_pylist()
        same = again["picture"]["why"] == stored["picture"]["why"]
        if same and stored["picture"]["pack"]:
            offset, length = again["picture"]["offset"], again["picture"]["length"]
            same = body.getvalue()[offset : offset + length] == part.picture(stored["picture"])
        if not same:
            found.wrong.append(f"{_name(stored)}: another map")
    return found


def _name(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("layer", "channel", "side", "rank"))

"""Part `attributes`: what the network finds hard, from the tables of a sealed atlas and a user's table alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from atlas import tables
from atlas.attributes.part import hardest, make, measured, people
from atlas.attributes.settings import AttributesSettings
from atlas.attributes.values import judged
from atlas.store import layout
from atlas.store.sealed import Sealed
from jobs.job import Chunk, Job, in_order

if TYPE_CHECKING:
    from atlas.store.parts import Part
    from jobs.forecast import Rates, Todo
    from jobs.replay import Replayed
    from jobs.work import Work

PART = "attributes"
_COLUMNS = ("image_id", "class_id", "class_ids", "predicted", "loss", "width", "height")
_CELL_SECONDS = 6e-7
"""Of an image and an attribute."""


def check(atlas: Sealed, options: AttributesSettings) -> None:
    """The user's table must fit the atlas. Raises `InputError`."""
    if options.table is not None:
        with judged(_images(atlas, options), None, options.table, options.human, _class_names(atlas, options)):
            pass


def chunks(job: Job) -> Sequence[Chunk]:
    """One: all attributes read the same table."""
    return [Chunk(len(tables.of_part(PART)), "all attributes")]


def work(worker: Work, chunk: int, given: Any) -> None:
    """Makes the tables."""
    with worker.result(PART, chunk) as result:
        result.rows.update(_made(worker.atlas, worker.options))


def _made(atlas: Sealed, options: AttributesSettings) -> dict[str, pa.Table]:
    return make(_images(atlas, options), measured(atlas.bytes(layout.SAMPLE)), options, _class_names(atlas, options))


def _images(atlas: Sealed, options: AttributesSettings) -> pa.Table:
    return atlas.table("images", [*_COLUMNS, *(("source", "key") if options.table else ())])


def _class_names(atlas: Sealed, options: AttributesSettings) -> list[str]:
    """Names of the classes of the atlas's images by their number, empty where no image shows one."""
    if options.human is None:
        return []
    named = atlas.table("images", ["class_id", "class_name"]).drop_null()
    pairs = dict(zip(named.column("class_id").to_pylist(), named.column("class_name").to_pylist(), strict=True))
    return [pairs.get(number, "") for number in range(int(atlas.about["counts"]["classes"]))]


def finish(job: Job) -> None:
    """Writes the tables, and says what is hard."""
    job.finish(PART)
    accuracy, attributes = job.rows(PART, "accuracy"), job.rows(PART, "attributes")
    job.summary["attributes"] = attributes.num_rows
    job.summary["significant"] = sum(attributes.column("significant").to_pylist())
    found, humans = hardest(accuracy, attributes), people(accuracy)
    job.summary["in_words"] = ["finds hard: " + (", ".join(found) or "nothing that was looked at")]
    if humans is not None:
        job.summary["in_words"].append(f"people: {humans}")


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """So much an image and attribute; of a user's table as many columns as are measured."""
    columns = 11 * (2 if todo.options is not None and todo.options.table else 1)
    return rates.start + 1.0 + _CELL_SECONDS * todo.images * columns


def replay(worker: Work, part: Part, count: int) -> Replayed:
    """All tables again, from the base's and the user's; `count` of each table's rows are compared, evenly spaced."""
    from jobs.replay import Replayed

    found = Replayed(0, {"top1": 0.0, "loss": 0.0})
    for name, rows in _made(worker.atlas, worker.options).items():
        again = in_order(rows, tables.BY_NAME[name].key, worker.atlas.layers).to_pylist()
        stored = part.table(name).to_pylist()
        if len(again) != len(stored):
            found.wrong.append(f"{name}: {len(again)} rows, stored are {len(stored)}")
            continue
        for at in range(0, len(again), max(len(again) // count, 1)):
            found.rows += 1
            for figure in found.largest.keys() & again[at].keys():
                a, b = again[at][figure] or 0.0, stored[at][figure] or 0.0
                found.largest[figure] = max(found.largest[figure], abs(a - b))
            if again[at] != stored[at]:
                found.wrong.append(f"{name}, row {at}: {again[at]}, stored is {stored[at]}")
    return found

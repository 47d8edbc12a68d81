"""The codes stage of a build: index, map, neuron vectors, similar neurons, near misses, properties, axes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from atlas.analyse import associations, axis, duplicates, near_misses, similar, vectors
from atlas.analyse.sample import Order, Sample
from atlas.codes import index, maps
from atlas.settings import Settings
from atlas.store import parquet
from atlas.store.codes import Codes, Ids, unit
from atlas.store.files import Folder
from atlas.types import Layer

Progress = Callable[[str], None]


@dataclass(frozen=True)
class CodesResult:
    """What the stage adds to other tables and to atlas.json.

    neurons     the table given, with `vector`
    examples    the table given, with `duplicate_of`
    axis        by layer, the value of its `axis` column (`atlas.tables.network.AXIS`)
    index       kind, parameters, recall, checksums: `index` of atlas.json
    map         what was mapped, and how well: `map` of atlas.json
    compared    thresholds and counts behind near_misses, properties and duplicate_of, and the axes in words
    """

    neurons: pa.Table
    examples: pa.Table
    axis: dict[str, dict[str, float | None]]
    index: dict[str, Any]
    map: dict[str, Any]
    compared: dict[str, Any]


def run(
    folder: Folder,
    settings: Settings,
    layers: list[Layer],
    neurons: pa.Table,
    examples: pa.Table,
    properties: pa.Table | None,
    progress: Progress = lambda what: None,
) -> CodesResult:
    """Reads images, classes, codes and responses of an unsealed folder; writes `codes.faiss` and the tables map,
    similar, near_misses and properties.

    `neurons`, `examples`: by their schemas, without `vector` and `duplicate_of`; `properties`: image_id and a float
    column for each of `properties.NAMES`, for images of the response sample. `progress` is called with the name of
    each step. Everything runs on one thread, so the result depends on nothing but the tables and the seed.
    Raises `NetworkError` for a `--map-layers` that is not a layer, `FolderError` where tables do not fit together.
    """
    maps.check_layers(settings.map_layers, [layer.name for layer in layers])
    with single_thread():
        return _run(folder, settings, neurons, examples, properties, progress)


def _run(
    folder: Folder,
    settings: Settings,
    neurons: pa.Table,
    examples: pa.Table,
    properties: pa.Table | None,
    progress: Progress,
) -> CodesResult:
    codes, order = Codes(folder), Order(neurons)
    sample = Sample(folder, len(order))
    images = parquet.read(folder, "images")
    progress("index")
    about_index = index.build(folder, codes, settings.seed)
    progress("map")
    about_map = maps.write(folder, codes, sample, settings.map_layers, settings.seed)
    progress("neuron vectors")
    means, defined = vectors.mean_codes(codes, order, examples)
    same = duplicates.mark(folder, codes, order, examples, images)
    progress("similar neurons")
    found = {
        "code": similar.nearest(unit(means), defined),
        "classes": similar.nearest(*similar.class_profiles(order, parquet.read(folder, "classes"))),
        "responses": similar.nearest(*similar.response_profiles(order, sample)),
    }
    parquet.write(folder, "similar", similar.table(order, found))
    progress("near misses")
    parquet.write(folder, "near_misses", near_misses.find(codes, order, sample, means, defined))
    progress("properties")
    associated = associations.find(order, sample, properties)
    parquet.write(folder, "properties", associated.table)
    progress("axes")
    near = unit(codes.take(sample.image_ids))
    axes = axis.compare(sample, near, _classes(images, sample.image_ids), settings.seed)
    return CodesResult(
        neurons=_with(neurons, "vector", vectors.column(means, defined)),
        examples=_with(examples, "duplicate_of", same),
        axis=axes,
        index=about_index,
        map=about_map,
        compared={
            "images": len(sample.image_ids),
            "duplicate_cosine": duplicates.COSINE,
            "near_miss": "response below the neuron's median over the response sample",
            "properties": associated.about,
            "axis": axis.words(axes),
        },
    )


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    """The table with a column put in its place, or at the end."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def _classes(images: pa.Table, wanted: Ids) -> Ids:
    """class_id of images, -1 where they have none."""
    rows = np.searchsorted(images.column("image_id").to_numpy(), wanted)
    filled = images.column("class_id").fill_null(-1).to_numpy()
    return np.asarray(filled[rows], np.int64)


@contextmanager
def single_thread() -> Iterator[None]:
    """BLAS, OpenMP and FAISS on one thread, and as before afterwards: sums are then always made in one order."""
    from threadpoolctl import threadpool_limits

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        faiss.omp_set_num_threads(before)

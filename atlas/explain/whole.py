"""What is looked at once a network, not once a unit: its filters, and whether its pictures depend on its weights."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from torch import nn

from atlas.errors import ImageError, JobError
from atlas.explain.aligned import Images
from atlas.explain.filters import filter_rows
from atlas.explain.sanity import read_inputs, sanity_rows
from atlas.images.decode import Preprocessing
from atlas.images.manifest import read_images
from atlas.network.normalise import Normalise
from atlas.store import layout, parquet
from atlas.store.files import Folder
from atlas.store.pictures import PackWriter
from atlas.types import Layer

FILTERS = "filters"
SANITY = "sanity"


def write_filters(folder: Folder, module: nn.Module, layers: Sequence[Layer], longest: int, crop: int) -> None:
    """Writes `filters.parquet` and its pack, the table last: it is done because it is there."""
    name = layout.pack(FILTERS, 0)
    with folder.writing(layout.pack_path(name)) as stream:
        pack = PackWriter(stream, name)
        rows = filter_rows(module, layers, pack, longest, crop)
        pack.close()
    parquet.write(folder, FILTERS, rows)


def write_sanity(
    folder: Folder,
    module: nn.Module,
    layers: Sequence[Layer],
    chosen: pa.Table,
    rows: pa.Table,
    preprocessing: Preprocessing,
    normalise: Normalise,
    kinds: Sequence[str],
    batch_size: int,
    seed: int,
) -> None:
    """Writes `sanity.parquet` for the `chosen` examples; `rows` are the manifest's rows of their images."""
    bodies: dict[int, bytes] = {}
    for image_id, body in read_images(rows):
        if isinstance(body, ImageError):
            raise JobError(f"image {image_id} was scanned, but cannot be read again ({body}); restore it")
        bodies[image_id] = body
    ids, pixels = read_inputs(bodies, preprocessing)
    images = Images(pixels, normalise)
    parquet.write(folder, SANITY, sanity_rows(module, layers, chosen, ids, images, kinds, batch_size, seed))

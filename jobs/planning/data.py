"""The images of a job: how many, of which classes, in which chunks; and their rows of the manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from atlas.images import content
from atlas.images.manifest import Manifest, list_images
from atlas.images.sources import Columns
from atlas.settings import Settings, chunk_for
from atlas.store import layout
from atlas.store.files import Folder

HALF_CODES_ABOVE = 250_000
"""Images above which codes are kept as float16."""


@dataclass(frozen=True)
class DataPlan:
    """The images as workers know of them. `threshold`: content hashes up to it may be in the response sample."""

    count: int
    classes: tuple[str, ...]
    digest: str
    threshold: int
    chunk: int
    """Images of a chunk."""
    by_network: bool = False
    """The classes are those that the network names."""

    @property
    def half_codes(self) -> bool:
        return self.count > HALF_CODES_ABOVE

    @property
    def chunks(self) -> int:
        return -(-self.count // self.chunk)

    def images_in(self, chunk: int) -> int:
        """Images of a chunk; the last may be short."""
        return min((chunk + 1) * self.chunk, self.count) - chunk * self.chunk


def listed(settings: Settings, network_names: Sequence[str] = ()) -> Manifest:
    """The images that settings name. `network_names`: what the network calls its classes. Raises `InputError`."""
    columns = Columns(settings.image_column, settings.label_column)
    return list_images(settings.images, settings.class_names, settings.limit, columns, network_names)


def plan_data(settings: Settings, network_names: Sequence[str] = ()) -> tuple[DataPlan, Manifest]:
    """Lists the images, as `listed`. Raises `InputError`."""
    manifest = listed(settings, network_names)
    count = len(manifest.table)
    auto = settings.chunk_size == "auto"
    return (
        DataPlan(
            count,
            tuple(manifest.classes),
            manifest.digest,
            content.threshold(count, settings.sample),
            chunk_for(count, settings.batch_size) if auto else int(settings.chunk_size),
            manifest.by_network,
        ),
        manifest,
    )


def write_manifest(folder: Folder, table: pa.Table, chunk: int) -> None:
    """Writes the rows, a row group a chunk."""
    with folder.writing(layout.MANIFEST) as stream:
        pq.write_table(table, stream, row_group_size=chunk, compression="zstd")


def read_chunk(folder: Folder, chunk: int) -> pa.Table:
    """The manifest's rows of a chunk of images."""
    with folder.open(layout.MANIFEST) as stream:
        return pq.ParquetFile(stream).read_row_group(chunk)


def read_rows(folder: Folder, data: DataPlan, image_ids: pa.Array) -> pa.Table:
    """The manifest's rows of these images, in the order of image_id."""
    with folder.open(layout.MANIFEST) as stream:
        file = pq.ParquetFile(stream)
        groups = sorted({int(i) // data.chunk for i in image_ids.to_numpy()})
        table = file.read_row_groups(groups)
    return table.filter(pc.is_in(table.column("image_id"), value_set=image_ids))

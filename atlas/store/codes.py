"""The codes of the images as stored, read in bounded memory, and what binds the index over them to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from atlas.arrays import Floats
from atlas.errors import FolderError
from atlas.store import layout, seal
from atlas.store.files import Folder

BLOCK = 16_384
"""Codes read at a time."""

Ids = npt.NDArray[np.int64]


class Codes:
    """The files `codes/*.parquet` of a folder: `count` codes of `dimensions` values, in the order of image_id."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.parts = [f"codes/{name}" for name in folder.names("codes")]
        self.count = 0
        self.dimensions = 0
        for part in self.parts:
            with folder.open(part) as stream:
                file = pq.ParquetFile(stream)
                self.count += file.metadata.num_rows
                self.dimensions = file.schema_arrow.field("code").type.list_size

    def stored(self) -> Iterator[tuple[Ids, npt.NDArray[Any]]]:
        """Blocks of image_id (n,) and codes (n, dimensions) in the type they are stored in."""
        for part in self.parts:
            with self.folder.open(part) as stream:
                for batch in pq.ParquetFile(stream).iter_batches(BLOCK, columns=["image_id", "code"]):
                    yield batch.column("image_id").to_numpy(), matrix(batch.column("code"))

    def blocks(self) -> Iterator[tuple[Ids, Floats]]:
        """Blocks of image_id (n,) and codes (n, dimensions) as float32."""
        for ids, codes in self.stored():
            yield ids, codes.astype(np.float32)

    def ids(self) -> Ids:
        """image_id of every code, ascending."""
        found = [np.empty(0, np.int64)]
        for part in self.parts:
            with self.folder.open(part) as stream:
                found.append(pq.read_table(stream, columns=["image_id"]).column("image_id").to_numpy())
        return np.concatenate(found)

    def take(self, wanted: Ids, out: Floats | None = None) -> Floats:
        """Codes of `wanted`, ascending image_ids that all have one, (n, dimensions); into `out` if given.

        Raises `FolderError` for an image without a code.
        """
        taken = np.empty((len(wanted), self.dimensions), np.float32) if out is None else out
        done = 0
        for ids, codes in self.stored():
            inside = wanted[done : done + int(np.searchsorted(wanted[done:], ids[-1], side="right"))]
            rows = np.minimum(np.searchsorted(ids, inside), len(ids) - 1)
            absent = inside[ids[rows] != inside]
            if len(absent):
                raise self._no_code(int(absent[0]))
            taken[done : done + len(inside)] = codes[rows]
            done += len(inside)
            if done == len(wanted):
                break
        if done < len(wanted):
            raise self._no_code(int(wanted[done]))
        return taken

    def _no_code(self, image: int) -> FolderError:
        return FolderError(
            f"{self.folder.location}/codes: no code of image {image}; expected one of each image, build it again"
        )

    def fingerprint(self) -> dict[str, Any]:
        """Count, dimensions, SHA-256 over the ids and over the values (whatever the files), and of each file."""
        over_ids, over_values = hashlib.sha256(), hashlib.sha256()
        for ids, codes in self.stored():
            over_ids.update(ids.astype("<i8").tobytes())
            over_values.update(codes.tobytes())
        return {
            "count": self.count,
            "dimensions": self.dimensions,
            "ids_sha256": over_ids.hexdigest(),
            "values_sha256": over_values.hexdigest(),
            "files": {part: seal.sha256(self.folder, part) for part in self.parts},
        }


def matrix(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    """A fixed_size_list column as a matrix (rows, list size)."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(len(column), column.type.list_size)


def unit(codes: npt.ArrayLike) -> Floats:
    """Rows divided by their length, so that inner products are cosines.

    A row of zeros stays zeros; one that is not finite becomes zeros: it is like no other.
    """
    rows = np.asarray(codes, np.float32)
    length = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))[:, None]
    finite = np.isfinite(length)
    return np.divide(np.where(finite, rows, 0), np.where(finite & (length > 0), length, 1)).astype(np.float32)


def check_binding(folder: Folder, about: Mapping[str, Any], sums: Mapping[str, str] | None = None) -> None:
    """Checks that the index and the codes are the two that `about` (the `index` of atlas.json) was written for.

    `sums`: SHA-256 of files that were just computed elsewhere, by path; others are computed here.
    Raises `FolderError` naming both files.
    """
    try:
        files = dict(about["codes"]["files"])
        bound = {**files, layout.INDEX: about["sha256"]}
    except (KeyError, TypeError, ValueError):
        raise FolderError(
            f"{folder.location}/{layout.ATLAS}: expected checksums of {layout.INDEX} and codes/*.parquet under "
            "`index`; build it again"
        ) from None
    there = [f"codes/{name}" for name in folder.names("codes")]
    if sorted(files) != there:
        raise FolderError(
            f"{folder.location}: {layout.INDEX} was built over {len(files)} files codes/*.parquet, found "
            f"{len(there)}; copy the atlas again, or build it again"
        )
    for path, expected in bound.items():
        try:
            found = (sums or {}).get(path) or seal.sha256(folder, path)
        except OSError:
            found = "nothing"
        if found != expected:
            other = "codes/*.parquet" if path == layout.INDEX else layout.INDEX
            raise FolderError(
                f"{folder.location}/{path} does not belong to {other}: SHA-256 {found[:12]}, expected "
                f"{expected[:12]}; copy the atlas again, or build it again"
            )

"""Parquet files of images, Hugging Face's layout too: listed without their pictures, read a row group at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from atlas.errors import ImageError, JobError, SourceError
from atlas.images.labels import Labels, from_values, unlabelled
from atlas.images.sources import NO_COLUMNS, Columns, Part, Source
from atlas.store.locations import filesystem, is_remote

_IMAGE_NAMES = ("image", "img", "picture", "jpg", "jpeg", "png")
_LOCAL_BUFFER = 1 << 20
_REMOTE_BUFFER = 8 << 20
_BATCH_BYTES = 4 << 20
_BATCH_ROWS = 1024


def list_rows(source: Source, name: str, columns: Columns = NO_COLUMNS) -> Part:
    """The images of one Parquet file. A key is `image.path` where it is there and single, else the row's number."""
    path = f"{source.root}/{name}"
    try:
        with _open(path) as file:
            schema = file.schema_arrow
            image, _ = image_column(schema, path, columns.image)
            label = _label_column(schema, path, columns.label)
            wanted = [c for c in (f"{image}.path" if _has_path(schema, image) else None, label) if c]
            rows = file.metadata.num_rows
            # A nested leaf is asked for by its dotted name; other columns stay unread.
            table = file.read(columns=wanted) if wanted else None
    except (OSError, pa.ArrowException) as error:
        raise SourceError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:300]})") from None
    paths = pc.struct_field(table[image], "path") if table is not None and image in table.column_names else None
    if table is not None and label:
        labels, note = _labels(table[label], _features(schema).get(label), label, path), None
    else:
        labels, note = Labels(_none(rows)), unlabelled(path, "column `label`", _may_be_labels(schema))
    prefix = source.prefix(name)
    keys = _keys(paths, rows)
    if prefix:
        keys = pc.binary_join_element_wise(prefix, keys, "")
    return Part("parquet", path, pa.chunked_array([keys]), labels, pa.array(np.arange(rows)), note=note)


def _open(path: str) -> pq.ParquetFile:
    where, inside = filesystem(path)
    return pq.ParquetFile(
        inside,
        filesystem=where,
        buffer_size=_REMOTE_BUFFER if is_remote(path) else _LOCAL_BUFFER,
        pre_buffer=False,
    )


def _none(rows: int) -> Any:
    return np.full(rows, -1, np.int64)


def image_column(schema: pa.Schema, path: str, wanted: str | None = None) -> tuple[str, str]:
    """Name of the column of images, and the dotted name of its bytes. Raises `SourceError` if there is not one.

    `wanted`: the column that was asked for.
    """
    found = {field.name: _bytes_in(field) for field in schema if _bytes_in(field)}
    if wanted is not None:
        if wanted not in found:
            raise SourceError(
                f"{path}: --image-column {wanted}: no column of images; expected one of "
                f"{', '.join(found) or 'none, as it has no struct{bytes, path} or binary column'}"
            )
        return wanted, str(found[wanted])
    name = next((n for n in _IMAGE_NAMES if n in found), next(iter(found)) if len(found) == 1 else None)
    if name is None:
        raise SourceError(
            f"{path}: columns {', '.join(schema.names)}; expected `image`, a struct{{bytes, path}} or binary column, "
            "or its name with --image-column"
        )
    return name, str(found[name])


def _bytes_in(field: pa.Field) -> str | None:
    kind = field.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return f"{field.name}.bytes" if _is_bytes(kind.field("bytes").type) else None
    return field.name if _is_bytes(kind) else None


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _has_path(schema: pa.Schema, image: str) -> bool:
    kind = schema.field(image).type
    return bool(pa.types.is_struct(kind) and kind.get_field_index("path") >= 0)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """Hugging Face's description of the columns."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _class_label(feature: Any) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == "ClassLabel"


def _label_column(schema: pa.Schema, path: str, wanted: str | None) -> str | None:
    if wanted is not None:
        if wanted not in schema.names:
            raise SourceError(f"{path}: --label-column {wanted}: no such column; it has {', '.join(schema.names)}")
        return wanted
    if "label" in schema.names:
        return "label"
    described = [name for name, feature in _features(schema).items() if _class_label(feature) and name in schema.names]
    return described[0] if len(described) == 1 else None


def _may_be_labels(schema: pa.Schema) -> list[str]:
    """Columns of numbers or words, or of lists of them."""
    return [field.name for field in schema if _is_label(field.type) or (_is_list(field.type) and _is_label(_of(field)))]


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _of(field: pa.Field) -> pa.DataType:
    return field.type.value_type


def _is_label(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _labels(column: pa.ChunkedArray, feature: Any, name: str, path: str) -> Labels:
    """Labels of a column. `feature`: Hugging Face's description of it."""
    kind = column.type
    if _is_list(kind):
        lengths = pc.list_value_length(column).fill_null(-1).cast(pa.int64()).to_numpy()
        inner = feature[0] if isinstance(feature, list) and feature else (feature or {}).get("feature", feature)
        flat = pa.chunked_array([chunk.flatten() for chunk in column.chunks], kind.value_type)
        return replace(_labels(flat, inner, name, path), lengths=lengths)
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return from_values(column.to_pylist())
    if not pa.types.is_integer(kind):
        raise SourceError(f"{path}: column {name} is {kind}; expected integers or words, or lists of these")
    numbers = column.cast(pa.int64()).fill_null(-1).to_numpy().copy()
    numbers[(numbers < 0) | (numbers >= 2**31)] = -1
    names = feature.get("names") if isinstance(feature, dict) and _class_label(feature) else None
    if isinstance(names, list) and names:
        return Labels(np.where(numbers < len(names), numbers, -1), tuple(map(str, names)), ordered=True)
    return Labels(numbers)


def _keys(paths: pa.ChunkedArray | None, rows: int) -> pa.Array:
    numbers = pa.array(np.arange(rows)).cast(pa.string())
    if paths is None or paths.null_count == rows:
        return numbers
    together = paths.combine_chunks().cast(pa.string())
    counts = together.value_counts()
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    usable = pc.and_(pc.not_equal(together, "").fill_null(False), pc.invert(pc.is_in(together, value_set=twice)))
    return pc.if_else(usable, together, numbers)


def read_rows(path: str, wanted: Sequence[int], column: str | None = None) -> Iterator[bytes | ImageError]:
    """Pictures of rows of one file, in the order wanted; rising rows of a row group cost one pass over it.

    `column`: the column of images, where it was asked for by name.
    """
    with _open_again(path) as file:
        name, leaf = image_column(file.schema_arrow, path, column)
        starts = np.concatenate([[0], _ends(file)])
        position = 0
        while position < len(wanted):
            group = int(np.searchsorted(starts, wanted[position], side="right")) - 1
            stop = position + 1
            while stop < len(wanted) and wanted[stop - 1] < wanted[stop] < starts[group + 1]:
                stop += 1
            inside = [int(row - starts[group]) for row in wanted[position:stop]]
            yield from _read_group(file, group, (name, leaf), inside)
            position = stop


def row_groups(path: str, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """The row group of each row that is wanted of a file."""
    with _open_again(path) as file:
        return np.searchsorted(_ends(file), wanted, side="right")


def _open_again(path: str) -> pq.ParquetFile:
    """Opens a file that was there when images were listed. Raises `JobError` where it is gone."""
    try:
        return _open(path)
    except FileNotFoundError:
        raise JobError(f"{path}: the file is gone; put it back, then run the same command again") from None


def _ends(file: pq.ParquetFile) -> NDArray[np.int64]:
    counts = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    return np.cumsum(counts, dtype=np.int64)


def _read_group(
    file: pq.ParquetFile, group: int, column: tuple[str, str], wanted: Sequence[int]
) -> Iterator[bytes | ImageError]:
    """Pictures of rising rows of one row group, in bounded memory."""
    name, leaf = column
    first = position = 0
    about = file.metadata.row_group(group)
    size = _BATCH_BYTES * about.num_rows // max(about.total_byte_size, 1)
    for batch in file.iter_batches(min(max(size, 1), _BATCH_ROWS), row_groups=[group], columns=[leaf]):
        values = batch.column(name)
        if pa.types.is_struct(values.type):
            values = pc.struct_field(values, "bytes")
        while position < len(wanted) and wanted[position] < first + len(values):
            body = values[wanted[position] - first].as_py()
            yield ImageError("null", "the row holds no bytes") if body is None else body
            position += 1
        if position == len(wanted):
            return
        first += len(values)

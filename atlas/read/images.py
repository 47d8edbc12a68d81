"""The images of an atlas, by number, by class, and by the neurons that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.errors import FolderError, NotFoundError
from atlas.read import source
from atlas.read.orders import Orders
from atlas.read.pictures import Columns, Packs, Place, none, nowhere
from atlas.read.records import Array, Records, Words
from atlas.store.files import Folder

_PLACE = [("pack", "<u2"), ("offset", "<i8"), ("length", "<u4"), ("why", "<u2")]
_IMAGE = np.dtype(
    [
        ("image_id", "<i8"), ("source", "<u2"), ("class_id", "<i4"), ("width", "<i4"), ("height", "<i4"),
        ("predicted", "<i4"), ("probability", "<f4"), ("loss", "<f4"), ("right", "i1"),
        ("key", "<i8"), ("key_length", "<u4"), ("content", "V32"),
        ("thumbnail", _PLACE), ("picture", _PLACE),
    ]
)  # fmt: skip


class ImageRow(NamedTuple):
    """One row of images.parquet."""

    image_id: int
    source: str
    key: str
    content: bytes
    class_id: int | None
    class_ids: list[int]
    width: int
    height: int
    predicted: int | None
    probability: float | None
    loss: float | None
    thumbnail: Place
    picture: Place


class Known(NamedTuple):
    """What other tables' rows take over from images, an element an image, only while an atlas is being opened."""

    class_id: Array  # -1: none
    width: Array
    height: Array
    thumbnail: Array  # number of the reason; 0 where there is a picture
    picture: Array
    right: Array  # predicted as its class, or one of its classes
    predicted: Array  # -1: none


class Images:
    """images.parquet laid out for reading one at a time. `row`s count images that were scanned, from 0."""

    def __init__(self, folder: Folder, packs: Packs, class_names: Sequence[str] = ()) -> None:
        self._packs = packs
        self._sources = Words()
        self._names: dict[int, str] = {}
        self._class_names = class_names
        file = source.opened(folder, "images")
        self.count = int(file.metadata.num_rows) if file else 0
        self._labels = Records(np.dtype("<i4"), self.count, "images.parquet")
        self._records = Records(_IMAGE, 1, "images.parquet")
        self._keys = Records(np.dtype("u1"), 1, "images.parquet")
        ids: list[Array] = [np.empty(0, np.int64)]
        known: list[Known] = [Known(*(np.empty(0, kind) for kind in ("i4", "i4", "i4", "u2", "u2", "?", "i4")))]
        for batch in source.batches(folder, "images"):
            ids.append(batch.column("image_id").to_numpy())
            known.append(self._lay_out(batch))
        self.known = Known(*(np.concatenate(each) for each in zip(*known, strict=True)))
        self._number(np.concatenate(ids))
        self._sort_by_class()
        self.orders = Orders(self)

    def _lay_out(self, batch: Any) -> Known:
        rows = np.zeros(len(batch), _IMAGE)
        for name in ("image_id", "width", "height"):
            rows[name] = batch.column(name).to_numpy(zero_copy_only=False)
        for name in ("class_id", "predicted"):
            rows[name] = batch.column(name).fill_null(-1).to_numpy()
        for name in ("probability", "loss"):
            rows[name] = batch.column(name).fill_null(np.nan).to_numpy()
        rows["content"] = _contents(batch.column("content"))
        rows["source"] = self._sources.encode(batch.column("source"), np.uint16)
        keys = [key.encode("utf-8") for key in batch.column("key").to_pylist()]
        lengths = np.array([len(key) for key in keys], np.int64)
        rows["key"] = self._keys.total + np.cumsum(lengths) - lengths
        rows["key_length"] = lengths
        self._keys.append(np.zeros(int(lengths.sum()), np.int8), np.frombuffer(b"".join(keys), np.uint8))
        whys: list[Array] = []
        for name in ("thumbnail", "picture"):
            columns = self._packs.columns(batch.column(name))
            put(rows[name], columns)
            whys.append(columns.why)
        first = self._records.total
        self._learn_names(batch)
        right = (rows["predicted"] == rows["class_id"]) & (rows["predicted"] >= 0)
        several = batch.column("class_ids")
        lengths = several.value_lengths().fill_null(0).to_numpy().astype(np.int64)
        of = np.repeat(np.arange(len(rows)), lengths)
        labels = several.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
        self._labels.append(first + of, labels)
        right[of[labels == rows["predicted"][of]]] = True
        judged = (rows["predicted"] >= 0) & ((rows["class_id"] >= 0) | (lengths > 0))
        rows["right"] = np.where(judged, right, -1)
        self._records.append(np.zeros(len(rows), np.int8), rows)
        return Known(
            rows["class_id"].copy(),
            rows["width"].copy(),
            rows["height"].copy(),
            whys[0],
            whys[1],
            right,
            rows["predicted"].copy(),
        )

    def _learn_names(self, batch: Any) -> None:
        ids = batch.column("class_id").fill_null(-1).to_numpy()
        unique, first = np.unique(ids, return_index=True)
        for class_id, at in zip(unique.tolist(), first.tolist(), strict=True):
            name = batch.column("class_name")[at].as_py()
            if class_id >= 0 and name is not None:
                self._names[class_id] = name

    def _number(self, ids: Array) -> None:
        """Images are in the order of image_id; those that are missing among the numbers are few."""
        if len(ids) and ((np.diff(ids) <= 0).any() or ids[0] < 0):
            raise FolderError("images.parquet is not in the order of image_id")
        # Gaps: after row g the numbers jump. `_from` are first ids of runs, `_row` their rows.
        starts = np.concatenate([[0], np.flatnonzero(np.diff(ids) != 1) + 1]) if len(ids) else np.empty(0, np.int64)
        self._from = ids[starts] if len(ids) else ids
        self._row = starts.astype(np.int64)
        self._last = int(ids[-1]) if len(ids) else -1

    def _sort_by_class(self) -> None:
        """Lays out the rows of each class; an image of several classes is a row of each."""
        labels = self._labels.span(0, self._labels.total)
        row = np.concatenate([np.arange(self.count), self._labels.group_of(np.arange(len(labels)))])
        class_id = np.concatenate([self.known.class_id, labels])
        order = np.lexsort((row, class_id))
        order = order[class_id[order] >= 0]
        self.classes, first, group, counts = np.unique(
            class_id[order], return_index=True, return_inverse=True, return_counts=True
        )
        order = row[order]
        right = self.known.right[order]
        self.judged_singly = bool((self.known.predicted >= 0).any()) and not len(labels)
        self.class_counts = counts
        self.class_right = np.add.reduceat(right, first) if len(first) else counts
        self._of_class = Records(np.dtype("<u4"), len(counts), "images.parquet")
        self._of_class.append(group, order.astype(np.uint32))
        self._class_at = {int(class_id): i for i, class_id in enumerate(self.classes)}

    def of_class(self, class_id: int, first: int, count: int) -> list[ImageRow]:
        """Images of a class by number, `count` from the `first` on. Raises `NotFoundError`."""
        at = self.class_at(class_id)
        start, total = self._of_class.first(at), self._of_class.count(at)
        rows = self._of_class.span(start + first, max(0, min(count, total - first))).tolist()
        return [self.at(row) for row in rows]

    def rows_of_class(self, class_id: int) -> Array:
        """Rows of the images of a class, upwards. Raises `NotFoundError`."""
        return self._of_class.of(self.class_at(class_id)).astype(np.int64)

    def column(self, rows: Array, name: str) -> Array:
        """A number of images (`right`: 1, 0, or -1 for neither) at rows, upwards and close together."""
        return np.asarray(self._records.span(int(rows[0]), int(rows[-1] - rows[0]) + 1)[name][rows - rows[0]])

    def at(self, row: int) -> ImageRow:
        """The image at a row."""
        return self.span(row, 1)[0]

    def class_at(self, class_id: int) -> int:
        """Position of a class among `classes`. Raises `NotFoundError`."""
        try:
            return self._class_at[class_id]
        except KeyError:
            raise NotFoundError(f"class {class_id}: no image has it; expected one of those …/classes lists") from None

    def rows_of(self, ids: Array, table: str) -> Array:
        """Rows of images by their numbers. Raises `FolderError` for one that is not there."""
        if len(ids) == 0:
            return np.empty(0, np.int64)
        run = np.searchsorted(self._from, ids, "right") - 1
        rows = self._row[np.maximum(run, 0)] + ids - self._from[np.maximum(run, 0)]
        ends = np.append(self._row[1:], self.count)
        if (run < 0).any() or (rows >= ends[run]).any():
            raise FolderError(f"{table}.parquet names an image that images.parquet does not have")
        return np.asarray(rows)

    def row(self, image_id: int) -> int:
        """Row of an image. Raises `NotFoundError`."""
        if 0 <= image_id <= self._last:
            run = int(np.searchsorted(self._from, image_id, "right")) - 1
            if run >= 0:
                row = int(self._row[run]) + image_id - int(self._from[run])
                if row < (int(self._row[run + 1]) if run + 1 < len(self._row) else self.count):
                    return row
        raise NotFoundError(f"image {image_id}: no such image; it may be in quarantine, see …/quarantine")

    def has(self, image_id: int) -> bool:
        """Whether there is such an image."""
        try:
            self.row(image_id)
        except NotFoundError:
            return False
        return True

    def get(self, image_id: int) -> ImageRow:
        """One image. Raises `NotFoundError`."""
        return self.at(self.row(image_id))

    def span(self, first: int, count: int) -> list[ImageRow]:
        """Images by their rows, `count` from `first` on."""
        count = max(0, min(count, self.count - first))
        return [self._image(first + at, values) for at, values in enumerate(self._records.span(first, count).tolist())]

    def _image(self, row: int, values: Any) -> ImageRow:
        (
            image_id, place, class_id, width, height, predicted, probability, loss, _right, key, key_length, content,
            thumb, picture,
        ) = values  # fmt: skip
        return ImageRow(
            image_id,
            self._sources.texts[place] or "",
            self._keys.span(key, key_length).tobytes().decode("utf-8", "replace"),
            content,
            class_id if class_id >= 0 else None,
            self._labels.of(row).tolist() if self._labels.total else [],
            width,
            height,
            predicted if predicted >= 0 else None,
            none(probability),
            none(loss),
            self._place(thumb),
            self._place(picture),
        )

    def _place(self, values: tuple[int, int, int, int]) -> Place:
        pack, offset, length, why = values
        name = self._packs.packs.texts[pack]
        return nowhere(self._packs.whys.texts[why]) if name is None else Place(name, offset, length, None, None, None)

    def name(self, class_id: int | None) -> str | None:
        """Readable name of a class; null where it has none."""
        if class_id is None or class_id in self._names:
            return None if class_id is None else self._names[class_id]
        return self._class_names[class_id] if class_id < len(self._class_names) else None

    @property
    def names(self) -> dict[int, str]:
        """Readable names of the classes that images have, by class."""
        every = {class_id: self.name(class_id) for class_id in self.classes.tolist()}
        return {class_id: name for class_id, name in every.items() if name is not None}

    def forget(self) -> None:
        """Drops what was only needed while the atlas was being opened."""
        del self.known

    def close(self) -> None:
        self._records.close()
        self._of_class.close()
        self._keys.close()
        self._labels.close()
        self.orders.close()


def _contents(column: Any) -> Array:
    """SHA-256 digests as records of 32 bytes. Raises `FolderError` for what is none."""
    if column.null_count or (not pc.all(pc.equal(pc.binary_length(column), 32)).as_py() and len(column)):
        raise FolderError("images.parquet has a content that is no SHA-256; build it again")
    whole = column.cast(pa.binary(32)) if len(column) else column
    return np.frombuffer(b"".join(whole.to_pylist()), "V32")


def put(rows: Array, columns: Columns) -> None:
    """Lays a picture column out in the fields pack, offset, length and why of records."""
    for name in ("pack", "offset", "length"):
        rows[name] = 0
        rows[name][columns.row] = getattr(columns, name)
    rows["why"] = columns.why

"""Images in an order of their own: by loss or probability, of a class or of all, taken rightly or wrongly.

An order over all images is laid out once, at the first question for it: four bytes an image in a file without a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from atlas.read.records import Array, Records

if TYPE_CHECKING:
    from atlas.read.images import ImageRow, Images

SORTS = ("image_id", "probability", "loss")
_APART = 64  # rows between two wanted ones that are read rather than jumped over
_BLOCK = 65536  # rows that are read at once


class Orders:
    """Rows of images in any order that can be asked for."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._laid: dict[tuple[str, bool, bool | None], Records] = {}

    def page(
        self, first: int, count: int, class_id: int | None, sort: str, descending: bool, right: bool | None
    ) -> tuple[int, list[ImageRow]]:
        """How many images there are, and `count` of them from the `first` on.

        `right`: only those taken for (one of) their class, or only those taken for another; an image without a class or
        a prediction is neither. Images without a value come last; equal ones by number. Raises `NotFoundError`.
        """
        images = self._images
        as_they_lie = right is None and sort == "image_id" and not descending
        if class_id is not None and as_they_lie:
            return int(images.class_counts[images.class_at(class_id)]), images.of_class(class_id, first, count)
        if class_id is not None:
            chosen = self._ordered(images.rows_of_class(class_id), sort, descending, right)
            return len(chosen), [images.at(int(row)) for row in chosen[first : first + count]]
        if as_they_lie:
            return images.count, images.span(first, count)
        laid = self._laid_out(sort, descending, right)
        rows = laid.span(first, max(0, min(count, laid.total - first)))
        return laid.total, [images.at(int(row)) for row in rows]

    def _laid_out(self, sort: str, descending: bool, right: bool | None) -> Records:
        key = sort, descending, right
        laid = self._laid.get(key)
        if laid is None:
            rows = self._ordered(np.arange(self._images.count), sort, descending, right)
            laid = Records(np.dtype("<u4"), 1, "images.parquet")
            laid.append(np.zeros(len(rows), np.int8), rows.astype(np.uint32))
            self._laid[key] = laid
        return laid

    def _ordered(self, rows: Array, sort: str, descending: bool, right: bool | None) -> Array:
        """Of rows (upwards) those that are wanted, in order."""
        if right is not None:
            rows = rows[self._values(rows, "right") == int(right)]
        if sort == "image_id":
            return rows[::-1] if descending else rows
        values = self._values(rows, sort).astype(np.float64)
        values = np.where(np.isnan(values), np.inf, -values if descending else values)
        return np.asarray(rows[np.argsort(values, kind="stable")])

    def _values(self, rows: Array, name: str) -> Array:
        """A column at rows (upwards): what lies close together is read at once."""
        if len(rows) == 0:
            return np.empty(0)
        begins = np.flatnonzero((np.diff(rows, prepend=-_BLOCK) > _APART) | (np.arange(len(rows)) % _BLOCK == 0))
        parts = [self._images.column(each, name) for each in np.split(rows, begins[1:])]
        return np.concatenate(parts)

    def close(self) -> None:
        for laid in self._laid.values():
            laid.close()

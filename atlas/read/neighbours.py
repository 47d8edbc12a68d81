"""Nearest images by code: the FAISS index of a sealed atlas, checked, opened by memory map, and asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from atlas.arrays import Floats
from atlas.errors import FolderError, InputError, NotFoundError
from atlas.store import layout
from atlas.store.codes import Codes, Ids, check_binding, unit
from atlas.store.faiss_index import CodeIndex
from atlas.store.files import Folder


class Neighbour(NamedTuple):
    """An image, and the cosine similarity of its code."""

    image_id: int
    similarity: float


class Neighbours:
    """The index over the codes of an atlas. Queries may come from many threads.

    `about`: atlas.json. `sums`: SHA-256, by path, of files that have been compared with their contents already; the
    index and the codes are hashed here where it does not name them. `verify=False` trusts the folder.

    Raises `FolderError`, naming both files, where the index and the codes are not the pair that was built together.
    """

    def __init__(
        self, folder: Folder, about: Mapping[str, Any], sums: Mapping[str, str] | None = None, *, verify: bool = True
    ) -> None:
        index = about.get("index") or {}
        self._why = str(index.get("why", "it was built without codes"))
        self._location = folder.location
        self._index: CodeIndex | None = None
        if not index.get("file"):
            return
        if verify:
            check_binding(folder, index, sums)
        self._index = CodeIndex(folder.held(layout.INDEX), index.get("probes"))
        codes = Codes(folder)
        if (self._index.count, self._index.dimensions) != (codes.count, codes.dimensions):
            raise FolderError(
                f"{folder.location}/{layout.INDEX} does not belong to codes/*.parquet: it holds {self._index.count} "
                f"codes of {self._index.dimensions} values, expected {codes.count} of {codes.dimensions}; "
                "copy the atlas again, or build it again"
            )

    @property
    def count(self) -> int:
        """Images with a code."""
        return self._index.count if self._index else 0

    @property
    def dimensions(self) -> int:
        """Values of a code."""
        return self._index.dimensions if self._index else 0

    def ids(self) -> Ids:
        """image_id of every code, ascending."""
        return self._index.ids() if self._index else np.empty(0, np.int64)

    def of_image(self, image_id: int, k: int = 10) -> list[Neighbour]:
        """The `k` images nearest to one, itself excluded, nearest first; fewer where there are fewer.

        The image's code is taken from the index: exact, or of half floats where the index has lists.
        Raises `NotFoundError` for an image without a code, `InputError` for `k` below 1.
        """
        index = self._opened()
        self._check(k)
        try:
            query = unit(index.take(np.array([image_id], np.int64)))
        except (KeyError, OverflowError):
            raise NotFoundError(
                f"image {image_id}: {self._location} has no code of it; expected the image_id of one of "
                f"{index.count} images"
            ) from None
        return self._search(index, query, k, image_id)

    def of_code(self, code: Sequence[float] | Floats, k: int = 10) -> list[Neighbour]:
        """The `k` images nearest to a code by cosine; the code need not be of unit length.

        Raises `InputError` for a code of another size, or one that is not finite, or zero; and for `k` below 1.
        """
        index = self._opened()
        self._check(k)
        try:
            query = np.asarray(code, np.float64)
        except (TypeError, ValueError):
            raise InputError(f"code: expected {index.dimensions} numbers") from None
        if query.shape != (index.dimensions,):
            raise InputError(f"code of shape {query.shape}: expected {index.dimensions} numbers")
        largest = np.abs(query).max()
        if not np.isfinite(largest) or largest == 0:
            raise InputError("code: expected finite numbers, not all of them 0")
        return self._search(index, unit((query / largest)[None]), k, None)

    def codes(self, image_ids: Ids) -> Floats:
        """Codes of unit length of images, (n, dimensions). Raises `NotFoundError`."""
        try:
            return self._opened().take(image_ids)
        except KeyError as error:
            raise NotFoundError(f"image {error.args[0]}: {self._location} has no code of it") from None

    def _opened(self) -> CodeIndex:
        if self._index is None:
            raise NotFoundError(f"{self._location}: no {layout.INDEX} ({self._why}); expected an atlas with codes")
        return self._index

    @staticmethod
    def _check(k: int) -> None:
        if k < 1:
            raise InputError(f"k {k}: expected 1 or more")

    def _search(self, index: CodeIndex, query: Floats, k: int, own: int | None) -> list[Neighbour]:
        wanted = min(k + (own is not None), index.count)
        similar, ids = index.search(query, wanted)  # (1, wanted)
        found = [
            Neighbour(int(image), float(min(1.0, max(-1.0, value))))
            for image, value in zip(ids[0].tolist(), similar[0].tolist(), strict=True)
            if image >= 0 and image != own
        ]
        return sorted(found, key=lambda each: (-each.similarity, each.image_id))[:k]

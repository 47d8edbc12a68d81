"""The FAISS file of an atlas, opened by memory map: searching it, and taking a code out of it again."""

from __future__ import annotations

import ctypes
from typing import Any

import faiss
import numpy as np

from atlas.arrays import Floats
from atlas.errors import FolderError
from atlas.store.codes import Ids
from atlas.store.held import Held


class CodeIndex:
    """An opened `codes.faiss`. Queries are rows of unit length; similarities are cosines.

    Raises `FolderError` where FAISS cannot read the file.
    """

    def __init__(self, held: Held, probes: int | None = None) -> None:
        faiss.set_deserialization_vector_byte_limit(held.size)  # what a file says of itself is no reason to allocate it
        faiss.set_deserialization_loop_limit(held.size)
        try:
            self._index: Any = _mapped(held)
        except (RuntimeError, MemoryError) as error:
            reason = str(error).rsplit(": ", 1)[-1]
            raise FolderError(
                f"{held.file}: FAISS cannot read it ({reason}); copy the atlas again, or build it again"
            ) from None
        self.exact = not hasattr(self._index, "nlist")
        self.count = int(self._index.ntotal)
        self.dimensions = int(self._index.d)
        self._places: tuple[Ids, Ids, Ids] | None = None
        if probes is not None:
            self.probe(probes)

    @property
    def lists(self) -> int:
        """Number of inverted lists; 1 for an exact index."""
        return 1 if self.exact else int(self._index.nlist)

    def probe(self, lists: int) -> None:
        """Sets how many lists a query looks into."""
        if not self.exact:
            self._index.nprobe = lists

    def search(self, queries: Floats, k: int) -> tuple[Floats, Ids]:
        """Similarity and image_id of the `k` nearest of each query, (queries, k); image_id -1: no more were found."""
        similar, ids = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        return similar, ids

    def ids(self) -> Ids:
        """image_id of every code, ascending."""
        return self._positions()[0]

    def take(self, wanted: Ids) -> Floats:
        """Codes of unit length as the index keeps them, (len(wanted), dimensions). `KeyError`: no such image_id."""
        ids, lists, offsets = self._positions()
        taken = np.empty((len(wanted), self.dimensions), np.float32)
        for row, image in enumerate(wanted):
            place = int(np.searchsorted(ids, image))
            if place == len(ids) or ids[place] != image:
                raise KeyError(int(image))
            if self.exact:
                taken[row] = self._index.index.reconstruct(int(offsets[place]))
            else:
                target = faiss.swig_ptr(taken[row])
                self._index.reconstruct_from_offset(int(lists[place]), int(offsets[place]), target)
        return taken

    def _positions(self) -> tuple[Ids, Ids, Ids]:
        """Where each code is: image_id ascending, list, offset in the list. Read when first asked for."""
        if self._places is None:
            self._places = self._read_positions()
        return self._places

    def _read_positions(self) -> tuple[Ids, Ids, Ids]:
        if self.exact:
            ids = faiss.vector_to_array(self._index.id_map)
            sizes = np.array([len(ids)])
        else:
            lists = self._index.invlists
            sizes = np.array([lists.list_size(i) for i in range(self.lists)])
            parts = [faiss.rev_swig_ptr(lists.get_ids(i), int(n)) for i, n in enumerate(sizes) if n]
            ids = np.concatenate([np.empty(0, np.int64), *parts])
        which = np.repeat(np.arange(len(sizes)), sizes)
        offset = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        order = np.argsort(ids, kind="stable")
        return ids[order], which[order], offset[order]


def _mapped(held: Held) -> Any:
    """The index, its lists mapped into memory where they lie: FAISS maps from where the reader stands."""
    reader: Any = faiss.FileIOReader(str(held.file))
    if held.offset:
        seek = ctypes.CDLL(None).fseeko
        seek.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int)
        if seek(int(reader.f), held.offset, 0):
            raise RuntimeError(f"no place {held.offset}")
    return faiss.read_index(reader, faiss.IO_FLAG_MMAP)

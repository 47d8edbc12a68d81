"""The FAISS index over the codes: exact while that is fast enough, inverted lists of half floats above.

Built from a stream of codes in bounded memory, on one thread, so that equal codes give equal bytes. Its recall is
measured on the codes themselves, and the number of lists to probe is the least that reaches the floor.
"""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import faiss
import numpy as np
import numpy.typing as npt

from atlas.arrays import Floats
from atlas.store import layout, seal
from atlas.store.codes import Codes, Ids, unit
from atlas.store.faiss_index import CodeIndex
from atlas.store.files import Folder
from atlas.store.held import Held

EXACT_VALUES = 10_000_000
"""Up to so many values (count x dimensions) the index is exact: a query reads 40 MB, about 2 ms on one thread."""
LISTS = 4.0  # lists: this times the root of the count
TRAINING = 40  # codes a list that the centroids are trained on
ITERATIONS = 10
SPILL = 1 << 29  # bytes of lists held in memory before they are put aside on disk
QUERIES = 1000
NEAREST = 10
FLOOR = 0.99  # recall@10 that the number of probed lists is chosen for
PROBES = 256  # lists probed at most; all numbers of lists that are a power of two up to it are tried
TOLERANCE = 1e-6  # a found code as similar as the tenth, within rounding, is as right as the tenth

Index = Any
"""A faiss.Index; faiss has no types."""


def build(folder: Folder, codes: Codes, seed: int) -> dict[str, Any]:
    """Writes `codes.faiss` and returns the `index` of atlas.json. An atlas without codes gets none, with the reason.

    Runs on one thread (see `stage.single_thread`). Memory: the training sample, `SPILL` bytes of lists, and a block.
    """
    about: dict[str, Any] = {"file": None, "metric": "cosine", "count": codes.count, "dimensions": codes.dimensions}
    if codes.count == 0:
        return {**about, "why": "no image has a code", "codes": codes.fingerprint()}
    with scratch(folder) as place:
        file = place / layout.INDEX
        exact = codes.count * codes.dimensions <= EXACT_VALUES
        chosen = _write_exact(codes, file) if exact else _write_lists(codes, file, place, seed)
        measured = measure(codes, file, seed)
        with folder.writing(layout.INDEX) as target, file.open("rb") as source:
            while body := source.read(seal.CHUNK):
                target.write(body)
    return {
        **about,
        "file": layout.INDEX,
        **chosen,
        **measured,
        "sha256": seal.sha256(folder, layout.INDEX),
        "codes": codes.fingerprint(),
    }


@contextmanager
def scratch(folder: Folder) -> Iterator[Path]:
    """A place on this machine's disk for large intermediate files: beside the atlas where it is local."""
    parent = None if folder.remote else folder.local(layout.WORK)
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="codes-", dir=parent) as place:
        yield Path(place)


def _write_exact(codes: Codes, file: Path) -> dict[str, Any]:
    index = faiss.IndexIDMap(faiss.IndexFlatIP(codes.dimensions))
    for ids, block in codes.blocks():
        index.add_with_ids(unit(block), ids)
    faiss.write_index(index, str(file))
    return {"kind": "exact", "parameters": {"factory": "IDMap,Flat"}}


def lists_for(count: int) -> int:
    """Number of inverted lists for so many codes."""
    return max(1, round(LISTS * math.sqrt(count)))


def _write_lists(codes: Codes, file: Path, place: Path, seed: int) -> dict[str, Any]:
    lists = lists_for(codes.count)
    index = _trained(codes, lists, seed)
    pieces: list[_Piece] = []
    for ids, block in codes.blocks():
        index.add_with_ids(unit(block), ids)
        if sum(p.bytes for p in pieces) + SPILL <= index.ntotal * (index.code_size + 8):
            pieces.append(_put_aside(index, place / f"lists-{len(pieces)}"))
    pieces.append(_put_aside(index, place / f"lists-{len(pieces)}"))
    with file.open("wb") as stream:
        _join(index, pieces, stream)
    for piece in pieces:
        piece.file.unlink()
    return {
        "kind": "ivf",
        "parameters": {
            "factory": f"IVF{lists},SQfp16",
            "lists": lists,
            "quantiser": "half floats of the residual",
            "trained_on": min(codes.count, TRAINING * lists),
            "iterations": ITERATIONS,
            "seed": seed,
        },
    }


def _trained(codes: Codes, lists: int, seed: int) -> Index:
    """An empty index whose centroids are trained on a sample of the codes, drawn by the seed."""
    size = min(codes.count, TRAINING * lists)
    sample = np.sort(np.random.default_rng([seed, 1]).choice(codes.count, size, replace=False))
    training = unit(codes.take(codes.ids()[sample]))  # (size, dimensions)
    quantiser = faiss.IndexFlatIP(codes.dimensions)
    kind = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexIVFScalarQuantizer(quantiser, codes.dimensions, lists, kind, faiss.METRIC_INNER_PRODUCT, True)
    index.cp.seed = 1 + seed % (2**31 - 2)
    index.cp.niter = ITERATIONS
    index.cp.min_points_per_centroid = 1
    index.train(training)
    return index


@dataclass(frozen=True)
class _Piece:
    """Inverted lists put aside on disk: for each list its codes, then its ids."""

    file: Path
    sizes: npt.NDArray[np.int64]
    entry: int

    @property
    def bytes(self) -> int:
        return int(self.sizes.sum()) * self.entry


def _put_aside(index: Index, file: Path) -> _Piece:
    """Moves what the lists hold to a file. `index.ntotal` keeps counting."""
    lists = index.invlists
    sizes = np.array([lists.list_size(i) for i in range(index.nlist)], np.int64)
    with file.open("wb") as stream:
        for i, size in enumerate(sizes):
            if size:
                stream.write(faiss.rev_swig_ptr(lists.get_codes(i), int(size) * index.code_size).tobytes())
                stream.write(faiss.rev_swig_ptr(lists.get_ids(i), int(size)).tobytes())
    fresh: Any = faiss.ArrayInvertedLists(index.nlist, index.code_size)
    fresh.this.disown()  # the index frees it
    index.replace_invlists(fresh, True)
    return _Piece(file, sizes, index.code_size + 8)


def _join(index: Index, pieces: list[_Piece], stream: IO[bytes]) -> None:
    """Writes the index with the lists of all pieces, list by list, in the order in which they were added.

    The bytes are those of `faiss.write_index`: the lists come last in its format (their tag is `ilar`), so what it
    writes for an index of the same count with empty lists is followed by sizes, then by codes and ids a list.
    """
    empty = faiss.serialize_index(index).tobytes()
    tail = b"ilar" + struct.pack("<QQ", index.nlist, index.code_size) + b"sprs" + struct.pack("<Q", 0)
    if not empty.endswith(tail):
        raise RuntimeError(
            f"faiss {faiss.__version__} writes inverted lists in another way: expected 'ilar' at the end"
        )
    sizes = np.sum([piece.sizes for piece in pieces], axis=0)
    stream.write(empty[: -len(tail)])
    stream.write(b"ilar" + struct.pack("<QQ", index.nlist, index.code_size) + b"full" + struct.pack("<Q", index.nlist))
    stream.write(sizes.astype("<u8").tobytes())
    sources = [piece.file.open("rb") for piece in pieces]
    try:
        for i in range(index.nlist):
            ids = []
            for piece, source in zip(pieces, sources, strict=True):
                size = int(piece.sizes[i])
                stream.write(source.read(size * index.code_size))
                ids.append(source.read(size * 8))
            stream.write(b"".join(ids))
    finally:
        for source in sources:
            source.close()


def measure(codes: Codes, file: Path, seed: int) -> dict[str, Any]:
    """Recall@10 of the index in `file` against the exact answer, the image itself excluded.

    Queries are 1,000 images drawn by the seed (all where there are fewer), asked by their code and, as the reader
    does, by their code as the index keeps it. Where lists are probed, as many are as the lower of the two needs to
    reach `FLOOR`. A found code that is as similar as the tenth nearest (within 1e-6) counts as found.
    """
    every = codes.ids()
    asked = min(QUERIES, codes.count)
    near = min(NEAREST, codes.count - 1)
    about = {"queries": asked, "recall_at_10": None, "recall_at_10_stored": None}
    if near == 0:
        return about
    chosen = every[np.sort(np.random.default_rng([seed, 2]).choice(codes.count, asked, replace=False))]
    queries = unit(codes.take(chosen))  # (asked, dimensions)
    tenth = _exact(codes, queries, chosen, near)
    index = CodeIndex(Held(file, 0, file.stat().st_size))
    ladder = [2**i for i in range(PROBES.bit_length()) if 2**i < index.lists] + [index.lists]
    steps = ladder[: PROBES.bit_length()]
    askings = [queries] if index.exact else [queries, unit(index.take(chosen))]
    found = []
    for probes in steps:
        index.probe(probes)
        found.append([_search(index, asking, chosen, near) for asking in askings])
    recalls = _recalls(codes, queries, np.array(found), tenth)  # (steps, askings)
    if index.exact:
        return {**about, "recall_at_10": float(recalls[0, 0])}
    enough = np.flatnonzero(recalls.min(axis=1) >= FLOOR)
    step = int(enough[0]) if len(enough) else len(steps) - 1
    by_code, by_kept = recalls[step].tolist()
    return {**about, "probes": steps[step], "recall_at_10": by_code, "recall_at_10_stored": by_kept}


def _exact(codes: Codes, queries: Floats, own: Ids, near: int) -> Floats:
    """Cosine of each query's `near`-th nearest code but its own, (queries,)."""
    best = np.full((len(queries), near), -np.inf, np.float32)
    for ids, block in codes.blocks():
        width = min(near + 1, len(ids))
        similar, rows = faiss.knn(queries, unit(block), width, metric=faiss.METRIC_INNER_PRODUCT)
        similar[ids[rows] == own[:, None]] = -np.inf
        best = -np.sort(-np.concatenate([best, similar], axis=1), axis=1)[:, :near]
    return np.asarray(best[:, -1])


def _search(index: CodeIndex, queries: Floats, own: Ids, near: int) -> Ids:
    """image_ids of the `near` nearest that the index finds, (queries, near); the query itself left out; -1: none."""
    _, found = index.search(queries, near + 1)
    rank = np.argsort(found == own[:, None], axis=1, kind="stable")
    return np.take_along_axis(found, rank, axis=1)[:, :near]


def _recalls(codes: Codes, queries: Floats, found: Ids, tenth: Floats) -> npt.NDArray[np.float64]:
    """Share of the found (…, queries, near) that are as similar to the query as its tenth nearest, (…)."""
    wanted = np.unique(found[found >= 0])
    vectors = np.zeros((len(wanted) + 1, queries.shape[1]), np.float32)  # the last stands for none
    vectors[:-1] = unit(codes.take(wanted))
    rows = np.where(found >= 0, np.searchsorted(wanted, found), len(wanted))
    hits = np.zeros(found.shape[:-2])
    for number, (query, least) in enumerate(zip(queries, tenth, strict=True)):
        similar = vectors[rows[..., number, :]] @ query  # (…, near)
        hits += ((similar >= least - TOLERANCE) & (found[..., number, :] >= 0)).sum(axis=-1)
    return np.asarray(hits / (found.shape[-1] * found.shape[-2]))

"""Writes `map.parquet`: the PCA and the t-SNE of the codes, and the PCA of the responses of chosen layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.analyse.sample import Sample
from atlas.arrays import Floats
from atlas.codes import embedding, grid
from atlas.errors import NetworkError
from atlas.store import parquet
from atlas.store.codes import Codes, Ids, unit
from atlas.store.files import Folder


def check_layers(wanted: Sequence[str], there: Sequence[str]) -> None:
    """Raises `NetworkError` for a layer to be mapped that is not recorded."""
    for name in wanted:
        if name not in there:
            raise NetworkError(f"--map-layers {name}: expected a recorded layer, one of {', '.join(there)}")


def write(folder: Folder, codes: Codes, sample: Sample, layers: Sequence[str], seed: int) -> dict[str, Any]:
    """Writes the table and returns the `map` of atlas.json."""
    ids = codes.ids()
    principal = embedding.pca((block for _, block in codes.blocks()), codes.dimensions)
    coordinates = [principal.place(block) for _, block in codes.blocks()]
    flat = np.concatenate(coordinates) if coordinates else np.empty((0, 2), np.float32)
    about: dict[str, Any] = {
        "seed": seed,
        "pca": {"images": len(ids), "explained": principal.explained, "preservation": None},
    }
    pieces = [_rows("pca", ids, flat)]
    about["tsne"] = {"images": 0}
    why = _why_not(flat)
    if why:
        about["tsne"]["why"] = why
    else:
        pieces.insert(0, _tsne(codes, ids, flat, seed, about))
    about["layers"] = {}
    for part in sample.layers() if layers else ():
        if part.layer in layers:
            axes = embedding.pca([part.maxima], part.maxima.shape[1])
            pieces.append(_rows(f"pca:{part.layer}", part.image_ids, axes.place(part.maxima)))
            about["layers"][part.layer] = {"images": len(part.image_ids), "explained": axes.explained}
    parquet.write(folder, "map", pa.concat_tables(pieces))
    return about


def _why_not(coordinates: Floats) -> str | None:
    """Why there is no t-SNE map, or None."""
    if len(coordinates) < embedding.LEAST:
        return f"{len(coordinates)} images: expected {embedding.LEAST} or more"
    if not np.isfinite(coordinates).all():
        return "a code is not finite"
    if np.ptp(coordinates[:, 0]) <= 0:
        return "all codes are equal"
    return None


def _tsne(codes: Codes, ids: Ids, flat: Floats, seed: int, about: dict[str, Any]) -> pa.Table:
    """Rows of kind tsne; adds to `about` what t-SNE ran on, and how many neighbours both maps keep."""
    count = len(ids)
    mapped = np.arange(count)
    if count > embedding.SAMPLED:
        mapped = np.sort(np.random.default_rng([seed, 6]).choice(count, embedding.SAMPLED, replace=False))
    near = unit(codes.take(ids[mapped]))
    tsne = embedding.Tsne(near, flat[mapped], seed)
    coordinates = np.empty((count, 2), np.float32)
    coordinates[mapped] = tsne.coordinates
    if len(mapped) < count:
        _place(codes, ids, mapped, tsne, coordinates)
    about["tsne"] = {
        "images": count,
        "sampled": len(mapped),
        "perplexity": tsne.perplexity,
        "neighbours": "exact" if tsne.neighbours.exact else "inverted lists",
        "preservation": embedding.preservation(near, coordinates[mapped], seed),
        "preservation_of": embedding.KEPT,
        "grid": min(count, grid.LARGEST),
    }
    about["pca"]["preservation"] = embedding.preservation(near, flat[mapped], seed)
    arranged = grid.choose(count, seed)
    cells = grid.arrange(coordinates[arranged])
    return _rows("tsne", ids, coordinates, arranged, cells)


def _place(codes: Codes, ids: Ids, mapped: Ids, tsne: embedding.Tsne, coordinates: Floats) -> None:
    """Places the images that t-SNE did not run on."""
    done = np.zeros(len(ids), bool)
    done[mapped] = True
    start = 0
    for block_ids, block in codes.blocks():
        rest = np.flatnonzero(~done[start : start + len(block_ids)])
        if len(rest):
            coordinates[start + rest] = tsne.place(unit(block[rest]))
        start += len(block_ids)


def _rows(
    kind: str, ids: Ids, coordinates: Floats, arranged: Ids | None = None, cells: tuple[Ids, Ids] | None = None
) -> pa.Table:
    columns = {
        "image_id": pa.array(ids),
        "kind": pa.array([kind]).take(pa.array(np.zeros(len(ids), np.int64))),
        "x": pa.array(coordinates[:, 0], pa.float32()),
        "y": pa.array(coordinates[:, 1], pa.float32()),
    }
    for number, name in enumerate(("grid_row", "grid_column")):
        values = np.full(len(ids), -1, np.int32)
        if arranged is not None and cells is not None:
            values[arranged] = cells[number]
        columns[name] = pa.array(values, mask=values < 0)
    return pa.table(columns)

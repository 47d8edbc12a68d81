"""The rows of layers.parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from atlas.tables.network import LAYERS
from atlas.types import Layer

Axes = Mapping[str, Mapping[str, float | None]]


def layer_rows(layers: Sequence[Layer], axis: Axes) -> pa.Table:
    """The rows by the table `layers`; `axis`: by layer, the value of its column."""
    rows = []
    for layer in layers:
        f = layer.field
        sides = {what: {a: getattr(getattr(f, a), what) for a in "yx"} for what in ("size", "stride", "start")}
        rows.append(
            {
                "layer": layer.name,
                "index": layer.index,
                "kind": layer.kind,
                "tokens": layer.tokens,
                "channels": layer.channels,
                "height": layer.height,
                "width": layer.width,
                "prefix_tokens": layer.prefix_tokens,
                **{f"field_{what}": pair for what, pair in sides.items()},
                "global_field": f.global_field,
                "gated": f.gated,
                "rectified": layer.rectified,
                "normalised": layer.normalised,
                "axis": axis.get(layer.name),
            }
        )
    return pa.Table.from_pylist(rows, schema=LAYERS.columns)

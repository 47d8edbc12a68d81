"""What a chunk leaves for its layer's comparison, as a table: features of pictures and of what stands beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.visualize.chunk import Drawn, Neuron
from atlas.visualize.neurons import Wanted

SCHEMA = pa.schema(
    [
        ("channel", pa.int32()),
        ("what", pa.string()),  # picture, natural, held_out, shuffled
        ("method", pa.string()),
        ("sign", pa.int8()),
        ("repeat", pa.int32()),
        ("response", pa.float64()),
        ("values", pa.list_(pa.float64())),
        ("features", pa.list_(pa.float32())),
    ]
)


def keep(neurons: Sequence[Neuron], values: bool) -> pa.Table:
    """The rows of some neurons. `values`: also the whole layer's values, which the sensitivity matrix needs."""
    rows: list[dict[str, Any]] = []
    for neuron in neurons:
        for drawn in neuron.pictures:
            rows.append(
                {"channel": neuron.channel, "what": "picture", "method": drawn.method, "sign": drawn.wanted.sign,
                 "repeat": drawn.wanted.repeat, "response": drawn.response, "features": drawn.features,
                 "values": drawn.values if values else []}
            )  # fmt: skip
        for what in ("natural", "held_out", "shuffled"):
            features = getattr(neuron, what)
            for one in [] if features is None else np.atleast_2d(features):
                rows.append({"channel": neuron.channel, "what": what, "features": one})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def kept(table: pa.Table) -> list[Neuron]:
    """The neurons of `keep`, without their files."""
    found: dict[int, dict[str, list[Any]]] = {}
    for row in table.to_pylist():
        features = np.array(row["features"], np.float32)
        group = found.setdefault(row["channel"], {"picture": [], "natural": [], "held_out": [], "shuffled": []})
        if row["what"] != "picture":
            group[row["what"]].append(features)
            continue
        wanted, values = Wanted(row["channel"], row["sign"], row["repeat"]), np.array(row["values"])
        drawn = Drawn(wanted, row["method"], b"", row["response"], None, None, values, features)
        group["picture"].append(drawn)
    return [
        Neuron(
            channel, group["picture"], group["natural"][0] if group["natural"] else None,
            np.stack(group["held_out"]) if group["held_out"] else None,
            group["shuffled"][0] if group["shuffled"] else None,
        )
        for channel, group in found.items()
    ]  # fmt: skip

"""Examples taken apart, and edges, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from atlas.connections import edges
from atlas.connections.edges import Edges, Seen, Strongest
from atlas.connections.examine import Taken
from atlas.connections.origins import Table
from atlas.connections.settings import REMOVED, held_out
from atlas.tables.connections import ADDITIVITY, CONNECTIONS, PATHWAYS, REMOVALS

_VECTOR = pa.list_(pa.float32())
TAKEN = pa.schema(
    [
        ("number", pa.int32()), ("channel", pa.int32()), ("use", pa.string()), ("rank", pa.int32()),
        ("total", pa.float64()), ("grey", pa.float64()), ("error", pa.float64()),
        ("share", _VECTOR), ("active", _VECTOR), ("lost", _VECTOR), ("shuffled", _VECTOR),
    ]
)  # fmt: skip
"""An example that was taken apart, `number` its layer's. A vector that its use does not need is null."""
_NEEDS = {"share": ("find", "spread"), "active": ("find",), "lost": ("test",), "shuffled": ("find",)}
_USES = {"find": 0, "test": 1, "spread": 2}


def use_of(side: str, rank: int) -> str:
    """What an example of side `max` or `spread` is for: to find edges, to test them, or to compare."""
    return "spread" if side == "spread" else "test" if held_out(side, rank) else "find"


def taken_rows(taken: Mapping[int, Taken], channel: Any, use: Sequence[str], rank: Any) -> pa.Table:
    """Rows of `TAKEN`; `channel`, `use`, `rank` of all examples of the batch."""
    parts = []
    for number, each in taken.items():
        uses = [use[i] for i in each.which.tolist()]
        columns: dict[str, Any] = {
            "number": np.full(len(uses), number), "channel": np.asarray(channel)[each.which], "use": uses,
            "rank": np.asarray(rank)[each.which], "total": each.total, "grey": each.grey, "error": each.error,
        }  # fmt: skip
        for name, needed in _NEEDS.items():
            vectors = getattr(each, name)
            rows = [None] * len(uses) if vectors is None else vectors.astype(np.float32)
            columns[name] = [row if u in needed else None for row, u in zip(rows, uses, strict=True)]
        parts.append(pa.table([pa.array(columns[f.name], f.type) for f in TAKEN], schema=TAKEN))
    return pa.concat_tables(parts) if parts else TAKEN.empty_table()


def seen_of(rows: pa.Table, inputs: int) -> Seen:
    """The examples of one layer that reads `inputs` maps, from rows of `TAKEN` in any order."""
    use, channel, rank = rows.column("use").to_pylist(), rows.column("channel").to_numpy(), rows.column("rank")
    order = np.lexsort((rank.to_numpy(), [_USES[u] for u in use], channel))
    rows = rows.take(pa.array(order))
    vectors = {name: _matrix(rows.column(name), inputs) for name in _NEEDS}
    shuffled = vectors["shuffled"] if rows.column("shuffled").null_count < len(rows) else None
    return Seen(
        channel[order].astype(np.int64), np.array(use)[order], vectors["share"], vectors["active"], vectors["lost"],
        shuffled, *(rows.column(name).to_numpy() for name in ("total", "grey", "error")),
    )  # fmt: skip


def _matrix(column: pa.ChunkedArray, width: int) -> NDArray[np.float64]:
    """Lists of one length as rows (E, width); zeros where there is none."""
    there = np.asarray(column.is_valid())
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    out = np.zeros((len(column), width))
    out[there] = flat.reshape(-1, width)
    return out


def owners(table: Table, found: Sequence[Edges], layers: Sequence[str]) -> dict[int, tuple[int, int]]:
    """By number of an origin that is a recorded neuron: its layer's number, and its channel."""
    place = {name: number for number, name in enumerate(layers)}
    numbers = {int(n) for each in found for n in np.unique(each.apart.origins.numpy())}
    told = {n: table[n] for n in sorted(numbers)}
    return {n: (place[origin.layer], origin.channel) for n, origin in told.items() if origin.recorded}


def connection_rows(found: Sequence[Edges], table: Table, layers: Sequence[str]) -> pa.Table:
    """Rows of `CONNECTIONS`; `found` by the number of their layer, those without edges left out."""
    sound = [number for number, each in enumerate(found) if each.why is None]
    parts = [from_rows(number, found[number], table, layers) for number in sound]
    usable = [each if each.why is None else _without(each) for each in found]
    parts.append(_to_rows(edges.fed(usable, owners(table, usable, layers)), layers))
    return pa.concat_tables(parts)


def _without(each: Edges) -> Edges:
    return Edges(each.apart, np.full_like(each.mean, np.nan), each.spread, each.drop, each.drop_random)


def _table(given: Strongest, layers: Sequence[str], direction: str, **columns: Any) -> pa.Table:
    count = len(given.rank)
    spread = given.spread.astype(np.float32)
    all_columns: dict[str, Any] = {
        "layer": [layers[n] for n in given.number.tolist()], "channel": given.channel, "direction": [direction] * count,
        "rank": given.rank, "contribution": given.contribution.astype(np.float32),
        "contribution_spread": pa.array(spread, mask=np.isnan(spread)), "weight": given.weight.astype(np.float32),
        "drop": [None] * count, "drop_random": [None] * count, "source": [None] * count, **columns,
    }  # fmt: skip
    schema = CONNECTIONS.columns
    return pa.table([pa.array(all_columns[f.name], f.type) for f in schema], schema=schema)


def from_rows(number: int, found: Edges, table: Table, layers: Sequence[str]) -> pa.Table:
    """Rows of `CONNECTIONS` that say what feeds the neurons of layer `number`."""
    given = edges.feeding(number, found)
    told = [table[n] for n in given.other.tolist()]
    drops: dict[str, list[float | None]] = {"drop": [], "drop_random": []}
    for channel, rank in zip(given.channel.tolist(), given.rank.tolist(), strict=True):
        place = REMOVED.index(rank + 1) if rank + 1 in REMOVED else None
        for name, values in drops.items():
            value = np.nan if place is None else float(getattr(found, name)[channel, place])
            values.append(None if np.isnan(value) else value)
    return _table(
        given, layers, "from", other_layer=[o.layer if o.recorded else None for o in told],
        other_channel=[o.channel for o in told], source=[None if o.recorded else o.layer for o in told], **drops,
    )  # fmt: skip


def _to_rows(given: Strongest, layers: Sequence[str]) -> pa.Table:
    others = [layers[n] for n in given.other_number.tolist()]
    return _table(given, layers, "to", other_layer=others, other_channel=given.other)


def additivity_rows(found: Sequence[Edges]) -> pa.Table:
    """Rows of `ADDITIVITY`."""
    rows = [
        {"layer": e.apart.layer.name, "error": e.error, "inputs": e.apart.inputs, "half": e.half, "why": e.why}
        for e in found
    ]
    return pa.Table.from_pylist(rows, schema=ADDITIVITY.columns)


def removal_rows(found: Sequence[Edges]) -> pa.Table:
    """Rows of `REMOVALS`."""
    rows = [row for each in found if each.why is None for row in edges.removals(each)]
    return pa.Table.from_pylist(rows, schema=REMOVALS.columns)


def pathway_rows(found: Sequence[Edges], table: Table) -> pa.Table:
    """Rows of `PATHWAYS`: from where each layer's absolute contributions come."""
    rows = []
    for each in found:
        there = np.flatnonzero(~np.isnan(each.mean).any(1))
        if each.why is not None or not len(there):
            continue
        sizes = np.abs(each.mean[there])
        sizes = sizes / np.maximum(sizes.sum(1, keepdims=True), 1e-30) / len(there)
        origins = np.broadcast_to(each.apart.origins.numpy(), each.mean.shape)[there]
        numbers, places = np.unique(origins, return_inverse=True)
        shares: dict[tuple[str, bool], float] = {}
        for number, share in zip(numbers.tolist(), np.bincount(places.reshape(-1), sizes.reshape(-1)), strict=True):
            origin = table[number]
            key = origin.layer, origin.recorded
            shares[key] = shares.get(key, 0.0) + float(share)
        for (name, recorded), share in shares.items():
            ends = {"other_layer": name if recorded else None, "source": None if recorded else name}
            rows.append({"layer": each.apart.layer.name, **ends, "share": share})
    return pa.Table.from_pylist(rows, schema=PATHWAYS.columns)


def summary(found: Sequence[Edges], connections: pa.Table) -> dict[str, Any]:
    """Figures for people: how much was taken apart, how exactly, and what the tests say."""
    sound = [each for each in found if each.why is None]
    halves = [each.half for each in sound if each.half is not None]
    tested = {
        name: [d for each in sound for d in each.curves.get((name, 10), ())] for name in ("contribution", "equal")
    }
    return {
        "edges": len(connections),
        "layers": f"{len(sound)} of {len(found)}",
        "error": max((each.error for each in sound if each.error is not None), default=None),
        "half": f"{min(halves):.3g} to {max(halves):.3g} inputs" if halves else None,
        "drop of 10": round(float(np.median(tested["contribution"])), 3) if tested["contribution"] else None,
        "drop of 10 equally active": round(float(np.median(tested["equal"])), 3) if tested["equal"] else None,
    }

"""From the evidence of single examples to how far the pictures of a neuron, a layer and a kind can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from atlas.explain.masking import trust
from atlas.store import schema
from atlas.types import PROJECTIONS, Neuron

Trust = dict[str, dict[str, Any] | None]
"""By kind of picture, a value of `schema.TRUST`."""


def by_neuron(examples: pa.Table) -> dict[Neuron, Trust]:
    """Medians over the examples of each neuron that have evidence."""
    columns = examples.select(["layer", "channel", "evidence"])
    rows: dict[Neuron, list[Mapping[str, Any]]] = {}
    for row in columns.filter(columns.column("evidence").is_valid()).to_pylist():
        rows.setdefault(Neuron(row["layer"], row["channel"]), []).append(row["evidence"])
    return {neuron: _each_kind(found) for neuron, found in rows.items()}


def by_layer(neurons: Mapping[Neuron, Trust]) -> dict[str, Trust]:
    """Medians over the neurons of each layer."""
    rows: dict[str, list[Trust]] = {}
    for neuron, found in neurons.items():
        rows.setdefault(neuron.layer, []).append(found)
    return {layer: _each_kind(found) for layer, found in rows.items()}


def _each_kind(rows: Sequence[Mapping[str, Any]]) -> Trust:
    return {kind: trust([row.get(kind) for row in rows]) for kind in PROJECTIONS}


def with_trust(neurons: pa.Table, found: Mapping[Neuron, Trust]) -> pa.Table:
    """The neurons' table with its column `trust` filled."""
    names = zip(neurons.column("layer").to_pylist(), neurons.column("channel").to_pylist(), strict=True)
    column = pa.array([found.get(Neuron(*name)) for name in names], schema.TRUSTS)
    return neurons.set_column(neurons.schema.get_field_index("trust"), schema.NEURONS.field("trust"), column)


def words(found: Mapping[Neuron, Trust]) -> list[str]:
    """One sentence a kind: what the marked fifth of the field is worth, beside a random fifth."""
    lines = []
    for kind in PROJECTIONS:
        middle = trust([each[kind] for each in found.values() if each.get(kind)])
        if middle:
            lines.append(
                f"{kind}: the fifth of the field that it marks keeps {_percent(middle['keeps'])} of the response alone "
                f"(a random fifth {_percent(middle['keeps_random'])}); without it {_percent(middle['loses'])} is lost "
                f"(random: {_percent(middle['loses_random'])})"
            )
    return lines


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"

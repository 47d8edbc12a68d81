"""From the evidence of single examples to how far the pictures of a neuron, a layer and a kind can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.explain.kinds import BY_NAME
from atlas.explain.masking import trust
from atlas.tables.columns import MEASURES
from atlas.tables.examples import TRUST

Row = dict[str, Any]
NEAR = 0.05
"""Share of the response beyond that of a random fifth, below which a measure is near nothing."""


def trust_rows(explanations: pa.Table, layers: Sequence[str]) -> pa.Table:
    """The rows by the table `trust`: medians over the examples of each neuron, and over the neurons of each layer.

    `explanations`: in the order of the table; `layers`: the names of all layers, in their order. Layer by layer, the
    layer's own rows first.
    """
    rows: list[Row] = []
    neurons = _by_neuron(explanations)
    for layer in layers:
        mine = [row for row in neurons if row["layer"] == layer]
        for kind in dict.fromkeys(row["kind"] for row in mine):
            found = trust([row for row in mine if row["kind"] == kind])
            rows.append({"layer": layer, "channel": None, "kind": kind, **(found or {})})
        rows += mine
    return pa.Table.from_pylist(rows, schema=TRUST.columns)


def _by_neuron(explanations: pa.Table) -> list[Row]:
    tested = explanations.filter(pc.is_valid(explanations.column(MEASURES[0])))
    groups: dict[tuple[str, int, str], list[Mapping[str, float]]] = {}
    for row in tested.select(["layer", "channel", "kind", *MEASURES]).to_pylist():
        groups.setdefault((row["layer"], row["channel"], row["kind"]), []).append(row)
    return [
        {"layer": layer, "channel": channel, "kind": kind, **(trust(found) or {})}
        for (layer, channel, kind), found in groups.items()
    ]


def words(table: pa.Table, layers: int, neurons: int) -> list[str]:
    """One sentence a kind, of the table `trust`: what the marked fifth of the field is worth, beside a random fifth.

    Each says over how many of the `layers` and `neurons` it is: kinds are not defined for every layer, and can be
    compared only where both are.
    """
    rows = table.filter(pc.is_valid(table.column("channel")))
    lines = []
    for kind in dict.fromkeys(rows.column("kind").to_pylist()):
        of_kind = rows.filter(pc.equal(rows.column("kind"), kind))
        middle = {name: float(np.median(of_kind.column(name).to_numpy())) for name in MEASURES}
        where = len(set(of_kind.column("layer").to_pylist()))
        lines.append(
            f"{kind}: the fifth of the field that it marks keeps {_percent(middle['sufficiency'])} of the response "
            f"alone (a random fifth {_percent(middle['sufficiency_random'])}); without it "
            f"{_percent(middle['comprehensiveness'])} is lost (random: "
            f"{_percent(middle['comprehensiveness_random'])}); over {len(of_kind):,} of {neurons:,} neurons "
            f"in {where} of {layers} layers{_verdict(middle)}"
        )
    return [*lines, *_compared(rows)]


def _verdict(middle: Mapping[str, float]) -> str:
    """What the two measures say apart, where one of them or both are no more than a random fifth has."""
    enough, needed = (middle[name] - middle[f"{name}_random"] >= NEAR for name in ("sufficiency", "comprehensiveness"))
    if enough and needed:
        return ""
    if not enough and not needed:
        return ": neither sufficient nor comprehensive beyond chance"
    if enough:
        return ": sufficient, but not comprehensive beyond chance: what it marks is enough, and not all that is"
    return ": comprehensive, but not sufficient beyond chance: what it marks is needed, and not enough alone"


def _compared(rows: pa.Table) -> list[str]:
    """Scores of all tested kinds side by side, over the neurons for which each of them is defined."""
    by_kind: dict[str, dict[tuple[str, int], float]] = {}
    for row in rows.select(["layer", "channel", "kind", "score"]).to_pylist():
        by_kind.setdefault(row["kind"], {})[row["layer"], row["channel"]] = row["score"]
    if len(by_kind) < 2:
        return []
    common = sorted(set.intersection(*(set(found) for found in by_kind.values())))
    if not common:
        return ["no neuron has all kinds of picture: their shares are not to be compared"]
    scores = ", ".join(
        f"{BY_NAME[kind].label if kind in BY_NAME else kind} {np.median([found[n] for n in common]):.2f}"
        for kind, found in by_kind.items()
    )
    return [f"beyond chance, over the {len(common):,} neurons that have all of these kinds: {scores}"]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"

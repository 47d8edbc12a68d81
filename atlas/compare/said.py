"""What a person wants first of a comparison, a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from atlas.compare.flips import Classes

NAMED = 3
"""Classes that are named."""
LEVEL = 0.05


def lines(
    summary: Mapping[str, Any], classes: Classes | None, names: Mapping[int, str | None], cka: pa.Table
) -> list[str]:
    """At most five lines: answers, classes, neurons, layers, dead neurons; of each what there is."""
    found = []
    if "flips" in summary:
        n = summary["shared_images"]
        line = f"answers: {summary['flips']:,} of {n:,} shared images differ ({summary['flips'] / n:.1%})"
        if summary["accuracy"] is not None:
            line += f"; {summary['accuracy']:.1%} right here, {summary['other_accuracy']:.1%} there"
        found.append(line)
    if classes is not None and len(classes.class_id):
        found.append(f"classes: {_some(classes, names, gained=True)}; {_some(classes, names, gained=False)}")
    if "matched" in summary:
        line = f"neurons: {summary['matched']:,} of {summary['neurons']:,} match beyond chance"
        line += f", {summary['mutual']:,} mutually"
        if summary["median_correlation"] is not None:
            line += f"; median correlation {summary['median_correlation']:.2f}"
        found.append(line)
    best = _best(cka)
    if best:
        (most, twin, high), (least, nearest, low) = best[0], best[-1]
        found.append(
            f"layers: {most} is most like {twin} (CKA {high:.2f}); {least} is least like any (CKA {low:.2f} with "
            f"{nearest})"
        )
    if "dead" in summary:
        found.append(
            f"dead: {summary['dead']:,} neurons here, {summary['other_dead']:,} there; of those of the same name "
            f"{summary['died']:,} died and {summary['woke']:,} woke"
        )
    return found


def _some(classes: Classes, names: Mapping[int, str | None], gained: bool) -> str:
    change = (classes.gained - classes.lost) * (1 if gained else -1)
    at = [i for i in change.argsort(kind="stable")[::-1].tolist() if change[i] > 0 and classes.p[i] <= LEVEL]
    told = ", ".join(names.get(int(classes.class_id[i])) or f"class {classes.class_id[i]}" for i in at[:NAMED])
    more = f" and {len(at) - NAMED} more" if len(at) > NAMED else ""
    return f"{'gained' if gained else 'lost'} (p below {LEVEL}): {told + more if at else 'none'}"


def _best(cka: pa.Table) -> list[tuple[str, str, float]]:
    """A layer with the most similar one of the other atlas, the most alike first."""
    found: dict[str, tuple[str, float]] = {}
    for row in cka.to_pylist():
        if row["cka"] is not None and row["cka"] > found.get(row["layer"], ("", float("-inf")))[1]:
            found[row["layer"]] = row["other_layer"], row["cka"]
    return sorted(((layer, *pair) for layer, pair in found.items()), key=lambda each: -each[2])

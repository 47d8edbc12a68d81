"""The tables of part `attributes`, from the tables of an atlas and of its user."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from atlas.attributes.curves import curves
from atlas.attributes.differences import differences
from atlas.attributes.settings import AttributesSettings
from atlas.attributes.values import Judged, judged
from atlas.tables import attributes as tables


def make(
    images: pa.Table, measured: pa.Table | None, settings: AttributesSettings, classes: Sequence[str] = ()
) -> dict[str, pa.Table]:
    """Tables by name. `images`, `measured`, `classes`: as for `values.judged`. Raises `InputError`."""
    with judged(images, measured, settings.table, settings.human, classes) as found:
        accuracy, attributes = curves(found)
        return {
            "accuracy": accuracy,
            "attributes": attributes,
            "class_differences": differences(found),
            "answers": _answers(found),
        }


def _answers(found: Judged) -> pa.Table:
    wanted = "SELECT image_id, answer FROM judged WHERE answer IS NOT NULL ORDER BY image_id"
    given = found.connection.execute(wanted).fetchnumpy()
    return pa.table({name: np.asarray(given[name]) for name in given}).cast(tables.ANSWERS.columns)


def hardest(accuracy: pa.Table, attributes: pa.Table, most: int = 2) -> list[str]:
    """What the network finds hard, in words: of the attributes that matter significantly, the largest effects first,
    the bin of least accuracy (within class where that is known) beside the best."""
    names = [row for row in attributes.to_pylist() if row["significant"]]
    names.sort(key=lambda row: (-row["effect"], row["attribute"]))
    found = []
    for row in names[:most]:
        which = "top1_within_class" if row["within_class"] else "top1"
        bins = [b for b in accuracy.to_pylist() if b["attribute"] == row["attribute"] and b[which] is not None]
        if len(bins) < 2:
            continue
        worst, best = min(bins, key=lambda b: b[which]), max(bins, key=lambda b: b[which])
        found.append(f"{row['attribute']} {_where(worst)} ({worst[which]:.0%}; {_where(best)}: {best[which]:.0%})")
    return found


def _where(row: dict[str, object]) -> str:
    return str(row["value"]) if row["value"] is not None else f"{row['low']:.3g} to {row['high']:.3g}"

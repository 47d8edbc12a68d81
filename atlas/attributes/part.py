"""The tables of part `attributes`, from the tables of an atlas and of its user."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.attributes.curves import curves
from atlas.attributes.differences import differences
from atlas.attributes.settings import AttributesSettings
from atlas.attributes.values import ALL, Judged, judged
from atlas.images import properties
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


def measured(sample: bytes) -> pa.Table:
    """The properties that the scan measured of the images of the response sample: image_id and a column a property.

    `sample`: what `state/sample.safetensors` of an atlas holds.
    """
    import safetensors.numpy

    held = safetensors.numpy.load(sample)
    columns = dict(zip(properties.NAMES, held["properties"].T, strict=True))
    return pa.table({"image_id": held["image_id"]} | columns)


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
        where = partial(_where, angle=row["kind"] == "angle")
        found.append(f"{row['attribute']} {where(worst)} ({worst[which]:.0%}; {where(best)}: {best[which]:.0%})")
    return found


def people(accuracy: pa.Table) -> str | None:
    """Both accuracies on the images that people answered, in words; None where they answered nothing."""
    rows = [row for row in accuracy.to_pylist() if row["attribute"] == ALL and row["answered"]]
    if not rows:
        return None
    [row] = rows
    return (
        f"{row['human_top1']:.1%} of {row['answered']:,} images, the network {row['answered_top1']:.1%}; "
        f"they agree on {row['agreement']:.1%}"
    )


def _where(row: dict[str, Any], angle: bool) -> str:
    if row["value"] is not None:
        return str(row["value"])
    if angle:
        return " to ".join(f"{round(math.degrees(row[end])) % 360}°" for end in ("low", "high"))
    return f"{row['low']:.3g} to {row['high']:.3g}"

"""Rows of `visualizations` and of `sensitivity`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from atlas.store.pictures import PackWriter, missing
from atlas.tables.visualizations import SENSITIVITY, VISUALIZATIONS
from atlas.types import Layer
from atlas.visualize import files
from atlas.visualize.chunk import Neuron, wanted_of
from atlas.visualize.classes import ClassPicture
from atlas.visualize.layer import judge
from atlas.visualize.sensitivity import sensitivity
from atlas.visualize.settings import VisualizationSettings

_WORDS = {"logit": "response", "probability": "probability"}


def neuron_rows(layer: Layer, neurons: Sequence[Neuron], settings: VisualizationSettings, pack: PackWriter) -> pa.Table:
    """The rows of some neurons, their pictures written into `pack`; what compares neurons is null yet.

    A neuron without pictures has its rows with the reason.
    """
    rows: list[dict[str, Any]] = []
    for neuron in neurons:
        for drawn in neuron.pictures:
            wanted = drawn.wanted
            letter = "p" if wanted.sign > 0 else "n"
            name = f"{layer.index:03d}-{wanted.channel:05d}-{drawn.method}-{letter}{wanted.repeat}"
            rows.append(
                _of_neuron(layer.name, neuron.channel, wanted.sign, drawn.method, wanted.repeat, settings)
                | {"response": drawn.response, "attained": drawn.attained, "path": drawn.path,
                   "picture": pack.add(f"{name}.{files.ENDING}", drawn.body)}
            )  # fmt: skip
        for wanted in wanted_of([neuron.channel], settings) if neuron.why else []:
            rows += [
                _of_neuron(layer.name, neuron.channel, wanted.sign, method, wanted.repeat, settings)
                | {"picture": missing(str(neuron.why))}
                for method in settings.methods
            ]
    return pa.Table.from_pylist(rows, schema=VISUALIZATIONS.columns)


def _of_neuron(
    layer: str, channel: int, sign: int, method: str, repeat: int, settings: VisualizationSettings
) -> dict[str, Any]:
    return {
        "target": "neuron", "layer": layer, "channel": channel, "sign": sign, "method": method, "repeat": repeat,
        "objective": "response", "steps": settings.steps,
    }  # fmt: skip


def class_rows(
    layer: str, pictures: Sequence[ClassPicture], transfers: Sequence[float | None], largest: Mapping[int, float],
    settings: VisualizationSettings, pack: PackWriter,
) -> pa.Table:  # fmt: skip
    """The rows of pictures of classes, whose logits `layer` gives.

    `largest`: of a class its largest logit over the data, where that is known.
    """
    rows = []
    for picture, transfer in zip(pictures, transfers, strict=True):
        name = f"class-{picture.class_id:05d}-{picture.method}-{picture.objective}-{picture.repeat}"
        best = largest.get(picture.class_id, 0.0)
        rows.append(
            {"target": "class", "layer": layer, "channel": picture.class_id, "sign": 1, "method": picture.method,
             "objective": _WORDS[picture.objective], "repeat": picture.repeat, "steps": settings.steps,
             "response": picture.logit, "attained": picture.logit / best if best > 0 else None,
             "probability": picture.probability, "predicted": picture.rank == 0, "transfer": transfer,
             "picture": pack.add(f"{name}.{files.ENDING}", picture.body)}
        )  # fmt: skip
    return pa.Table.from_pylist(rows, schema=VISUALIZATIONS.columns)


def completed(rows: pa.Table, neurons: Sequence[Neuron], layer: str, seed: int) -> pa.Table:
    """The rows of one layer with what compares its neurons."""
    worth = judge(neurons, layer, seed)
    out = []
    for row in rows.to_pylist():
        found = worth.get((row["channel"], row["method"], row["sign"], row["repeat"]))
        out.append(row | asdict(found) if found else row)
    return pa.Table.from_pylist(out, schema=VISUALIZATIONS.columns)


def sensitivity_rows(neurons: Sequence[Neuron], layer: str, method: str) -> pa.Table:
    """The rows of the matrix of one layer."""
    channels, matrix = sensitivity(neurons, method)
    rows = [
        {"layer": layer, "channel": channel, "other_channel": other, "response": matrix[i, j]}
        for i, channel in enumerate(channels)
        for j, other in enumerate(channels)
    ]
    return pa.Table.from_pylist(rows, schema=SENSITIVITY.columns)

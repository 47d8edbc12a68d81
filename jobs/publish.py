"""The end of a build: the last tables, `atlas.json`, and the seal."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from atlas.analyse import stage
from atlas.explain import sanity, trust
from atlas.scan.image_rows import image_rows, quarantine_rows
from atlas.scan.merge import Gathered
from atlas.scan.neurons import class_rows, neuron_rows
from atlas.store import layout, parquet, schema, seal
from atlas.store.files import Folder
from atlas.types import SIDES, Layer
from jobs import plan as planning
from jobs.plan import Plan
from jobs.progress import say

_LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "pyarrow", "faiss-cpu", "openTSNE", "ray")


def publish(
    plan: Plan,
    folder: Folder,
    gathered: Gathered,
    examples: pa.Table,
    frames: pa.Table,
    seconds: dict[str, float],
    redone: int,
) -> str:
    """Writes what the workers did not, seals the folder, and gives the digest."""
    settings = plan.settings
    parquet.write_batches(folder, layout.table("images"), schema.IMAGES, _images(plan, folder, gathered, frames))
    bad = pa.array([image_id for image_id, _, _ in gathered.quarantine], pa.int64())
    rows = planning.read_rows(folder, plan, bad)
    parquet.write(folder, "quarantine", quarantine_rows(gathered.quarantine, rows))
    parquet.write_batches(folder, layout.table("classes"), schema.CLASSES, class_rows(gathered.fold, plan.layers))
    neurons = neuron_rows(gathered.fold, plan.layers, settings.sides)
    examples = _sorted(examples, plan.layers)
    start = time.perf_counter()
    say("codes: index, map, similar neurons")
    codes = stage.run(folder, settings, list(plan.layers), neurons, examples, gathered.properties)
    seconds["codes"] = round(time.perf_counter() - start, 3)
    trusted = trust.by_neuron(codes.examples)
    parquet.write(folder, "neurons", trust.with_trust(codes.neurons, trusted))
    parquet.write(folder, "examples", codes.examples)
    parquet.write(folder, "layers", _layers(plan.layers, codes.axis, trust.by_layer(trusted)))
    for name in ("filters", "sanity"):
        if not folder.exists(layout.table(name)):
            parquet.write(folder, name, schema.SCHEMAS[name].empty_table())
    folder.sweep()  # a unit that ran twice may have left half a file
    about = seal.seal(
        folder,
        _about(
            plan,
            gathered,
            codes,
            [*trust.words(trusted), *sanity.words(parquet.read(folder, "sanity"))],
            seconds,
            redone,
        ),
    )
    folder.remove(layout.WORK)
    return str(about["digest"])


def digest_of(folder: Folder) -> str:
    """The digest of a sealed atlas."""
    return str(seal.read_about(folder)["digest"])


def _images(plan: Plan, folder: Folder, gathered: Gathered, frames: pa.Table) -> Iterator[pa.Table]:
    for unit in range(plan.units):
        rows = planning.read_unit(folder, plan, unit)
        yield image_rows(rows, gathered.images, plan.settings.unit_size, frames, plan.classes)


def _sorted(examples: pa.Table, layers: tuple[Layer, ...]) -> pa.Table:
    """By layer, channel, side, rank, whatever unit they came from."""
    place = {layer.name: layer.index for layer in layers}
    layer = np.array([place[name] for name in examples.column("layer").to_pylist()])
    side = np.array([SIDES.index(s) for s in examples.column("side").to_pylist()])
    rank, channel = examples.column("rank").to_numpy(), examples.column("channel").to_numpy()
    return examples.take(pa.array(np.lexsort((rank, side, channel, layer)))).combine_chunks()


def _layers(
    layers: tuple[Layer, ...], axis: dict[str, dict[str, float | None]], trusted: dict[str, trust.Trust]
) -> pa.Table:
    rows = []
    for layer in layers:
        f = layer.field
        rows.append(
            {
                "layer": layer.name,
                "index": layer.index,
                "kind": layer.kind,
                "channels": layer.channels,
                "height": layer.height,
                "width": layer.width,
                **{
                    f"field_{what}": {a: getattr(getattr(f, a), what) for a in "yx"}
                    for what in ("size", "stride", "start")
                },
                "whole_input": f.global_field,
                "rectified": layer.rectified,
                "trust": trusted.get(layer.name),
                "axis": axis.get(layer.name),
            }
        )
    return pa.Table.from_pylist(rows, schema=schema.LAYERS)


def _about(
    plan: Plan,
    gathered: Gathered,
    codes: stage.CodesResult,
    words: list[str],
    seconds: dict[str, float],
    redone: int,
) -> dict[str, Any]:
    settings = plan.settings
    return {
        "format_version": layout.FORMAT_VERSION,
        "name": _name(settings.out),
        "network": {"name": plan.network["network"], **{k: v for k, v in plan.network.items() if k != "network"}},
        "data": {
            "sources": list(settings.images),
            "count": plan.count,
            "manifest_digest": plan.manifest_digest,
            "classes": list(plan.classes),
        },
        "preprocessing": asdict(plan.preprocessing),
        "settings": {"identity": plan.identity(), **{k: _plain(v) for k, v in asdict(settings).items()}},
        "accuracy": _accuracy(plan, gathered),
        "counts": {
            "images": len(gathered.images.image_id),
            "quarantined": len(gathered.quarantine),
            "layers": len(plan.layers),
            "neurons": plan.neurons,
            "dead": _dead(codes.neurons),
            "examples": len(codes.examples),
            "sample": len(gathered.sample_ids),
            "classes": len(plan.classes),
        },
        "trust": {"words": words},
        "index": codes.index,
        "map": codes.map,
        "compared": codes.compared,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "timings": {**seconds, "units_redone": redone},
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _name(out: str) -> str:
    return out.rstrip("/").rpartition("/")[2]


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _LIBRARIES}


def _accuracy(plan: Plan, gathered: Gathered) -> dict[str, Any]:
    """Share of images with a class whose largest logit is of that class."""
    images = gathered.images
    labelled = images.class_id >= 0
    right = images.predicted[labelled] == images.class_id[labelled]
    return {"top1": float(right.mean()) if len(right) else None, "images": len(right)}


def _dead(neurons: pa.Table) -> int:
    return sum(bool(dead) for dead in neurons.column("dead").to_pylist())

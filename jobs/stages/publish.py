"""Publish: the last tables, `atlas.json`, and the seal."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from atlas.explain import sanity, trust
from atlas.options import plain
from atlas.scan.judge import Labelled, accuracy
from atlas.scan.layer_rows import layer_rows
from atlas.store import layout, parquet, seal
from jobs.forecast import output_bytes
from jobs.job import Job

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo

_LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "pyarrow", "faiss-cpu", "openTSNE", "ray")


def finish(job: Job) -> None:
    """Writes neurons, layers, examples with their pictures and trust, and seals the folder."""
    folder, codes, layers = job.folder, job.analysed, job.plan.network.layers
    trusted = trust.trust_rows(job.explanations, [layer.name for layer in layers])
    parquet.write(folder, "neurons", codes.neurons)
    parquet.write(folder, "examples", codes.examples)
    parquet.write(folder, "explanations", job.explanations)
    parquet.write(folder, "trust", trusted)
    parquet.write(folder, "layers", layer_rows(layers, codes.axis))
    folder.sweep()  # a chunk that ran twice may have left half a file
    words = [
        *trust.words(trusted, len(layers), job.plan.network.neurons),
        *sanity.words(parquet.read(folder, "sanity")),
    ]
    about = seal.seal(folder, _about(job, words))
    folder.remove(layout.WORK)
    job.digest = str(about["digest"])


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """Rows, and checksums of all files."""
    rows = 2e-6 * todo.images + 2e-5 * todo.examples + 4e-8 * todo.neurons * todo.classes
    return rows + output_bytes(todo, rates)["all"] / rates.hash


def _about(job: Job, words: list[str]) -> dict[str, Any]:
    plan, settings, survey, codes = job.plan, job.plan.settings, job.survey, job.analysed
    return {
        "format_version": layout.FORMAT_VERSION,
        "name": settings.out.rstrip("/").rpartition("/")[2],
        "network": {
            "name": plan.network.about["network"],
            **{k: v for k, v in plan.network.about.items() if k != "network"},
        },
        "data": {
            "sources": list(settings.images),
            "count": plan.data.count,
            "manifest_digest": plan.data.digest,
            "classes": list(plan.data.classes),
            "named_by": "network" if plan.data.by_network else None,
        },
        "preprocessing": asdict(plan.network.preprocessing),
        "settings": {"identity": plan.identity(), **{k: plain(v) for k, v in asdict(settings).items()}},
        "accuracy": _accuracy(job),
        "counts": {
            "images": len(survey.images.image_id),
            "quarantined": len(survey.quarantine),
            "layers": len(plan.network.layers),
            "neurons": plan.network.neurons,
            "dead": sum(bool(dead) for dead in codes.neurons.column("dead").to_pylist()),
            "examples": len(codes.examples),
            "sample": len(survey.sample_ids),
            "classes": len(plan.data.classes),
        },
        "trust": {"words": words},
        "index": codes.index,
        "map": codes.map,
        "compared": codes.compared,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "timings": {**job.seconds, "chunks_redone": job.redone},
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """What made the folder."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in _LIBRARIES}}


def _accuracy(job: Job) -> dict[str, Any]:
    labels = Labelled.of_rows(parquet.read(job.folder, "images"))
    predicted = None if job.plan.settings.no_classes else job.survey.images.predicted
    return accuracy(labels, predicted, job.survey.scores)

"""Visualizations: what drives each neuron and each class most, made by ascent, and what such pictures are worth."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from atlas.errors import SettingsError
from atlas.network.layers import choose_names
from atlas.network.session import Session
from atlas.store.parts import Part
from atlas.store.sealed import Sealed
from atlas.tables.visualizations import SENSITIVITY, VISUALIZATIONS
from atlas.types import Layer
from atlas.visualize import canvas as canvases
from atlas.visualize import files, kept, rows
from atlas.visualize.ascend import generator
from atlas.visualize.canvas import Canvas
from atlas.visualize.chunk import chunk_size
from atlas.visualize.chunk import work as draw
from atlas.visualize.classes import ClassPicture, draw_classes, judged, score
from atlas.visualize.natural import Inputs, Natural, Seen, anywhere, cut
from atlas.visualize.neurons import Subject, respond
from atlas.visualize.settings import VisualizationSettings, count
from atlas.visualize.spectrum import Spectrum, SpectrumSum
from jobs import chunks as results
from jobs.job import Chunk, Job
from jobs.replay import Replayed

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo
    from jobs.work import Work

NAME, SPECTRUM = "visualizations", "spectrum.npy"
SPECTRUM_IMAGES = 512
"""Images of the response sample whose spectrum is measured, the ones of the smallest hashes."""
NEAREST, HELD_OUT = 9, 10
TOLERANCE = 1e-3
"""How far a response may lie from the one that is stored, as a share of its size."""


def chunks(job: Job) -> Sequence[Chunk]:
    """Some neurons of a layer, as many as fill a call; then some classes."""
    settings: VisualizationSettings = job.options
    layers = choose_names(job.atlas.layers, settings.layers, ())
    found = []
    for name, channels in _chosen(job.atlas, layers, settings).items():
        for part in _pieces(channels, chunk_size(settings)):
            found.append(Chunk(len(part), f"layer {name}, neurons {part[0]} to {part[-1]}", ("neurons", name, part)))
    known = len(job.atlas.about["data"]["classes"]) if job.atlas.classified else 0
    order = generator(settings.seed, "classes").permutation(known)[: count(settings.classes, known)]
    for part in _pieces(sorted(int(each) for each in order), settings.rows):
        found.append(Chunk(len(part), f"classes {part[0]} to {part[-1]}", ("classes", _output(job.atlas), part)))
    return found


def _output(atlas: Sealed) -> str:
    """The layer whose channels are the classes: the last one. Raises `SettingsError` where the atlas has it not."""
    row = atlas.table("layers", ["layer", "index", "channels"]).sort_by("index").to_pylist()[-1]
    if row["channels"] < len(atlas.about["data"]["classes"]):
        raise SettingsError(f"--classes: the layer that gives the logits is not in {atlas.location}; use --classes 0")
    return str(row["layer"])


def _chosen(atlas: Sealed, layers: Sequence[str], settings: VisualizationSettings) -> dict[str, list[int]]:
    """Channels of each layer by a seeded hash: of those that have examples, then of the others."""
    table = atlas.table("neurons", ["layer", "channel", "why_max"]).to_pylist()
    out: dict[str, list[int]] = {}
    for name in layers:
        here = [row for row in table if row["layer"] == name]
        place = {row["channel"]: i for i, row in enumerate(here)}
        drawn = generator(settings.seed, "neurons", name).permutation(len(here))
        here.sort(key=lambda row: (row["why_max"] is not None, drawn[place[row["channel"]]]))
        out[name] = sorted(row["channel"] for row in here[: count(settings.neurons, len(here))])
    return out


def _pieces(numbers: list[int], size: int) -> list[list[int]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def work(worker: Work, chunk: int, given: tuple[str, str, list[int]]) -> None:
    """Makes the pictures of a chunk."""
    what, layer, numbers = given
    with worker.result(NAME, chunk) as result:
        if what == "classes":
            result.rows[NAME] = _classes(worker, layer, numbers, result)
            return
        settings: VisualizationSettings = worker.options
        here = worker.session.layer(layer)
        canvas = _canvas(worker, here)
        natural = _natural(worker, here, canvas, numbers)
        neurons = draw(subject_of(worker), worker.session.layers, here, canvas, numbers, natural, settings)
        result.rows[NAME] = rows.neuron_rows(here, neurons, settings, result.pack)
        result.rows["kept"] = kept.keep(neurons, settings.sensitivity)


def canvas_of(session: Session, layer: Layer) -> Canvas:
    """The canvas of a layer, proven on noise, so that it depends on the network alone."""
    side = session.preprocessing.crop
    shape = (1, side, side, len(session.preprocessing.mean))
    noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = canvases.canvas_of(layer, side, side)
    return canvases.proven(session.module, layer, found, session.normalise(noise))


def _canvas(worker: Work, layer: Layer) -> Canvas:
    return worker.keep(f"canvas {layer.name}", lambda: canvas_of(worker.session, layer))


def subject_of(worker: Work) -> Subject:
    """The network of a part, with the data's spectrum."""
    session, p = worker.session, worker.session.preprocessing
    spectrum = worker.keep("spectrum", lambda: _spectrum(worker))
    return Subject(session.module, session.normalise, p.mean, p.std, spectrum)


def _spectrum(worker: Work) -> Spectrum:
    """The data's spectrum: measured by whoever needs it first, each time the same, and kept beside the tables."""
    side = worker.session.preprocessing.crop
    if not worker.folder.exists(SPECTRUM):
        found = SpectrumSum.nothing(side, side, len(worker.session.preprocessing.mean))
        ids = _sampled(worker.atlas, worker.options.seed)
        for start in range(0, len(ids), 64):
            images = inputs_of(worker, ids[start : start + 64])
            found += SpectrumSum.of(np.stack([images[i] for i in sorted(images)]))
        out = io.BytesIO()
        np.save(out, found.mean().values)
        worker.folder.put(SPECTRUM, out.getvalue())
    return Spectrum(np.load(io.BytesIO(worker.folder.get(SPECTRUM))), side)


def _sampled(atlas: Sealed, seed: int) -> list[int]:
    """Images of the response sample, or of all where there is none; ascending."""
    first = next(iter(atlas.files("responses", ["image_id"])), None)
    ids = (first if first is not None else atlas.table("images", ["image_id"])).column("image_id").to_pylist()
    order = generator(seed, "spectrum").permutation(len(ids))[:SPECTRUM_IMAGES]
    return sorted(ids[i] for i in order)


def inputs_of(worker: Work, image_ids: Sequence[int]) -> Inputs:
    """What the network sees of images."""
    return {image_id: worker.session.pixels(body) for image_id, body in worker.bodies(image_ids).items()}


def _natural(worker: Work, layer: Layer, canvas: Canvas, channels: Sequence[int]) -> dict[int, Natural]:
    """Natural pictures of neurons that have examples of side `max`."""
    examples = worker.keep("examples", lambda: _examples(worker.atlas))
    neurons = worker.keep("neurons", lambda: _extremes(worker.atlas))
    found = {c: examples.get((layer.name, c), {}) for c in channels}
    inputs = inputs_of(
        worker, sorted({seen.image_id for sides in found.values() for e in sides.values() for seen in e})
    )
    out = {}
    for channel, sides in found.items():
        nine, spread = sides.get("max", [])[:NEAREST], sides.get("spread", [])
        if not nine:
            continue
        shown = {seen.image_id for seen in nine}
        held_out = [seen for seen in spread if seen.image_id not in shown][-HELD_OUT:]
        out[channel] = Natural(
            cut(canvas, layer, inputs, nine), cut(canvas, layer, inputs, held_out),
            anywhere(canvas, inputs, spread, worker.options.seed, layer.name, channel), *neurons[layer.name, channel],
        )  # fmt: skip
    return out


Examples = dict[tuple[str, int], dict[str, list[Seen]]]


def _examples(atlas: Sealed) -> Examples:
    """By neuron and side, in the order of their ranks: of side spread, by falling response."""
    table = atlas.table("examples", ["layer", "channel", "side", "rank", "image_id", "y", "x", "response"])
    sides = pa.array(["max", "spread"])
    table = table.filter(pa.compute.is_in(table.column("side"), value_set=sides))
    found: dict[tuple[str, int], dict[str, list[tuple[tuple[float, int], Seen]]]] = {}
    for row in table.to_pylist():
        order = (-row["response"], row["rank"])
        seen = Seen(row["image_id"], max(row["y"], 0), row["x"])
        found.setdefault((row["layer"], row["channel"]), {}).setdefault(row["side"], []).append((order, seen))
    return {
        key: {side: [seen for _, seen in sorted(each, key=lambda e: e[0])] for side, each in sides.items()}
        for key, sides in found.items()
    }


def _extremes(atlas: Sealed) -> dict[tuple[str, int], tuple[float, float]]:
    table = atlas.table("neurons", ["layer", "channel", "max", "min"]).to_pylist()
    return {(row["layer"], row["channel"]): (row["max"], row["min"]) for row in table}


def _classes(worker: Work, layer: str, classes: Sequence[int], result: results.Result) -> pa.Table:
    settings: VisualizationSettings = worker.options
    subject, side = subject_of(worker), worker.session.preprocessing.crop
    made: list[ClassPicture] = []
    for method in settings.class_methods:
        for objective in ("logit", "probability"):
            made += draw_classes(
                subject, (side, side), classes, settings.repeats, method, objective, settings.steps, settings.rows,
                settings.seed,
            )  # fmt: skip
    return rows.class_rows(layer, made, _transfers(worker, made), _largest(worker), settings, result.pack)


def _transfers(worker: Work, made: Sequence[ClassPicture]) -> list[float | None]:
    """The probability that the judge gives each picture's class."""
    settings: VisualizationSettings = worker.options
    if settings.judge is None:
        return [None] * len(made)
    from atlas.network import load
    from atlas.network.session import ready

    def judge() -> Session:
        network = load.load(str(settings.judge), settings.judge_weights)
        return ready(network.module, [], ("", 1), network.preprocessing, device=str(worker.plan.settings.device))

    other = worker.keep("judge", judge)
    pictures = [files.decode(each.body, len(other.preprocessing.mean)) for each in made]
    scores = judged(other.module, other.normalise, pictures, settings.rows)
    out: list[float | None] = []
    for each, row in zip(made, scores, strict=True):
        away = np.exp(row - row.max())
        out.append(float(away[each.class_id] / away.sum()) if each.class_id < len(row) else None)
    return out


def _largest(worker: Work) -> dict[int, float]:
    """Of each class its largest logit over the data, where the last layer is the logits."""
    last = worker.session.layers[-1]
    if last.kind != "linear" or last.height * last.width != 1 or last.rectified:
        return {}
    extremes = worker.keep("neurons", lambda: _extremes(worker.atlas))
    return {channel: extremes[last.name, channel][0] for channel in range(last.channels)}


def finish(job: Job) -> None:
    """Compares each layer's neurons, a layer at a time, and writes the tables."""
    settings: VisualizationSettings = job.options
    written, matrices = [VISUALIZATIONS.columns.empty_table()], [SENSITIVITY.columns.empty_table()]
    of_layer: dict[str, list[dict[str, pa.Table]]] = {}
    for number, chunk in enumerate(chunks(job)):
        what, layer, _ = chunk.given
        part = results.read(job.folder, NAME, number)
        if what == "classes":
            written.append(part[NAME])
        else:
            of_layer.setdefault(layer, []).append(part)
    for layer, parts in of_layer.items():
        neurons = [neuron for part in parts for neuron in kept.kept(part["kept"])]
        mine = pa.concat_tables([part[NAME] for part in parts])
        written.append(rows.completed(mine, neurons, layer, settings.seed))
        if settings.sensitivity:
            matrices.append(rows.sensitivity_rows(neurons, layer, settings.methods[0]))
    table = pa.concat_tables(written)
    job.write(NAME, table)
    job.write("sensitivity", pa.concat_tables(matrices))
    job.summary.update(summary(table))


def summary(table: pa.Table) -> dict[str, Any]:
    """The figures of the part, over pictures of sign + of neurons, and over those of classes."""
    found = table.to_pylist()
    mine = [row for row in found if row["target"] == "neuron" and row["sign"] > 0]
    out: dict[str, Any] = {"pictures": sum(row["picture"]["pack"] is not None for row in found)}
    for name in ("attained", "choice", "choice_natural", "choice_other", "choice_shuffled", "path", "agreement"):
        values = [row[name] for row in mine if row[name] is not None]
        if values:
            out[name] = round(float(np.median(values) if name in ("attained", "path") else np.mean(values)), 3)
    for objective in ("response", "probability"):
        classes = [row for row in found if row["target"] == "class" and row["objective"] == objective]
        if classes:
            out[f"classes_by_{objective}"] = f"{sum(row['predicted'] for row in classes)} of {len(classes)}"
            moved = [row["transfer"] for row in classes if row["transfer"] is not None]
            if moved:
                out[f"transfer_by_{objective}"] = round(float(np.median(moved)), 3)
    return out


SHARE = 0.12
"""What a step costs, forward and back, of three forwards of a whole input: canvases are small and stop at the layer."""


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """From the network's time an image. Canvases are not known here, so it is an order of magnitude."""
    settings: VisualizationSettings = todo.options
    neurons = todo.layers * count(settings.neurons, max(todo.neurons // max(todo.layers, 1), 1))
    each = len(settings.methods) * len(settings.directions) * settings.repeats + 1
    classes = 2 * len(settings.class_methods) * settings.repeats * count(settings.classes, todo.classes)
    forwards = 3 * settings.steps * (SHARE * neurons * each + classes)
    return float(forwards / rates.scan / max(workers, 1))


def replay(worker: Work, part: Part, rows_asked: int) -> Replayed:
    """The responses of some pictures again, from their files."""
    table = [row for row in part.table(NAME).to_pylist() if row["picture"]["pack"]]
    order = generator(0, "replay").permutation(len(table))[:rows_asked]
    chosen = [table[i] for i in sorted(order)]
    found = Replayed(len(chosen), {"response": 0.0})
    subject = subject_of(worker)
    for row in chosen:
        pixels = files.decode(part.picture(row["picture"]), subject.spectrum.channels)[None]
        if row["target"] == "class":
            again = float(score(subject.module, subject.inputs(pixels, worker.options.rows))[0, row["channel"]])
            name = f"class {row['channel']}"
        else:
            layer = worker.session.layer(row["layer"])
            canvas = _canvas(worker, layer)
            again = float(respond(subject, layer, canvas, pixels, worker.options.rows)[0, row["channel"]])
            name = f"{row['layer']}:{row['channel']}"
        change = abs(again - row["response"]) / max(abs(row["response"]), 1e-3)
        found.largest["response"] = max(found.largest["response"], change)
        if change > TOLERANCE:
            found.wrong.append(f"{name}, {row['method']} {row['repeat']}: {again:.6g}, stored {row['response']:.6g}")
    return found

"""Words: blocks of neurons are searched for formulas, and shuffled orders for what chance finds.

With an encoder, blocks of neurons have their strongest crops embedded too.

Which shuffled orders there are depends on the ties of the responses: a null for each pattern of ties.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.analyse import responses
from atlas.errors import SettingsError
from atlas.store.sealed import Sealed
from atlas.words import concepts, embed, encoders, null, orders, part
from atlas.words.concepts import Concepts
from atlas.words.encoders import Loaded
from atlas.words.naming import Halves
from atlas.words.null import Null
from atlas.words.part import Prepared
from atlas.words.settings import WordsSettings
from jobs import chunks as results
from jobs.job import Chunk, Job
from jobs.replay import Replayed

if TYPE_CHECKING:
    from atlas.store.parts import Part
    from jobs.forecast import Rates, Todo
    from jobs.work import Work

NEURONS = 256  # of a chunk, on both sides
SHUFFLES = 500  # of a chunk
EMBEDDED = 64  # neurons of a chunk
EMBED = 0.5  # seconds of a neuron's crops, of a base-size encoder on a core
SEARCH = 0.012  # seconds of a search, of 1,500 concepts and 4,096 images
LEVEL = 0.05
_CONCEPTS = "work/words-concepts.npz"
_SAME = 1e-9  # figures that are computed again differ by rounding at most
_NEAR = 1e-3  # and those of an encoder in float32 by that of its device


def check(sealed: Sealed, settings: WordsSettings) -> None:
    """Raises `InputError` where there is nothing to name neurons with."""
    prepare(sealed, settings)


def chunks(job: Job) -> Sequence[Chunk]:
    """Blocks of neurons of each layer, then shuffled orders of each pattern of ties, then blocks to embed."""
    settings: WordsSettings = job.options
    prepared = prepare(job.atlas, settings)
    _put(job, prepared)
    found, keys, sizes = [], set(), []
    for layer in job.atlas.layers:
        held = responses.of_layer(job.atlas, layer)
        sizes.append((layer, held.maxima.shape[1]))
        for scores in (held.maxima, -held.minima):
            keys |= {tuple(key) for key in orders.keys_of(scores[prepared.searched].T).tolist()}
    controls = part.controls(sizes, settings.seed)
    for layer, size in sizes:
        for first in range(0, size, NEURONS):
            last = min(first + NEURONS, size)
            chosen = np.flatnonzero(controls[layer][first:last]).tolist()
            found.append(
                Chunk(
                    2 * (last - first),
                    f"neurons {first} to {last - 1} of {layer}",
                    ("neurons", layer, first, last, chosen),
                )
            )
    for key in sorted(key for key in keys if key[0] < orders.PARTS):
        for first in range(0, settings.shuffles, SHUFFLES):
            count = min(SHUFFLES, settings.shuffles - first)
            found.append(
                Chunk(count, f"shuffled orders {first} to {first + count - 1}", ("orders", *key, first, count))
            )
    for layer, size in sizes if settings.encoder else []:
        for first in range(0, size, EMBEDDED):
            last = min(first + EMBEDDED, size)
            found.append(
                Chunk(last - first, f"crops of {first} to {last - 1} of {layer}", ("crops", layer, first, last))
            )
    return found


def prepare(sealed: Sealed, settings: WordsSettings) -> Prepared:
    """The concepts of an atlas and its two halves. Raises `InputError`."""
    images = responses.images(sealed)
    measured = responses.measured(sealed, images.column("image_id").to_numpy())
    table = concepts.read(Path(settings.concepts)) if settings.concepts else None
    return part.prepare(images, measured, table, settings, sealed.about["data"]["classes"])


def _put(job: Job, prepared: Prepared) -> None:
    """Lays the concepts down for the workers, who need no table of the user's."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, names=np.array(prepared.concepts.names), kinds=np.array(prepared.concepts.kinds),
        flags=prepared.concepts.flags, searched=prepared.searched, held=prepared.held,
        same=np.array(prepared.concepts.same).reshape(-1, 2).astype(str),
    )  # fmt: skip
    job.folder.put(_CONCEPTS, buffer.getvalue())


def _taken(body: bytes, least: int) -> Prepared:
    held = np.load(io.BytesIO(body), allow_pickle=False)
    found = Concepts(
        tuple(map(str, held["names"])), tuple(map(str, held["kinds"])), held["flags"],
        tuple((str(a), str(b)) for a, b in held["same"]),
    )  # fmt: skip
    a, b = held["searched"], held["held"]
    return Prepared(found, a, b, Halves.of(found.flags[a], found.flags[b], least))


def work(worker: Work, chunk: int, given: tuple[Any, ...]) -> None:
    """Searches one block of neurons, or some shuffled orders; or embeds the crops of a block."""
    kind, *rest = given
    with worker.result("words", chunk) as result:
        result.rows |= _WORK[kind](worker, *rest)


def _neurons(worker: Work, layer: str, first: int, last: int, chosen: list[int]) -> dict[str, pa.Table]:
    flags = np.zeros(last - first, bool)
    flags[chosen] = True
    channels = np.arange(first, last)
    rows, constant = named(worker.atlas, _prepared(worker), worker.options, layer, channels, flags)
    return {"words": rows, "constant": constant}


def _orders(worker: Work, top: int, bottom: int, first: int, count: int) -> dict[str, pa.Table]:
    settings: WordsSettings = worker.options
    best = null.draw(
        _prepared(worker).halves.table, (top, bottom), first, count, settings.length, settings.beam, settings.seed
    )  # fmt: skip
    rows = pa.table({
        "top": np.full(count, top), "bottom": np.full(count, bottom),
        "best": pa.array(best.tolist(), pa.list_(pa.float64())),
    })  # fmt: skip
    return {"null": rows}


def _crops(worker: Work, layer: str, first: int, last: int) -> dict[str, pa.Table]:
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done = count

    worker.watch = lambda: done
    return {"embeddings": embedded(worker, layer, first, last, step)}


_WORK: dict[str, Callable[..., dict[str, pa.Table]]] = {"neurons": _neurons, "orders": _orders, "crops": _crops}


def _prepared(worker: Work) -> Prepared:
    settings: WordsSettings = worker.options
    return worker.keep("words", lambda: _taken(worker.folder.get(_CONCEPTS), settings.least))


def embedded(
    worker: Work, layer: str, first: int, last: int, step: Callable[[int], None] = lambda done: None
) -> pa.Table:
    """Embeddings of some neurons of a layer, as `embed.block` gives them."""
    encoder = worker.keep("encoder", lambda: _encoder(worker))
    rows = worker.keep("crops", lambda: embed.examples(worker.atlas))
    return embed.block(encoder, worker.atlas.folder, rows, layer, first, last, step)


def _encoder(worker: Work) -> Loaded:
    """The encoder on this worker. Raises `SettingsError` where it is another one here."""
    import torch

    from atlas.network.session import device_of

    settings, planned = worker.plan.settings, worker.plan.part
    assert planned is not None, "words are a part"
    torch.set_num_threads(settings.threads)
    found = encoders.load(worker.options.encoder, str(device_of(settings.device)))
    if found.digest != planned.settings["encoder"]:
        raise SettingsError(f"--encoder {found.name}: is another one on this machine than where the job was started")
    return found


def named(
    sealed: Sealed, prepared: Prepared, settings: WordsSettings, layer: str, channels: np.ndarray, controls: np.ndarray
) -> tuple[pa.Table, pa.Table]:
    """Rows of some neurons of a layer, as `part.block` gives them."""
    held = responses.of_layer(sealed, layer)
    return part.block(prepared, layer, channels, held.maxima[:, channels], held.minima[:, channels], controls, settings)


def finish(job: Job) -> None:
    """p and q of all neurons from the nulls; the table, and what the controls say."""
    settings: WordsSettings = job.options
    rows, shuffled = part.finish(_rows(job, "words", part.ROWS), _nulls(job))
    job.write("words", rows.append_column("iou", pa.nulls(len(rows), pa.float64())))
    prepared = _taken(job.folder.get(_CONCEPTS), settings.least)
    said = part.summary(rows, shuffled, _rows(job, "constant", part.CONSTANT), prepared, LEVEL)
    job.summary |= said
    if settings.encoder is not None:
        job.summary |= _embeddings(job)


def _embeddings(job: Job) -> dict[str, Any]:
    """Writes the embeddings; what is said of them."""
    assert job.plan.part is not None, "words are a part"
    rows = _rows(job, "embeddings", embed.ROWS)
    job.write("embeddings", rows)
    alike = embed.alike(np.array(rows.column("embedding").to_pylist(), np.float64))
    return {
        "embedded": len(rows),
        "embeddings_cosine": None if alike is None else round(alike, 6),
        "encoder": job.plan.part.settings["encoder"],
    }


def _rows(job: Job, name: str, columns: pa.Schema) -> pa.Table:
    found = (results.read(job.folder, "words", chunk).get(name) for chunk in range(job.count["words"]))
    return pa.concat_tables([columns.empty_table(), *(table for table in found if table is not None)])


def _nulls(job: Job) -> dict[tuple[int, int], Null]:
    columns = pa.schema([("top", pa.int64()), ("bottom", pa.int64()), ("best", pa.list_(pa.float64()))])
    rows = _rows(job, "null", columns)
    keys = np.stack([rows.column(name).to_numpy() for name in ("top", "bottom")], 1)
    best = np.array(rows.column("best").to_pylist(), np.float64).reshape(len(rows), -1)
    return {(int(key[0]), int(key[1])): Null.of(best[(keys == key).all(1)]) for key in np.unique(keys, axis=0)}


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """Two searches a neuron, and one a shuffled order; with an encoder its crops."""
    shuffles = todo.options.shuffles if todo.options is not None else null.SHUFFLES
    crops = EMBED * todo.neurons if todo.options is not None and todo.options.encoder else 0.0
    return rates.core * (SEARCH * (2 * todo.neurons + shuffles) + crops) / max(workers, 1)


def replay(worker: Work, part_: Part, count: int) -> Replayed:
    """The formulas of some neurons again, with their measures; p and q would need the whole null.

    With an encoder their embeddings too.
    """
    settings: WordsSettings = worker.options
    table = part_.table("words")
    prepared = prepare(worker.atlas, settings)
    pairs = sorted(set(zip(table.column("layer").to_pylist(), table.column("channel").to_pylist(), strict=True)))
    chosen = np.random.default_rng(settings.seed).permutation(len(pairs))[:count]
    found = Replayed(0, {"auprc": 0.0, "held_out": 0.0, "excess": 0.0})
    for layer, channel in (pairs[at] for at in sorted(chosen.tolist())):
        again, _ = named(worker.atlas, prepared, settings, layer, np.array([channel]), np.zeros(1, bool))
        key = [("side", "ascending"), ("rank", "ascending")]
        own = table.filter(pc.and_(pc.equal(table.column("layer"), layer), pc.equal(table.column("channel"), channel)))
        for old, new in zip(own.sort_by(key).to_pylist(), again.sort_by(key).to_pylist(), strict=True):
            found.rows += 1
            if old["words"] != new["words"]:
                found.wrong.append(f"{layer} {channel} {old['side']}: {old['words']!r}, now {new['words']!r}")
            elif old["words"] is not None:
                for name in found.largest:
                    found.largest[name] = max(found.largest[name], abs(old[name] - new[name]))
    if settings.encoder is not None:
        _replay_embeddings(worker, part_, [pairs[at] for at in sorted(chosen.tolist())], found)
    found.wrong += [
        f"{name} differs by {value:.2g}"
        for name, value in found.largest.items()
        if value > (_NEAR if name == "embedding" else _SAME)
    ]
    return found


def _replay_embeddings(worker: Work, part_: Part, pairs: list[tuple[str, int]], found: Replayed) -> None:
    """The embeddings of these neurons again."""
    table = part_.table("embeddings")
    found.largest["embedding"] = 0.0
    for layer, channel in pairs:
        mine = pc.and_(pc.equal(table.column("layer"), layer), pc.equal(table.column("channel"), channel))
        old, new = table.filter(mine), embedded(worker, layer, channel, channel + 1)
        found.rows += len(new)
        a, b = (np.array(each.column("embedding").to_pylist(), np.float64) for each in (old, new))
        if a.shape != b.shape:
            found.wrong.append(f"{layer} {channel}: embedding of shape {a.shape}, now {b.shape}")
        elif a.size:
            found.largest["embedding"] = max(found.largest["embedding"], float(np.abs(a - b).max()))

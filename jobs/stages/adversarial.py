"""Adversarial: what fools the network, how little it needs, and the neurons that carry the change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from atlas.adversarial import chunk as library
from atlas.adversarial.chunk import NOISE, Fooled, Found
from atlas.adversarial.settings import AdversarialSettings
from atlas.arrays import Doubles
from atlas.scan.respond import Responder
from atlas.store.parts import Part
from atlas.store.pictures import PackWriter, missing
from atlas.store.sealed import Sealed
from atlas.tables.adversarial import ADVERSARIAL, CARRIERS, MARGINS
from atlas.visualize import files
from atlas.visualize.ascend import generator
from jobs import chunks as results
from jobs.job import Chunk, Job
from jobs.replay import Replayed
from jobs.stages.visualizations import inputs_of

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo
    from jobs.work import Work

NAME = "adversarial"
TOLERANCE = 1e-3
MOVED = pa.schema([("attack", pa.string()), ("images", pa.int64()), ("moved", pa.list_(pa.float64()))])
"""A chunk's sums over its images, a value a neuron."""
_IMAGE = ["image_id", "class_id", "predicted"]


def chunks(job: Job) -> Sequence[Chunk]:
    """As many images as fill a call of the network, then as many classes; by seeded hashes."""
    settings: AdversarialSettings = job.options
    found = []
    for part in _pieces(_chosen(job.atlas, settings), settings.rows):
        found.append(Chunk(len(part), f"images {part[0]} to {part[-1]}", ("images", part)))
    known = job.atlas.about["counts"]["classes"]
    order = generator(settings.seed, "fooling").permutation(known)[: settings.fooling]
    for part in _pieces(sorted(int(c) for c in order), settings.rows):
        found.append(Chunk(len(part), f"noise for classes {part[0]} to {part[-1]}", ("fooling", part)))
    return found


def _chosen(atlas: Sealed, settings: AdversarialSettings) -> list[int]:
    """Images that are classified rightly; of an atlas without classes of images, any."""
    rows = [row for row in atlas.table("images", _IMAGE).to_pylist() if row["predicted"] is not None]
    known = any(row["class_id"] is not None for row in rows)
    right = [row["image_id"] for row in rows if not known or row["class_id"] == row["predicted"]]
    order = generator(settings.seed, NAME).permutation(len(right))[: settings.attacked]
    return sorted(right[i] for i in order)


def _pieces(numbers: list[int], size: int) -> list[list[int]]:
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def _net(worker: Work) -> Fooled:
    session = worker.session
    return Fooled(session.module, session.preprocessing.mean, session.preprocessing.std, worker.options.rows)


def work(worker: Work, chunk: int, given: tuple[str, list[int]]) -> None:
    """Attacks some images, or makes noise that is taken for some classes."""
    what, numbers = given
    settings: AdversarialSettings = worker.options
    with worker.result(NAME, chunk) as result:
        if what == "fooling":
            p = worker.session.preprocessing
            shape = (p.crop, p.crop, len(p.mean))
            try:
                made = library.fooling(_net(worker), shape, numbers, settings.fooling_steps, settings.seed)
            except ValueError:
                made = []
            result.rows[NAME] = _rows([_row(None, each, result.pack) for each in made])
            return
        pixels = inputs_of(worker, numbers)
        own = _own(worker, numbers)
        targets = [_target(worker, i, c) for i, c in zip(numbers, own, strict=True)]
        images = [pixels[i] for i in numbers]
        try:
            made = library.images(_net(worker), images, own, targets, numbers, settings)
        except ValueError as wrong:
            result.rows[NAME] = _rows([_without(i, c, str(wrong)) for i, c in zip(numbers, own, strict=True)])
            return
        result.rows[NAME] = _rows([_row(numbers[each.row], each, result.pack) for each in made])
        result.rows["moved"] = _moved(worker, numbers, images, made)


def _own(worker: Work, image_ids: Sequence[int]) -> list[int]:
    known = worker.keep(
        "predicted",
        lambda: {r["image_id"]: r["predicted"] for r in worker.atlas.table("images", _IMAGE).to_pylist()},
    )
    return [known[i] for i in image_ids]


def _target(worker: Work, image_id: int, own: int) -> int:
    """Another class than the image's own, at random."""
    classes = worker.atlas.about["counts"]["classes"]
    drawn = int(generator(worker.options.seed, "target", image_id).integers(classes - 1))
    return drawn + (drawn >= own)


def _rows(rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=ADVERSARIAL.columns)


def _row(image_id: int | None, each: Found, pack: PackWriter) -> dict[str, Any]:
    size = "" if each.epsilon is None else f"-{each.epsilon:.6f}"
    who = "noise" if image_id is None else f"{image_id:09d}"
    name = f"{who}-{each.attack}-{'any' if each.target is None else each.target}{size}.{files.ENDING}"
    return {
        "image_id": image_id, "attack": each.attack, "target_class": each.target, "epsilon": each.epsilon,
        "smallest": each.smallest, "predicted": each.predicted, "probability": each.probability,
        "success": each.success, "picture": pack.add(name, each.body),
    }  # fmt: skip


def _without(image_id: int, own: int, why: str) -> dict[str, Any]:
    return {
        "image_id": image_id, "attack": "linf", "target_class": None, "epsilon": None, "smallest": False,
        "predicted": own, "probability": None, "success": False, "picture": missing(why),
    }  # fmt: skip


def _moved(worker: Work, ids: Sequence[int], images: Sequence[library.Pixels], made: Sequence[Found]) -> pa.Table:
    """Sums over the images of how far each neuron's response moves: under the untargeted attack, and under noise."""
    level = min(worker.options.bounds, key=lambda each: (abs(each - NOISE), each)) / 255
    before = _responses(worker, images)
    rows = []
    for name, size in (("linf", level), ("noise", NOISE / 255)):
        mine = {f.row: f.pixels for f in made if (f.attack, f.target, f.epsilon) == (name, None, size)}
        after = _responses(worker, [mine[row] for row in range(len(ids))])
        rows.append({"attack": name, "images": len(ids), "moved": np.abs(after - before).sum(0)})
    return pa.Table.from_pylist(rows, schema=MOVED)


def _responses(worker: Work, pixels: Sequence[library.Pixels]) -> Doubles:
    """Responses (N, neurons) of side max."""
    session, found = worker.session, []
    with Responder(session.module, session.layers, session.code) as responder:
        for start in range(0, len(pixels), session.batch_size):
            part = np.stack(pixels[start : start + session.batch_size])
            found.append(responder(session.call(part, range(len(part))))[0][: len(part)].double().cpu().numpy())
    return np.concatenate(found)


def finish(job: Job) -> None:
    """Writes the tables, and the figures of the part."""
    written = [ADVERSARIAL.columns.empty_table()]
    sums: dict[str, tuple[int, Any]] = {}
    for number in range(job.count[NAME]):
        part = results.read(job.folder, NAME, number)
        written.append(part[NAME])
        for row in part["moved"].to_pylist() if "moved" in part else []:
            images, moved = sums.get(row["attack"], (0, 0.0))
            sums[row["attack"]] = images + row["images"], moved + np.array(row["moved"])
    table = pa.concat_tables(written)
    job.write(NAME, table)
    found = table.to_pylist()
    job.write("margins", pa.Table.from_pylist(margins(found), schema=MARGINS.columns))
    job.write("carriers", pa.Table.from_pylist(_carriers(job.atlas, sums), schema=CARRIERS.columns))
    job.summary.update(summary(found))


def margins(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each image its smallest untargeted success."""
    rows = [r for r in found if r["attack"] in ("linf", "l2") and r["target_class"] is None]
    least: dict[tuple[int, str], float | None] = {(r["image_id"], r["attack"]): None for r in rows}
    for row in rows:
        if row["smallest"]:
            least[row["image_id"], row["attack"]] = row["epsilon"]
    return [{"image_id": i, "attack": attack, "epsilon": size} for (i, attack), size in least.items()]


def _carriers(atlas: Sealed, sums: dict[str, tuple[int, Any]]) -> list[dict[str, Any]]:
    neurons = atlas.table("neurons", ["layer", "channel", "std"]).to_pylist()
    place = {name: number for number, name in enumerate(atlas.layers)}
    neurons.sort(key=lambda row: (place[row["layer"]], row["channel"]))
    return [
        {"layer": row["layer"], "channel": row["channel"], "attack": attack,
         "change": moved[number] / images / row["std"]}
        for attack, (images, moved) in sums.items()
        for number, row in enumerate(neurons)
        if row["std"] > 0
    ]  # fmt: skip


def summary(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Pictures; successes by attack, bound and whether a class was aimed at; the median L2 margin."""
    out: dict[str, Any] = {"pictures": sum(row["picture"]["pack"] is not None for row in found)}
    groups: dict[str, list[bool]] = {}
    for row in found:
        aimed = "_targeted" if row["target_class"] is not None and row["attack"] != "fooling" else ""
        bound = f"_{round(row['epsilon'] * 255)}/255" if row["attack"] in ("linf", "noise") and row["epsilon"] else ""
        groups.setdefault(f"{row['attack']}{aimed}{bound}", []).append(row["success"])
    out |= {name: f"{sum(group)} of {len(group)}" for name, group in sorted(groups.items())}
    norms = [r["epsilon"] for r in found if r["attack"] == "l2" and r["target_class"] is None and r["smallest"]]
    if norms:
        out["margin_l2"] = round(float(np.median(norms)), 3)
    return out


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """Each step is a pass forward and back; the L2 radius is doubled twice or so, then halved."""
    settings: AdversarialSettings = todo.options
    tries = len(settings.levels) + 3 + settings.bisections
    each = (1 + settings.targeted) * tries * (settings.steps + 1)
    steps = settings.attacked * each + settings.fooling * settings.fooling_steps
    return float(3 * steps / rates.scan / max(workers, 1))


def replay(worker: Work, part: Part, count: int) -> Replayed:
    """What the network says of some stored pictures, and how far they are from their images."""
    table = [row for row in part.table(NAME).to_pylist() if row["picture"]["pack"]]
    order = generator(0, "replay").permutation(len(table))[:count]
    found = Replayed(len(order), {"probability": 0.0, "epsilon": 0.0})
    net = _net(worker)
    for row in (table[i] for i in sorted(order)):
        picture = files.decode(part.picture(row["picture"]), len(net.mean))
        scores = net.scores([picture])[0]
        away = np.exp(scores - scores.max())
        change = abs(float(away[row["predicted"]] / away.sum()) - row["probability"])
        beyond = _beyond(worker, row, picture)
        found.largest["probability"] = max(found.largest["probability"], change)
        found.largest["epsilon"] = max(found.largest["epsilon"], beyond)
        if change > TOLERANCE or beyond > TOLERANCE:
            who = "noise" if row["image_id"] is None else f"image {row['image_id']}"
            found.wrong.append(f"{who}, {row['attack']}: probability differs by {change:.2g}, ε by {beyond:.2g}")
    return found


def _beyond(worker: Work, row: dict[str, Any], picture: library.Pixels) -> float:
    """By how much the stored picture lies outside the bound that its row states."""
    if row["image_id"] is None or row["attack"] == "noise_l2":  # rounding and clipping move that one's norm
        return 0.0
    original = inputs_of(worker, [row["image_id"]])[row["image_id"]]
    away = (picture.astype(float) - original) / 255
    size = float(np.linalg.norm(away)) if row["attack"] == "l2" else float(np.abs(away).max())
    return max(0.0, size - float(row["epsilon"]))

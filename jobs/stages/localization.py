"""The part `localization`: where in each image its class is, and what a box without a network gets."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from atlas.arrays import Ints
from atlas.errors import SettingsError
from atlas.explain import draw, occlusion
from atlas.images import decode
from atlas.localize import readers, rows
from atlas.localize.boxes import Mask, stored
from atlas.localize.edits import EDITS, silhouette, texture
from atlas.localize.locate import Located, Locator, as_seen
from atlas.localize.rows import FOUND, SEEN
from atlas.localize.settings import LocalizationSettings
from atlas.network.session import Session
from atlas.store.parts import Part
from atlas.store.pictures import PackWriter, Picture, missing
from jobs.job import Chunk, Job
from jobs.replay import Replayed
from jobs.stages.connections import calls, shape_of

if TYPE_CHECKING:
    from jobs.forecast import Rates, Todo
    from jobs.work import Work

IMAGES = 64
"""Images of a chunk."""
NAME = "localization"
_IMAGE = ["image_id", "key", "content", "class_id", "width", "height"]
_NO_PICTURE = "this method has none"


def chunks(job: Job) -> Sequence[Chunk]:
    """The images that are looked at, a few at a time, with their classes and whether they are occluded."""
    images = job.atlas.table("images", _IMAGE)
    if images.column("content").null_count == len(images):
        raise SettingsError("add localization: this atlas knows no contents of images; build it again")
    boxes = boxes_of(job.options, images)
    ids = rows.sampled(images, boxes, job.options.sample, job.options.seed)
    occluded = set(
        rows.sampled(images, boxes, job.options.occlusion, job.options.seed, first=True)[: job.options.occlusion]
    )
    known = dict(zip(images.column("image_id").to_pylist(), images.column("class_id").to_pylist(), strict=True))
    given = [(image_id, known[image_id], image_id in occluded) for image_id in ids]
    parts = [given[start : start + IMAGES] for start in range(0, len(given), IMAGES)]
    return [Chunk(len(part), f"images {part[0][0]} to {part[-1][0]}", part) for part in parts]


def boxes_of(options: LocalizationSettings, images: pa.Table) -> dict[int, list[Any]]:
    """True boxes by image_id. Raises `SettingsError` where a file has none of these images'."""
    if options.boxes is None:
        return {}
    keys = images.column("key").to_pylist()
    ids = dict(zip(keys, images.column("image_id").to_pylist(), strict=True))
    matched = readers.match(readers.read_boxes(options.boxes), keys)
    if not matched:
        raise SettingsError(f"--boxes {options.boxes}: names none of the images; expected keys such as {keys[0]!r}")
    return {ids[key]: found for key, found in matched.items()}


def locator_of(worker: Work) -> Locator:
    """The network, ready to say where classes are."""
    return Locator(worker.session.module, shape_of(worker.session), worker.options.seed)


def work(worker: Work, chunk: int, given: Sequence[tuple[int, int | None, bool]]) -> None:
    """Looks at the images of a chunk."""
    with worker.result(NAME, chunk) as result:
        found, seen = [], []
        for rows_found, rows_seen in looked_at(worker, given, lambda: result.pack):
            found += rows_found
            seen += rows_seen
        result.rows["found"] = pa.Table.from_pylist(found, schema=FOUND)
        result.rows["seen"] = pa.Table.from_pylist(seen, schema=SEEN)


def looked_at(
    worker: Work, given: Sequence[tuple[int, int | None, bool]], pack: Any
) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Rows of `FOUND` and `SEEN`, a call of the network at a time; `pack()` is where pictures go."""
    locator = worker.keep(NAME, lambda: locator_of(worker))
    session = worker.session
    classes = {image_id: class_id for image_id, class_id, _ in given}
    occluded = {image_id for image_id, _, wanted in given if wanted}
    done = 0
    worker.watch = lambda: done
    for ids in calls(sorted(classes), session.batch_size):
        group = _Group(worker, ids, classes)
        scored, shuffled = locator.maps(group.inputs, *group.true())
        found: list[dict[str, Any]] = []
        for image_id in ids:
            slot = group.slots[image_id]
            predicted = int(scored.logits[slot].argmax())
            controls = [(c, _missing()) for c in locator.controls(shuffled[slot], group.pixels[image_id], image_id)]
            told: dict[int, list[tuple[Located, dict[str, Picture]]]] = {}
            for of, class_id, which in (("predicted", predicted, 0), ("true", classes[image_id], 1)):
                if class_id is None:
                    continue
                if class_id not in told:
                    cam = scored.cams[which]
                    values = scored.maps[which][slot], None if cam is None else cam[slot]
                    own = list(locator.of_class(*values, group.pixels[image_id], image_id))
                    if image_id in occluded and classes[image_id] in (None, class_id):
                        own += locator.occluded(group.inputs, slot, class_id, session.batch_size)
                    told[class_id] = [(each, drawn(pack(), f"{image_id:09d}-{class_id}", each)) for each in own]
                    group.masks[image_id] = own[0].mask  # of the true class, where it is known
                found += [group.row(image_id, class_id, of, *each) for each in told[class_id] + controls]
        done += len(ids)
        yield found, _seen(worker.session, group, scored.logits)


class _Group:
    """The images of one call of the network: their files decoded, what the network sees, and the masks found."""

    def __init__(self, worker: Work, ids: Sequence[int], classes: Mapping[int, int | None]) -> None:
        session = worker.session
        self.ids, self.classes, self.preprocessing = ids, classes, session.preprocessing
        self.files = {image_id: session.decoder(body) for image_id, body in worker.bodies(ids).items()}
        self.pixels = {i: decode.to_input(self.files[i], session.preprocessing) for i in ids}
        self.slots = {image_id: image_id % session.batch_size for image_id in ids}
        self.inputs = session.call(np.stack([self.pixels[i] for i in ids]), list(self.slots.values()))
        self.masks: dict[int, Mask | None] = {}

    def true(self) -> tuple[Tensor, Tensor]:
        """The true classes (N,), and which are known (N,)."""
        true, known = torch.zeros(len(self.inputs), dtype=torch.int64), torch.zeros(len(self.inputs), dtype=torch.bool)
        for image_id, slot in self.slots.items():
            class_id = self.classes[image_id]
            if class_id is not None:
                true[slot], known[slot] = class_id, True
        return true, known

    def row(self, image_id: int, class_id: int, of: str, each: Located, pictures: dict[str, Picture]) -> dict[str, Any]:
        """A row of `FOUND`."""
        size = self.files[image_id].size
        place = decode.place(*size, self.preprocessing)
        middle = each.method == "centre"
        boxes = rows.middle(*size) if middle else [stored(box, place, *size) for box in each.boxes]
        return rows.found_row(image_id, class_id, of, each, boxes, pictures)


def _missing() -> dict[str, Picture]:
    return {"saliency": missing(_NO_PICTURE), "mask": missing(_NO_PICTURE)}


def drawn(pack: PackWriter, name: str, each: Located) -> dict[str, Picture]:
    """The map and the mask of what one method says, in the pack."""
    pictures = _missing()
    if each.values is not None:
        size = each.values.shape[1], each.values.shape[0]
        if each.method.startswith("occlusion"):
            made = occlusion.draw_falls(each.values, 1.0, size)
        else:
            scale = draw.robust_scale(each.values)
            shade = np.clip(each.values / (scale or 1), 0, 1)
            made = draw.Drawn(draw.compact(np.rint(255 * shade).astype(np.uint8), size), scale) if scale else None
        if made is None:
            pictures["saliency"] = missing("the map is 0 everywhere")
        else:
            pictures["saliency"] = pack.add(f"{name}-{each.method}.{made.ending}", made.body, scale=made.scale)
    if each.mask is not None:
        pictures["mask"] = pack.add(f"{name}-{each.method}-mask.png", bits(each.mask))
    return pictures


def bits(mask: Mask) -> bytes:
    """A mask (h, w) as PNG of one bit."""
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    return out.getvalue()


def _seen(session: Session, group: _Group, logits: Any) -> list[dict[str, Any]]:
    """Rows of `SEEN`: the true class's place among the logits, and what shape and texture alone are taken for."""
    answers: dict[str, dict[int, int]] = {edit: {} for edit in EDITS}
    for edit in EDITS:
        there: dict[int, NDArray[np.uint8]] = {}
        for image_id, mask in group.masks.items():
            if mask is not None:
                made = silhouette(mask) if edit == "silhouette" else texture(group.pixels[image_id], mask)
                there |= {image_id: made} if made is not None else {}
        if there:
            inputs = session.call(np.stack(list(there.values())), [group.slots[i] for i in there])
            found: Ints = as_seen(session.module, inputs)
            answers[edit] = {i: int(found[group.slots[i]]) for i in there}
    made_rows = []
    for i in group.ids:
        own, true = logits[group.slots[i]], group.classes[i]
        place = None if true is None else int((own > own[true]).sum())
        said = {"image_id": i, "class_id": true, "predicted": int(own.argmax()), "place": place}
        made_rows.append({**said, **{edit: answers[edit].get(i) for edit in EDITS}})
    return made_rows


def finish(job: Job) -> None:
    """Levels from one half, scores on the other, boxes at the levels that their image did not choose."""
    from jobs import chunks as results

    parts = [results.read(job.folder, NAME, chunk) for chunk in range(job.count[NAME])]
    found = pa.concat_tables([part["found"] for part in parts]) if parts else FOUND.empty_table()
    seen = pa.concat_tables([part["seen"] for part in parts]) if parts else SEEN.empty_table()
    images = job.atlas.table("images", _IMAGE)
    told = rows.judge(found, seen, images, boxes_of(job.options, images), job.options.seed)
    job.write("localization", told.rows)
    job.write("localization_scores", told.scores)
    job.write("localization_differences", told.differences)
    job.write("shape_texture", rows.shape_texture(seen))
    job.summary.update(told.summary)


def seconds(todo: Todo, rates: Rates, workers: int) -> float:
    """Three ways back an image, at about three forward passes each, and about half a second of cuts."""
    images = min(todo.options.sample or todo.images, todo.images)
    return float(images * (10 * rates.together / rates.scan + 0.5) / workers)


def replay(worker: Work, part: Part, count: int) -> Replayed:
    """The boxes of some images again, and the bytes of their masks."""
    table = part.table(NAME)
    ids = np.unique(table.column("image_id").to_numpy())
    chosen = np.sort(np.random.default_rng(worker.options.seed).permutation(ids)[:count]).tolist()
    known = worker.atlas.table("images", ["image_id", "class_id"]).to_pylist()
    classes = {row["image_id"]: row["class_id"] for row in known}
    before = {(r["image_id"], r["of"], r["method"]): r for r in table.to_pylist() if r["image_id"] in set(chosen)}
    stream = io.BytesIO()
    pack = PackWriter(stream, "again")
    again: list[dict[str, Any]] = []
    for found, _ in looked_at(worker, [(i, classes[i], False) for i in chosen], lambda: pack):
        again += found
    result = Replayed(len(chosen), {"edge of a box": 0.0})
    for row in again:
        old = before.get((row["image_id"], row["of"], row["method"]))
        here = f"image {row['image_id']}, {row['method']} of the {row['of']} class"
        if old is None:
            result.wrong.append(f"{here}: has no row")
            continue
        gap = rows.nearest(row, old)
        result.largest["edge of a box"] = max(result.largest["edge of a box"], gap)
        if gap > rows.TOLERANCE:
            result.wrong.append(f"{here}: its box is {gap:.3g} pixels off")
        place, mask = row["mask"], old["mask"]
        if place["pack"] and mask["pack"]:
            body = stream.getvalue()[place["offset"] : place["offset"] + place["length"]]
            if part.picture(mask) != body:
                result.wrong.append(f"{here}: another mask")
    return result

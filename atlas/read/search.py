"""Finding layers, neurons, classes and images by what people type."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from atlas.read import source

if TYPE_CHECKING:
    from atlas.read.catalog import Atlas

MOST = 50
_EACH = 15
_NEURON = re.compile(r"(.+?)[\s:/#]+(\d{1,9})", re.ASCII)


class Hit(NamedTuple):
    """One thing found. `key` names it: (layer), (layer, channel), (class), (image)."""

    kind: Literal["layer", "neuron", "class", "image"]
    key: tuple[str | int, ...]
    name: str
    detail: str


def search(atlas: Atlas, q: str) -> list[Hit]:
    """Layers, neurons (`layer channel`, words), classes, images whose names hold `q`, in any case; at most fifty."""
    wanted = q.strip()
    if not wanted:
        return []
    found = [*_layers(atlas, wanted), *_neurons(atlas, wanted), *_by_words(atlas, wanted), *_classes(atlas, wanted)]
    return (found + _images(atlas, wanted, MOST - len(found[:MOST])))[:MOST]


def _counted(count: int, word: str) -> str:
    """`1 image`, `1,234 images`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _layers(atlas: Atlas, wanted: str) -> list[Hit]:
    low = wanted.casefold()
    rows = [row for row in atlas.store.layers.rows if low in row["layer"].casefold()]
    rows.sort(key=lambda row: (row["layer"].casefold() != low, not row["layer"].casefold().startswith(low)))
    return [
        Hit("layer", (row["layer"],), row["layer"], f"{row['kind']}, {_counted(row['channels'], 'neuron')}")
        for row in rows[:_EACH]
    ]  # fmt: skip


def _neurons(atlas: Atlas, wanted: str) -> list[Hit]:
    match = _NEURON.fullmatch(wanted)
    if not match:
        return []
    low, channel = match[1].casefold(), int(match[2])
    rows = [row for row in atlas.store.layers.rows if low in row["layer"].casefold() and channel < row["channels"]]
    rows.sort(key=lambda row: row["layer"].casefold() != low)
    found = []
    for row in rows[:_EACH]:
        top = atlas.store.neurons.get(atlas.store.layers.number(row["layer"], channel)).classes
        name = atlas.store.images.name(top[0].class_id) if top else None
        found.append(
            Hit("neuron", (row["layer"], channel), f"{row['layer']} {channel}", f"most for {name}" if name else "")
        )
    return found


def _by_words(atlas: Atlas, wanted: str) -> list[Hit]:
    """Neurons that stand for the words; why, in a few words."""
    return [
        Hit(
            "neuron", (each.layer, each.channel), f"{each.layer} {each.channel}",
            f"{each.words}{' (side min)' if each.side == 'min' else ''}: precision {each.held_out:.2g} on held-out "
            f"images, {each.held_out_excess:.1f} deviations above chance",
        )
        for each in atlas.store.words.find(wanted, _EACH)
    ]  # fmt: skip


def _classes(atlas: Atlas, wanted: str) -> list[Hit]:
    low = wanted.casefold()
    images = atlas.store.images
    found = []
    for at, class_id in enumerate(images.classes.tolist()):
        name = images.name(class_id) or ""
        if low in name.casefold() or wanted == str(class_id):
            count = int(images.class_counts[at])
            found.append(
                Hit(
                    "class",
                    (class_id,),
                    name or f"class {class_id}",
                    _counted(count, "image"),
                )
            )
    found.sort(key=lambda hit: not hit.name.casefold().startswith(low))
    return found[:_EACH]


def _images(atlas: Atlas, wanted: str, most: int) -> list[Hit]:
    """Images by number, then by their keys."""
    import pyarrow.compute as pc

    found: list[Hit] = []
    if re.fullmatch(r"0|[1-9][0-9]{0,17}", wanted):
        ids = atlas.store.images
        if ids.has(int(wanted)):
            row = ids.get(int(wanted))
            found.append(Hit("image", (row.image_id,), f"image {row.image_id}", row.key))
    for batch in source.batches(atlas.folder, "images", columns=["image_id", "key"]):
        if len(found) >= most:
            break
        mask = pc.match_substring(batch.column("key"), wanted, ignore_case=True)
        for row in batch.filter(mask).slice(0, most).to_pylist():
            found.append(Hit("image", (row["image_id"],), row["key"], f"image {row['image_id']}"))
    return found[:most]

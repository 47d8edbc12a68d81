"""Sheets for papers and slides, drawn with Pillow: a neuron, its connections, a layer, the t-SNE grid of the images."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from atlas.errors import InputError, NotFoundError
from atlas.explain.kinds import SHOWN
from atlas.read.paper import FAINT, GAP, INK, Packs, fitting, letters, paper, paste, shortened
from atlas.store import layout, parts, seal
from atlas.store.files import Folder
from atlas.store.pictures import missing
from atlas.tables import BY_NAME

KINDS = ("neuron", "layer", "tsne-grid", "connections")
CROP = "crop"
"""The picture of an example that is no kind: the field cut from the image."""

CELLS = {"neuron": 112, "layer": 36, "tsne-grid": 48, "connections": 112}  # default side of a picture
COLLAGE = 3  # pictures along a side of a neuron on the sheet of its layer


def draw(
    folder: Folder,
    kind: str,
    *,
    layer: str | None = None,
    channel: int | None = None,
    side: str = "max",
    pictures: Sequence[str] = ("crop",),
    cell: int | None = None,
) -> Image.Image:
    """A sheet as an RGB image.

    kind `neuron`: the examples of `layer`, `channel` and `side`, a row for each of `pictures` (`crop`, or
    kinds), a column an example; `layer`: every neuron of `layer` as three by three examples by the first of
    `pictures`; `tsne-grid`: the thumbnails in their grid cells; `connections`: what feeds `layer`, `channel`, and
    what it feeds, each as its strongest crop. `cell`: side of one picture in pixels.

    Raises `InputError` for what cannot be drawn, `NotFoundError` for what the atlas does not have, `PictureError` for
    a picture whose bytes are not what the tables say.
    """
    if kind not in KINDS:
        raise InputError(f"--kind {kind!r}: expected one of {', '.join(KINDS)}")
    if cell is not None and not 4 <= cell <= 1024:
        raise InputError(f"--cell {cell}: expected 4 to 1024")
    _check_kinds(folder, pictures)
    size = cell or CELLS[kind]
    with Packs(folder) as packs:
        if kind == "tsne-grid":
            return _tsne_grid(folder, packs, size)
        if layer is None:
            raise InputError(f"--layer is missing: expected a layer for --kind {kind}")
        if kind == "layer":
            return _layer(folder, packs, layer, side, pictures[0], size)
        if channel is None:
            raise InputError(f"--channel is missing: expected a channel for --kind {kind}")
        if kind == "connections":
            return _connections(folder, packs, layer, channel, size)
        return _neuron(folder, packs, layer, channel, side, pictures, size)


def png(image: Image.Image) -> bytes:
    """A sheet as the bytes of a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=False)
    return stream.getvalue()


def _neuron(
    folder: Folder, packs: Packs, layer: str, channel: int, side: str, pictures: Sequence[str], size: int
) -> Image.Image:
    neuron = _the_neuron(folder, layer, channel)
    wanted = (pc.field("layer") == layer) & (pc.field("channel") == channel)
    wanted &= pc.field("side") == side
    examples = _rows(folder, "examples", wanted, ["rank", "image_id", "response", "duplicate_of", CROP])
    if not examples:
        why = neuron["why_min" if side == "min" else "why_max"] or "the build kept none"
        raise NotFoundError(f"neuron {layer}:{channel}: no examples of side {side} ({why})")
    examples.sort(key=lambda row: row["rank"])
    drawn = _drawn(folder, wanted, pictures)
    names = _class_names(folder, [row["image_id"] for row in examples])
    size = fitting(size, len(examples), len(pictures))
    small = max(9, size // 9)
    left, top, below = 6 * small, 3 * small, 3 * small
    step = size + GAP
    sheet, pen = paper(left + step * len(examples), top + step * len(pictures) + below)
    about = f"{layer}  channel {channel}  {side}   {_numbers(neuron)}"
    pen.text((GAP, GAP), about, INK, letters(round(1.3 * small)))
    for down, name in enumerate(pictures):
        middle = top + down * step + size // 2 - small // 2
        pen.text((GAP, middle), name, FAINT, letters(small))
    for across, example in enumerate(examples):
        x = left + across * step
        for down, name in enumerate(pictures):
            place = example[CROP] if name == CROP else drawn.get((channel, example["rank"], name))
            _crop(sheet, pen, packs, place or missing("not there"), (x, top + down * step), size, letters(small))
        again = " (again)" if example["duplicate_of"] is not None else ""
        y = top + step * len(pictures)
        pen.text((x, y), f"{example['response']:,.4g}{again}", INK, letters(small))
        pen.text((x, y + small + 2), shortened(pen, names[across], letters(small), size), FAINT, letters(small))
    return sheet


def _connections(folder: Folder, packs: Packs, layer: str, channel: int, size: int) -> Image.Image:
    neuron = _the_neuron(folder, layer, channel)
    rows = _edges(folder, layer, channel)
    blocks = [
        (f"{heading}, {sign}", [row for row in rows if row["direction"] == way and (row["contribution"] > 0) == up])
        for way, heading in (("from", "Fed by"), ("to", "Feeds"))
        for up, sign in ((True, "for it"), (False, "against it"))
    ]
    blocks = [(heading, edges) for heading, edges in blocks if edges]
    across = max(len(edges) for _, edges in blocks)
    size = fitting(size, across, len(blocks) + 1)
    small = max(9, size // 9)
    line, step = small + 3, size + GAP
    title, plain, words = letters(round(1.3 * small)), letters(small), _legend(rows)
    says = [f"{layer}  channel {channel}", _numbers(neuron)]
    width = max(
        step * across, step + math.ceil(max(title.getlength(says[0]), *map(plain.getlength, [says[1], *words])))
    )
    top = max(step, (len(words) + 3) * line + small)
    high = size + 8 * line  # its heading, and five lines below a picture
    sheet, pen = paper(width + 2 * GAP, top + high * len(blocks) + GAP)
    crops = _strongest(folder, [(layer, channel), *((row["other_layer"], row["other_channel"]) for row in rows)])
    _crop(sheet, pen, packs, crops.get((layer, channel)) or missing("no examples"), (GAP, GAP), size, plain)
    pen.text((GAP + step, GAP), says[0], INK, title)
    for down, text in enumerate([says[1], *words]):
        pen.text((GAP + step, GAP + 2 * small + down * line), text, FAINT, plain)
    for number, (heading, edges) in enumerate(blocks):
        y = top + number * high + small
        pen.text((GAP, y), heading, INK, title)
        for at, edge in enumerate(edges):
            x, low = GAP + at * step, y + 2 * line
            place = crops.get((edge["other_layer"], edge["other_channel"]))
            _crop(sheet, pen, packs, place or missing(edge["source"] or "no examples"), (x, low), size, plain)
            for down, text in enumerate(_said(edge)):
                # Of a layer's name its end tells most, so it is cut from the front.
                fits = shortened(pen, text[::-1], plain, size)[::-1] if down == 0 else shortened(pen, text, plain, size)
                pen.text((x, low + size + 1 + down * line), fits, FAINT if down == 0 else INK, plain)
    return sheet


def _edges(folder: Folder, layer: str, channel: int) -> list[dict[str, Any]]:
    """Rows of part `connections` of a neuron by rank. Raises `NotFoundError` with what to do, or why there are none."""
    name = "connections"
    part = parts.look(folder, seal.read_about(folder)["digest"], name)
    if part.state != "sealed":
        why = part.why or ("it is begun, not sealed" if part.folder.names("") else "there is none")
        raise NotFoundError(f"part {name} of {folder.location}: {why}; `neuron-atlas add {name}` makes it")
    wanted = pc.field("layer") == layer
    columns = ["direction", "rank", "other_layer", "other_channel", "source", "contribution", "drop", "drop_random"]
    rows = _rows(part.folder, name, wanted & (pc.field("channel") == channel), columns)
    if not rows:
        reasons = [row["why"] for row in _rows(part.folder, "additivity", wanted, ["why"]) if row["why"]]
        said = reasons[0] if reasons else "nothing feeds it, and it feeds nothing"
        raise NotFoundError(f"neuron {layer}:{channel}: no connections ({said})")
    return sorted(rows, key=lambda row: row["rank"])


def _legend(edges: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the numbers on a sheet of connections are, in lines."""
    lines = [
        "Each by its strongest example. Share: of all that is put",
        "into a response, up or down, mean over the strongest.",
    ]
    lines += ["Feeds: of the other neuron's response."] * any(edge["direction"] == "to" for edge in edges)
    if any(edge["drop"] is not None for edge in edges):
        lines += [
            "Lost: of the response of examples kept aside, without",
            "the first so many; beside it, without others as active.",
        ]
    return lines


def _said(edge: Mapping[str, Any]) -> list[str]:
    """The lines below a connection: where it is, its share with its sign, what its removal takes and a control."""
    lines = [edge["other_layer"] or edge["source"], f"channel {edge['other_channel']}", f"{edge['contribution']:+.1%}"]
    if edge["drop"] is not None:
        control = edge["drop_random"]
        lines += [f"first {edge['rank'] + 1}: lost {edge['drop']:z.0%}"]
        lines += ["others: not tested" if control is None else f"others: lost {control:z.0%}"]
    return lines


def _strongest(folder: Folder, neurons: Iterable[tuple[str | None, int]]) -> dict[tuple[str, int], dict[str, Any]]:
    """The crop of each neuron's strongest example."""
    asked = {each for each in neurons if each[0] is not None}
    wanted = pc.field("layer").isin(pa.array(sorted({str(layer) for layer, _ in asked}), pa.string()))
    wanted &= pc.field("channel").isin(pa.array(sorted({channel for _, channel in asked}), pa.int32()))
    wanted &= (pc.field("side") == "max") & (pc.field("rank") == 0)
    rows = _rows(folder, "examples", wanted, ["layer", "channel", CROP])
    return {(row["layer"], row["channel"]): row[CROP] for row in rows}


def _crop(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, packs: Packs, place: Mapping[str, Any],
    corner: tuple[int, int], size: int, font: Any,
) -> None:  # fmt: skip
    """A picture in its cell, or why there is none."""
    image = packs.load(place, size)
    paste(sheet, image, *corner, size)
    if image is None:
        why = shortened(pen, place["why"] or "not there", font, size - GAP)
        pen.text((corner[0] + GAP // 2, corner[1] + size // 2), why, FAINT, font)


def _the_neuron(folder: Folder, layer: str, channel: int) -> dict[str, Any]:
    """Its row. Raises `NotFoundError` with what there is instead."""
    wanted = (pc.field("layer") == layer) & (pc.field("channel") == channel)
    rows = _rows(folder, "neurons", wanted, ["mean", "max", "activation_rate", "dead", "why_max", "why_min"])
    if not rows:
        raise NotFoundError(f"neuron {layer}:{channel}: {folder.location} has none; expected {_known(folder, layer)}")
    return rows[0]


def _numbers(neuron: Mapping[str, Any]) -> str:
    rate = neuron["activation_rate"]
    about = f"max {neuron['max']:,.4g}, mean {neuron['mean']:,.4g}"
    return about if rate is None else f"{about}, above 0 for {rate:.1%}"


def _layer(folder: Folder, packs: Packs, layer: str, side: str, picture: str, size: int) -> Image.Image:
    channels = [row["channel"] for row in _rows(folder, "neurons", pc.field("layer") == layer, ["channel"])]
    if not channels:
        raise NotFoundError(f"layer {layer!r}: {folder.location} has none; expected {_known(folder, None)}")
    inside = COLLAGE * COLLAGE
    wanted = (pc.field("layer") == layer) & (pc.field("side") == side) & (pc.field("rank") < inside)
    shown: dict[int, list[tuple[int, Any]]] = {}
    if picture == CROP:
        for row in _rows(folder, "examples", wanted, ["channel", "rank", CROP]):
            shown.setdefault(row["channel"], []).append((row["rank"], row[CROP]))
    for (channel, rank, _), place in _drawn(folder, wanted, [picture]).items():
        shown.setdefault(channel, []).append((rank, place))
    across = math.ceil(math.sqrt(len(channels)))
    down = math.ceil(len(channels) / across)
    size = fitting(size, COLLAGE * across, COLLAGE * down)
    block, label = COLLAGE * size + 2 * GAP, max(8, size // 3)
    sheet, pen = paper(across * block + GAP, down * (block + label) + 3 * label)
    pen.text((GAP, GAP), f"{layer}  {len(channels)} neurons  {side}  {picture}", INK, letters(round(1.5 * label)))
    for number, channel in enumerate(sorted(channels)):
        x, y = GAP + number % across * block, 3 * label + number // across * (block + label)
        pen.text((x, y), str(channel), FAINT, letters(label))
        for rank, place in sorted(shown.get(channel, []), key=lambda each: each[0]):
            right, low = rank % COLLAGE * size, rank // COLLAGE * size
            paste(sheet, packs.load(place, size), x + right, y + label + low, size)
    return sheet


def _tsne_grid(folder: Folder, packs: Packs, size: int) -> Image.Image:
    placed = (pc.field("kind") == "tsne") & pc.is_valid(pc.field("grid_row"))
    rows = _rows(folder, "map", placed, ["image_id", "grid_row", "grid_column"])
    if not rows:
        raise NotFoundError(f"{folder.location}: no t-SNE grid; `neuron-atlas info` says why under map")
    ids = pa.array([row["image_id"] for row in rows], pa.int64())
    images = _rows(folder, "images", pc.field("image_id").isin(ids), ["image_id", "thumbnail"])
    thumbnails = {row["image_id"]: row["thumbnail"] for row in images}
    down, across = (1 + max(row[name] for row in rows) for name in ("grid_row", "grid_column"))
    size = fitting(size, across, down)
    sheet, _ = paper(across * size, down * size)
    for row in rows:
        picture = thumbnails.get(row["image_id"])
        image = packs.load(picture, size, square=True) if picture else None
        paste(sheet, image, row["grid_column"] * size, row["grid_row"] * size, size)
    return sheet


def _rows(folder: Folder, table: str, wanted: pc.Expression, columns: list[str]) -> list[dict[str, Any]]:
    """Rows of a table for which an expression holds."""
    if not folder.exists(layout.table(table)) and not BY_NAME[table].required:
        return []
    with folder.open(layout.table(table)) as stream:
        found: list[dict[str, Any]] = pq.read_table(stream, columns=columns, filters=wanted).to_pylist()
    return found


def _drawn(folder: Folder, wanted: pc.Expression, kinds: Sequence[str]) -> dict[tuple[int, int, str], Any]:
    """Pictures of examples by channel, rank and kind."""
    chosen = wanted & pc.field("kind").isin(pa.array([kind for kind in kinds if kind != CROP], pa.string()))
    rows = _rows(folder, "explanations", chosen, ["channel", "rank", "kind", "picture"])
    return {(row["channel"], row["rank"], row["kind"]): row["picture"] for row in rows}


def _check_kinds(folder: Folder, pictures: Sequence[str]) -> None:
    """Raises `InputError` for a picture that is neither the crop, nor a kind that is known or in the atlas."""
    unknown = [name for name in pictures if name not in (CROP, *SHOWN)]
    if not unknown:
        return
    there = {row["kind"] for row in _rows(folder, "explanations", pc.scalar(True), ["kind"])}
    for name in unknown:
        if name not in there:
            known = ", ".join(dict.fromkeys((CROP, *SHOWN, *sorted(there))))
            raise InputError(f"--pictures {name!r}: expected some of {known}")


def _known(folder: Folder, layer: str | None) -> str:
    """What the atlas has instead, in words."""
    layers = {row["layer"]: row["channels"] for row in _rows(folder, "layers", pc.scalar(True), ["layer", "channels"])}
    if layer in layers:
        return f"a channel from 0 to {layers[layer] - 1}"
    return f"a layer, one of {', '.join(layers)}"


def _class_names(folder: Folder, image_ids: Iterable[int]) -> list[str]:
    ids = list(image_ids)
    wanted = pc.field("image_id").isin(pa.array(ids, pa.int64()))
    rows = _rows(folder, "images", wanted, ["image_id", "class_name", "key"])
    names = {row["image_id"]: row["class_name"] or row["key"] for row in rows}
    return [names.get(image, "") for image in ids]

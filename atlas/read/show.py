"""How an atlas and what is in it show themselves in a notebook: HTML that is whole in itself.

No script, no style sheet, no address: pictures are inside, colours are the page's own (so it is right on light and on
dark paper), and what a notebook was saved with stays what it was after nbconvert.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from atlas.errors import AtlasError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from atlas.read.catalog import Atlas
    from atlas.read.objects import Class, Image, Layer, Neuron, Thing

SIDE = 96
"""Pixels of a picture's longer side."""
COLUMNS = 9
_LINE = "1px solid rgba(128,128,128,.35)"
_TABLE = "<table style='border-collapse:collapse;border:none;margin:4px 0'>{}</table>"
_CELL = "padding:2px 6px;text-align:left;vertical-align:top;background:transparent"


def of(thing: Thing) -> str:
    """A neuron, layer, image or class."""
    from atlas.read import objects

    if isinstance(thing, objects.Neuron):
        return _neuron(thing)
    if isinstance(thing, objects.Layer):
        return _layer(thing)
    return _image(thing) if isinstance(thing, objects.Image) else _class(thing)  # type: ignore[arg-type]


def atlas(opened: Atlas) -> str:
    """What an atlas is of, its layers and its parts."""
    about = opened.about
    counts, accuracy = about.get("counts") or {}, about.get("accuracy") or {}
    facts = {
        "network": (about.get("network") or {}).get("name"),
        **{name: f"{counts[name]:,}" for name in ("images", "quarantined", "layers", "neurons", "examples")
           if counts.get(name) is not None},
        **{name: value for name, value in accuracy.items() if isinstance(value, float)},
        "parts": ", ".join(f"{part.name} ({part.state})" for part in opened.parts),
        "digest": str(about.get("digest"))[:12],
    }  # fmt: skip
    columns = ("layer", "kind", "channels", "height", "width")
    layers = opened.query(f"SELECT {', '.join(columns)} FROM layers ORDER BY index").fetchall()
    return _box(f"Atlas {opened.name}", _facts(facts), _table(columns, layers))


def _neuron(neuron: Neuron) -> str:
    row = neuron.row
    names = neuron.opened.class_names
    facts = {
        "max": row["max"],
        "mean": row["mean"],
        "above 0 for": None if row["activation_rate"] is None else f"{100 * row['activation_rate']:.1f} % of images",
        "selectivity": row["selectivity"],
        "classes": ", ".join(names.get(top["class_id"], str(top["class_id"])) for top in row["top_classes"] or ()),
        "dead": "no image is above 0" if row["dead"] else None,
        "no strongest examples": row["why_max"],
    }
    trust = {kind: (score, n) for kind, score, n in neuron.rows("trust").select("kind, score, n").fetchall()}
    strongest = neuron.rows("examples").filter(f"side = 'max' AND rank < {COLUMNS}").order("rank")
    first = strongest.select("rank, response, image_id").fetchall()
    lines = [
        [_kind(kind, trust)]
        + [_shown(neuron, rank, kind, f"{_number(response)}, {image}") for rank, response, image in first]
        for kind in neuron.kinds
    ]  # fmt: skip
    return _box(f"{row['layer']} · {row['channel']}", _facts(facts), _grid(lines))


def _kind(kind: str, trust: Mapping[str, tuple[float | None, int]]) -> str:
    """A kind's label, with how far its pictures of this neuron can be trusted."""
    from atlas.explain.kinds import BY_NAME

    if kind not in BY_NAME:
        return f"{html.escape(kind)}<br><small>response, image</small>"
    score, n = trust.get(kind, (None, 0))
    said = f"trust {_number(score)} of {n} examples" if score is not None else "not put to the test"
    return f"{html.escape(BY_NAME[kind].label)}<br><small>{said}</small>"


def _shown(neuron: Neuron, rank: int, kind: str, caption: str) -> str:
    try:
        picture = neuron.picture("max", rank, kind)
    except AtlasError as error:  # a reason is shown in place of the picture
        return f"<small>{html.escape(str(error))}</small>"
    name = f"{neuron.row['layer']} {neuron.row['channel']}: {kind}, rank {rank}"
    return _figure(picture, name, caption if kind == "crop" else "")


def _layer(layer: Layer) -> str:
    row, store = layer.row, layer.opened.store
    facts = {
        "kind": row["kind"],
        "map": f"{row['channels']} × {row['height']} × {row['width']}",
        "field": "the whole input" if row["global_field"] else _size(row["field_size"]),
        "rectified": "yes" if row["rectified"] else "no",
    }
    first = store.layers.number(row["layer"], 0) if len(layer) else 0
    chosen = store.neurons.telling(range(first, first + len(layer)), 2 * COLUMNS).tolist()
    cells = [
        _shown(layer[n - first], 0, "crop", f"{n - first}: {_number(layer[n - first].row['max'])}") for n in chosen
    ]
    rows = [cells[at : at + COLUMNS] for at in range(0, len(cells), COLUMNS)]
    said = "strongest example of its most selective neurons: channel, response"
    return _box(
        f"Layer {row['layer']}", _facts(facts), f"<div><small>{said}</small></div>" if rows else "", _grid(rows)
    )


def _image(image: Image) -> str:
    row = image.row
    names = image.opened.class_names
    predicted = None if row["predicted"] is None else names.get(row["predicted"], str(row["predicted"]))
    facts = {
        "key": row["key"],
        "class": row["class_name"] if row["class_name"] is not None else row["class_id"],
        "predicted": predicted and f"{predicted} ({_number(row['probability'])})",
        "size": f"{row['width']} × {row['height']} pixels",
    }
    columns = ("layer", "channel", "side", "rank", "response")
    found = image.rows("examples").order("rank, layer, channel").select(", ".join(columns)).limit(12).fetchall()
    shown = ""
    for column in ("picture", "thumbnail"):
        if row[column]["pack"] is not None:
            shown = _figure(image.opened.picture_of(row[column]), str(row["key"]), "", 2 * SIDE)
            break
    said = "" if found else "<div><small>no example of a neuron</small></div>"
    return _box(f"Image {row['image_id']}", shown, _facts(facts), said, _table(columns, found))


def _class(each: Class) -> str:
    number = int(each.row["class_id"])
    counted = each.images.aggregate(f"count(*), avg((predicted = {number})::int)").fetchall()[0]
    facts = {"images": f"{counted[0]:,}", "right": None if counted[1] is None else f"{100 * counted[1]:.1f} %"}
    first = each.images.order("loss, image_id").limit(COLUMNS).select("image_id, thumbnail, probability")
    cells = [
        _figure(each.opened.picture_of(place), f"image {image}", f"{image}: {_number(probability)}")
        for image, place, probability in first.fetchall()
        if place["pack"] is not None
    ]
    columns = ("layer", "channel", "selectivity", "max")
    neurons = each.neurons.limit(COLUMNS).select(", ".join(columns)).fetchall()
    name = f"Class {number}" + (f" · {each.row['class_name']}" if each.row["class_name"] else "")
    return _box(name, _facts(facts), _grid([cells]), _table(columns, neurons))


def _size(size: Mapping[str, int]) -> str:
    return f"{size['y']} × {size['x']} pixels"


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else ("" if value is None else str(value))


def _figure(picture: Picture, name: str, caption: str, side: int = SIDE) -> str:
    """A picture inside the text, at most `side` pixels wide and high."""
    small = picture.convert("RGB")
    scale = side / max(small.size)
    if scale < 1:
        small = small.resize((max(1, round(small.width * scale)), max(1, round(small.height * scale))))
    stream = io.BytesIO()
    small.save(stream, "PNG")
    body = base64.b64encode(stream.getvalue()).decode()
    shape = f"width:{max(1, round(picture.width * scale))}px;height:{max(1, round(picture.height * scale))}px"
    pixels = ";image-rendering:pixelated" if scale > 1 else ""
    image = f'<img alt="{html.escape(name)}" src="data:image/png;base64,{body}" style="{shape}{pixels};max-width:none">'
    return f"{image}<br><small>{html.escape(caption)}</small>" if caption else image


def _facts(facts: Mapping[str, Any]) -> str:
    said = [
        f"<span style='opacity:.7'>{html.escape(name)}</span> {html.escape(_number(value))}"
        for name, value in facts.items()
        if value not in (None, "")
    ]
    return f"<div>{' &nbsp; '.join(said)}</div>" if said else ""


def _grid(rows: Iterable[Sequence[str]]) -> str:
    """Cells that are HTML already."""
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows if row)
    return _TABLE.format(lines) if lines else ""


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th style='{_CELL}'>{html.escape(name)}</th>" for name in columns)
    lines = "".join(f"<tr>{''.join(_cell(html.escape(_number(v))) for v in row)}</tr>" for row in rows)
    return _TABLE.format((f"<tr>{head}</tr>" if head else "") + lines) if lines else ""


def _cell(inside: str) -> str:
    return f"<td style='{_CELL}'>{inside}</td>"


def _box(title: str, *parts: str) -> str:
    style = f"border:{_LINE};padding:8px 10px;overflow-x:auto;color:inherit;background:transparent"
    return f"<div style='{style}'><div><b>{html.escape(title)}</b></div>{''.join(parts)}</div>"

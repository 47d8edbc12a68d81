"""Atlases, layers and rows as text for a terminal."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from atlas.errors import InputError, SettingsError
from atlas.store import parts
from atlas.words import encoders

if TYPE_CHECKING:
    from atlas.read.catalog import Atlas


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows under a header, in columns; numbers to the right."""
    cells = [[str(c) for c in row] for row in rows]
    widths = [max(len(h), *(len(row[i]) for row in cells)) if cells else len(h) for i, h in enumerate(header)]
    right = [all(isinstance(row[i], int | float) for row in rows) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()

    return "\n".join([line(list(header)), line(["-" * w for w in widths]), *(line(row) for row in cells)])


def info(opened: Atlas) -> str:
    """What an atlas is: network, data, counts, how far its pictures can be believed."""
    about = opened.about
    counts, network, data = about["counts"], about["network"], about["data"]
    index, timings = about.get("index") or {}, about.get("timings") or {}
    lines = [
        f"{about['name']}: {network['name']} over {data['count']:,} images of {', '.join(data['sources'])}",
        f"  neurons      {counts['neurons']:,} in {counts['layers']} layers, {counts.get('dead', 0)} dead",
        f"  images       {counts['images']:,} scanned, {counts['quarantined']} in quarantine, "
        f"{counts.get('classes', 0)} classes",
        f"  accuracy     {_accuracy(about)}",
        f"  examples     {counts['examples']:,}; response sample of {counts.get('sample', 0):,} images",
        f"  index        {index.get('kind')}, recall@10 {_rounded(index.get('recall_at_10'))}, cosine",
        f"  digest       {about['digest']}",
        f"  created      {about.get('created')}",
        "  took         " + ", ".join(f"{k} {timings[k]} s" for k in timings if k != "chunks_redone"),
    ]  # fmt: skip
    lines += [*parts_of(opened), "", *words_on_trust(about), *words_on_axes(about), "", atlas_layers(opened)]
    return "\n".join(lines)


def _accuracy(about: dict[str, Any]) -> str:
    accuracy = about["accuracy"]
    if accuracy["top1"] is not None:
        return f"{100 * accuracy['top1']:.1f} % top-1 of {accuracy['images']:,}"
    if accuracy.get("mean_average_precision") is not None:
        found = f"{100 * accuracy['mean_average_precision']:.1f} % mean average precision"
        return f"{found} of {accuracy['images']:,} images with lists of classes"
    features = about["settings"].get("no_classes")
    return f"none: the {'network gives features, no classes' if features else 'images have no classes'}"


def offered(location: str | None) -> str:
    """Which parts there are: what each is and needs; of an atlas also its state, and what it takes on one worker."""
    from jobs.offers import offered as found
    from jobs.progress import duration

    header = ("part", "is", "needs", *(("state", "takes about") if location else ()))
    rows = []
    for each in found(location):
        row: tuple[Any, ...] = (each.name, each.about, ", ".join(each.needs) or "nothing")
        if location:
            row += (each.state or "-", "" if each.seconds is None else duration(each.seconds))
        rows.append(row)
    return table(header, rows)


def parts_of(opened: Atlas) -> list[str]:
    """The parts of an atlas, a line each, and what a person wants first in words (`in_words` of their summary)."""
    lines = []
    for part in parts.listed(opened.folder, str(opened.about["digest"])):
        summary = part.about.get("summary", {})
        figures = ", ".join(f"{name} {value}" for name, value in summary.items() if name != "in_words")
        said = {"sealed": figures or "sealed", "begun": "begun, not sealed", "damaged": f"DAMAGED: {part.why}"}
        lines.append(f"  part         {part.name}: {said[part.state]}")
        lines += [f"               {line}" for line in summary.get("in_words", [])]
    return lines


def found(opened: Atlas, words: str, k: int, encoder: str | None = None) -> str:
    """Neurons whose words match, with why; with an encoder also those whose crops lie nearest to the words.

    Raises `SettingsError` for another encoder than that of the part, `NetworkError` for one that cannot be made.
    """
    rows = [
        (f"{each.layer} {each.channel}", each.side, each.words, f"{each.held_out:.3f}", f"{each.held_out_excess:.1f}")
        for each in opened.find(words, k)
    ]
    header = ("neuron", "side", "words", "held out", "deviations above chance")
    said = [table(header, rows) if rows else f"no neuron stands for {words!r} beyond chance"]
    if encoder is not None:
        said += ["", _by_crops(opened, words, k, encoder)]
    elif opened.store.embeddings.encoder is not None:
        said += ["", f"any words are searched with --encoder, the one of digest {opened.encoder[:12]}"]
    return "\n".join(said)


def _by_crops(opened: Atlas, words: str, k: int, name: str) -> str:
    wanted, loaded = opened.encoder, encoders.load(name)
    if loaded.digest != wanted:
        raise SettingsError(
            f"--encoder {name}: not the one that the part words was made with (digest {loaded.digest[:12]}, expected "
            f"{wanted[:12]})"
        )
    rows = [(f"{each.layer} {each.channel}", each.why) for each in opened.alike(loaded.text(words), k)]
    said = f"crops nearest to {words!r}; any words have nearest ones: this is no test against chance"
    return f"{said}\n{table(('neuron', 'why'), rows)}"


def neighbours(opened: Atlas, image_id: int, k: int) -> str:
    """The nearest images by code, with their cosine similarity."""
    found = opened.neighbours(image_id, k)
    ids = ", ".join(str(each.image_id) for each in found) or "-1"
    named = opened.query(f"SELECT image_id, key, class_name FROM images WHERE image_id IN ({ids})").fetchall()
    about = {row[0]: row[1:] for row in named}
    rows = [
        (each.image_id, round(each.similarity, 4), about[each.image_id][1] or "", about[each.image_id][0])
        for each in found
    ]
    return table(("image_id", "similarity", "class", "key"), rows)


def words_on_trust(about: dict[str, Any]) -> list[str]:
    """How far each kind of picture can be believed, in words, as the build found it."""
    found = about.get("trust", {}).get("words", [])
    return [f"  {line}" for line in found] or ["  evidence     none was asked for"]


def words_on_axes(about: dict[str, Any]) -> list[str]:
    """Whether the units' own axes are special (Szegedy et al. 2014), in words, as the build found it."""
    return [f"  axes         {line}" for line in about.get("compared", {}).get("axis", [])]


def _rounded(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.4f}"


def atlas_layers(opened: Atlas) -> str:
    """Layers of an atlas, with shapes and fields."""
    rows = opened.query("SELECT * FROM layers ORDER BY index").to_arrow_table().to_pylist()
    return _layers([{**row, "field": {w: row[f"field_{w}"] for w in ("size", "stride", "start")}} for row in rows])


def network_layers(
    name: str,
    crop: int | None = None,
    channels: int | None = None,
    output: str | None = None,
    no_classes: bool = False,
) -> str:
    """Layers of a network that needs no weights to be looked at, and what cannot be recorded, with the cure."""
    from atlas.network import layers, load
    from atlas.network.graph import trace

    module = load.bare(name, load.Ask(channels, output, not no_classes))
    preprocessing = load.default_preprocessing(name, channels)
    side = crop or preprocessing.crop
    graph = trace(module, layers.example(module, side, side, preprocessing.channels))
    found, left_out = layers.layers_of(graph), layers.impossible_layers(graph)
    rows = []
    for layer in found:
        f = layer.field
        rows.append(
            {
                **{n: getattr(layer, n) for n in ("kind", "channels", "height", "width", "rectified")},
                **{n: getattr(layer, n) for n in ("prefix_tokens", "normalised", "why")},
                "layer": layer.name,
                "global_field": f.global_field,
                "gated": f.gated,
                "field": {w: {"y": getattr(f.y, w), "x": getattr(f.x, w)} for w in ("size", "stride", "start")},
            }
        )
    lines = [_layers(rows)]
    names = [layer.name for layer in found] + list(left_out)
    lines += [f"left out: {wrong}: {why}" for wrong, why in left_out.items()]
    whole = [layer.name for layer in found if layer.field.global_field and not layer.field.gated]
    if whole:
        lines.append(f"without those that see the whole input: --exclude '{','.join(layers.wildcards(whole, names))}'")
    return "\n".join(lines)


def _layers(rows: list[dict[str, Any]]) -> str:
    header = ("layer", "kind", "channels", "map", "field", "stride", "start", "rectified", "batch norm", "why")
    return table(
        header,
        [
            (
                row["layer"],
                row["kind"],
                row["channels"],
                f"{row['height']} x {row['width']}" + (f" + {row['prefix_tokens']}" if row["prefix_tokens"] else ""),
                _seen(row),
                _pair(row["field"]["stride"]),
                _pair(row["field"]["start"]),
                "yes" if row["rectified"] else "no",
                row["normalised"] or "",
                row.get("why") or "",
            )
            for row in rows
        ],
    )


def _seen(row: dict[str, Any]) -> str:
    """The field in pixels; with a gate that sees more, so marked."""
    if row["global_field"] and not row["gated"]:
        return "whole input"
    return _pair(row["field"]["size"], " x ") + (", gated" if row["gated"] else "")


def _pair(value: dict[str, int], between: str = ", ") -> str:
    return str(value["y"]) if value["y"] == value["x"] and between == ", " else f"{value['y']}{between}{value['x']}"


def query(opened: Atlas, sql: str, form: str) -> None:
    """Runs a query and writes its rows to stdout. Raises `InputError` for what DuckDB refuses."""
    import duckdb
    import pyarrow as pa
    import pyarrow.csv

    try:
        relation = opened.query(sql)
        if form == "table":
            print(relation)
            return
        result = relation.to_arrow_table()
    except duckdb.Error as error:
        raise InputError(f"query: {str(error).strip().splitlines()[0]}") from None
    if form == "csv":
        sink = io.BytesIO() if sys.stdout.isatty() else sys.stdout.buffer
        pyarrow.csv.write_csv(_flat(result), sink)
        if isinstance(sink, io.BytesIO):
            print(sink.getvalue().decode(), end="")
    elif form == "json":
        rows = _told_apart(result).to_pylist()
        print(json.dumps([_plain(row) for row in rows], default=str, allow_nan=False))
    else:
        with pa.ipc.new_stream(sys.stdout.buffer, result.schema) as writer:
            writer.write_table(result)


def _told_apart(result: Any) -> Any:
    """Columns that have the same name with a number behind it: an object has no name twice."""
    taken: set[str] = set()
    names = []
    for name in result.column_names:
        free, number = name, 1
        while free in taken or (number > 1 and free in result.column_names):
            free, number = f"{name}_{number}", number + 1
        taken.add(free)
        names.append(free)
    return result.rename_columns(names)


def _plain(value: Any) -> Any:
    """A value as JSON has it: what is no finite number is null, bytes are their hexadecimal digits."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bytes):
        return value.hex()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat(result: Any) -> Any:
    """Lists and structs as JSON text: a CSV cell is one value."""
    import pyarrow as pa

    for i, field in enumerate(result.schema):
        if pa.types.is_nested(field.type):
            texts = [json.dumps(v, default=str) for v in result.column(i).to_pylist()]
            result = result.set_column(i, field.name, pa.array(texts, pa.string()))
    return result

"""What layers keep of an image: the image made again from each; and the map as the network sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from typing_extensions import TypedDict

from api.http.described import closed, doc
from api.views.speaker import Speaker
from api.views.values import Picture
from api.views.view import Section

TABLE = "inversions"


@closed
class Inversion(TypedDict):
    """One picture made again from what a layer keeps; every number is of the stored 8-bit file, read again."""

    layer: Annotated[str, doc("module whose output was inverted; logits, log_probabilities, code too", "features.3")]
    depth: Annotated[int, doc("place in the row, from the input", 2)]
    repeat: Annotated[int, doc("from 0: the same from another start", 0)]
    error: Annotated[float | None, doc("squared distance to what the layer keeps, over its own square", 0.03)]
    error_other: Annotated[float | None, doc("the same to another image, drawn at random", 1.1)]
    psnr: Annotated[float | None, doc("likeness to the image's pixels, dB", 17.2)]
    rank: Annotated[int | None, doc("place of the original among all images by the picture's code, from 0", 0)]
    picture: Annotated[Picture, doc("the picture, as large as the network's input")]


@closed
class Inversions(TypedDict):
    """An image made again from what layers keep of it."""

    items: Annotated[list[Inversion], doc("from input to output, then by repeat", [])]
    images: Annotated[int, doc("images of the atlas: what a rank is out of", 1000)]


@closed
class Cell(TypedDict):
    """A cell of the map, made from the mean code of its images."""

    row: Annotated[int, doc("row of the cell", 0)]
    column: Annotated[int, doc("column of the cell", 0)]
    error: Annotated[float | None, doc("squared distance to the mean code, over its own square", 0.01)]
    error_other: Annotated[float | None, doc("the same to another cell's, drawn at random", 0.6)]
    picture: Annotated[Picture, doc("the picture, as large as the network's input")]


@closed
class Seen(TypedDict):
    """The map as the network sees it."""

    columns: Annotated[int, doc("columns of cells", 6)]
    items: Annotated[list[Cell], doc("row by row, the first repeat of each", [])]


_NAMES = [name for name in Inversion.__annotations__ if name != "picture"]


def _of_image(say: Speaker, at: Mapping[str, Any]) -> Inversions | None:
    items: list[Any] = [
        {**{name: row[name] for name in _NAMES}, "picture": say.cell(row["picture"], row["part"])}
        for row in sorted(say.rows(TABLE, at), key=lambda row: (row["depth"], row["repeat"]))
    ]
    return {"items": items, "images": say.store.images.count} if items else None


def _of_atlas(say: Speaker, at: Mapping[str, Any]) -> Seen | None:
    rows = [row for row in say.table(TABLE).to_pylist() if row["image_id"] is None and row["repeat"] == 0]
    if not rows:
        return None
    items: list[Any] = [
        {"row": row["grid_row"], "column": row["grid_column"], "error": row["error"],
         "error_other": row["error_other"], "picture": say.cell(row["picture"], row["part"])}
        for row in sorted(rows, key=lambda row: (row["grid_row"], row["grid_column"]))
    ]  # fmt: skip
    return {"columns": 1 + max(item["column"] for item in items), "items": items}


IMAGE = Section(
    TABLE, "image", "What layers keep of it", Inversions, _of_image, "sections/inversions.html", part=TABLE, table=TABLE
)
ATLAS = Section(
    TABLE, "atlas", "The map as the network sees it", Seen, _of_atlas, "sections/inverted_map.html", part=TABLE
)

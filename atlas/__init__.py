"""neuron-atlas: what each neuron of a convolutional network sees, over a whole data set.

    images ─► scan ─► merge ─► harvest ─► codes ─► sealed folder ─► read

`atlas.images` lists, reads and decodes the data; `atlas.network` loads a network and finds its layers and fields;
`atlas.scan` runs it over every image and folds the partial results; `atlas.explain` draws a neuron back into an image
and says what the picture is worth; `atlas.harvest` runs the winners once more; `atlas.codes` makes index and map,
`atlas.analyse` compares neurons; `atlas.store` is the folder's format; `atlas.read` reads a sealed folder. Importing
this imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from atlas.read.catalog import Atlas

__all__ = ["open"]


def open(location: str | Path, *, verify: bool = True) -> Atlas:  # noqa: A001
    """A sealed atlas: `.neurons`, `.examples`, … are DuckDB relations, methods mirror the commands.

    `verify`: the tables and the index are compared with SHA256SUMS first. Raises `FolderError`.
    """
    from atlas.read.catalog import Atlas

    return Atlas(location, verify=verify)

"""neuron-atlas: what each neuron of a convolutional network sees, over a whole data set.

    images ─► scan ─► merge ─► harvest ─► codes ─► sealed folder ─► read

`atlas.scan` runs the network over every image, a unit at a time, and folds the partial results; `atlas.harvest` runs the
winners once more, cuts them to their field and draws them back; `atlas.codes` makes the index and the map;
`atlas.store` is the folder's format; `atlas.read` reads a sealed folder. Importing this imports nothing heavy.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atlas.read.catalog import Atlas


def open(location: str | Path) -> Atlas:
    """A sealed atlas, its tables and index compared with their checksums. Raises `FolderError` where it is not sound."""
    from atlas.read.catalog import Atlas

    return Atlas(location)

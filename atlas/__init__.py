"""neuron-atlas: what each neuron of a convolutional network sees, over a whole data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from atlas.read.catalog import Atlas

__all__ = ["open"]


def open(folder: str | Path, *, verify: bool = True) -> Atlas:
    """Opens a sealed atlas: `.neurons`, `.examples`, … are DuckDB relations, methods mirror the commands.

    `verify`: the tables and the index are compared with SHA256SUMS first. Raises `FolderError`.
    """
    from atlas.read.catalog import Atlas

    return Atlas(folder, verify=verify)

"""Where text-image encoders come from: a row a source. The first row that takes a name makes the encoder.

Nothing here loads torch; the row's module does where its encoder needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from atlas.errors import NetworkError

if TYPE_CHECKING:
    from PIL import Image

    from atlas.arrays import Doubles


class Encoder(Protocol):
    """Images and texts as vectors of one space, in which a text lies near the images that it describes."""

    def images(self, images: Sequence[Image.Image]) -> Any:
        """Vectors (images, dimensions) of RGB images of any sizes; each call has the same number of them."""

    def texts(self, texts: Sequence[str]) -> Any:
        """Vectors (texts, dimensions)."""


@dataclass(frozen=True)
class Loaded:
    """An encoder, ready. `digest`: SHA-256 over its code, or its architecture and preprocessing, and its weights."""

    name: str
    digest: str
    encoder: Encoder

    def images(self, images: Sequence[Image.Image]) -> Doubles:
        """Unit vectors (images, dimensions). Raises `NetworkError` where the encoder gives something else."""
        return self._units(self.encoder.images(images), len(images), "images")

    def text(self, text: str) -> Doubles:
        """The unit vector (dimensions,) of a text. Raises `NetworkError` where the encoder gives something else."""
        return np.asarray(self._units(self.encoder.texts([text]), 1, "texts")[0])

    def _units(self, given: Any, count: int, what: str) -> Doubles:
        vectors = np.asarray(given, np.float64)
        if vectors.ndim != 2 or len(vectors) != count or not vectors.size:
            raise NetworkError(
                f"--encoder {self.name}: {what}() gave numbers of shape {vectors.shape}, expected ({count}, dimensions)"
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise NetworkError(f"--encoder {self.name}: {what}() gave a vector of length 0, or no finite numbers")
        return np.asarray(vectors / lengths)


@dataclass(frozen=True)
class Source:
    """A source of encoders. `takes`: whether an `--encoder` is one of its names; `about` says what they look like.

    Its module has `make(name, device) -> (encoder, digest)`.
    """

    name: str
    about: str
    takes: Callable[[str], bool]
    module: str


SOURCES: tuple[Source, ...] = (
    Source(
        "open_clip",
        "open_clip:NAME[:FILE], a name of open_clip.list_models() with its weights",
        lambda name: name.startswith("open_clip:"),
        "atlas.words.of_open_clip",
    ),
    Source("file", "FILE.py:FACTORY", lambda name: ".py:" in name, "atlas.words.of_file"),
)


def load(name: str, device: str = "cpu") -> Loaded:
    """The encoder of that name. `device`: where it runs, "cpu" or "cuda".

    Raises `NetworkError` for a name that no source takes, or an encoder that cannot be made.
    """
    found = next((source for source in SOURCES if source.takes(name)), None)
    if found is None:
        raise NetworkError(f"--encoder {name}: expected {' or '.join(source.about for source in SOURCES)}")
    encoder, digest = importlib.import_module(found.module).make(name, device)
    return Loaded(name, digest, encoder)

"""What a part `words` may be told."""

from __future__ import annotations

from dataclasses import dataclass

from atlas import options
from atlas.options import option


@dataclass(frozen=True)
class WordsSettings:
    """Options of `add words`."""

    concepts: str | None = option(
        None, "a TSV, CSV or Parquet file of concepts: class folder or image key, concept, and a third column that "
        "tells concepts of one name apart", contents="file",
    )  # fmt: skip
    encoder: str | None = option(
        None, "a text-image encoder for free words, over the strongest crops: open_clip:NAME[:FILE] or FILE.py:FACTORY",
        contents="encoder",
    )  # fmt: skip
    length: int = option(3, "concepts in a formula at most", low=1, high=3)
    beam: int = option(10, "formulas of each length that are extended", low=1, high=100)
    least: int = option(5, "images of each half that a formula holds for at least", low=2, high=10_000)
    formulas: int = option(3, "formulas stated of a neuron and side", low=1, high=10)
    shuffles: int = option(
        10_000, "shuffled orders of images that the null of the search is drawn from", low=100, high=1_000_000
    )
    seed: int = option(0, "what the halves and the shuffles follow from", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        options.check(self)

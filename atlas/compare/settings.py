"""What a part `compare` may be told."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from atlas import options
from atlas.options import option

ANSWERS = (".parquet", ".csv", ".tsv")
"""Endings of a table of answers; all else is an atlas."""


@dataclass(frozen=True)
class CompareSettings:
    """Options of `add compare`."""

    to: str = option(
        MISSING, "the other atlas; or a table of answers (Parquet, CSV, TSV) with columns key and class",
        contents="either",
    )  # fmt: skip
    seed: int = option(0, "what shuffles and halves follow from", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        options.check(self)

    @property
    def answers(self) -> bool:
        """Whether the other is a table of answers."""
        return self.to.lower().endswith(ANSWERS)

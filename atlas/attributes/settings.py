"""What a part `attributes` may be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from atlas.errors import SettingsError


@dataclass(frozen=True)
class AttributesSettings:
    """Options of `add attributes`."""

    table: str | None = field(
        default=None,
        metadata={"help": "a Parquet, CSV or TSV file: column key (and source), and a column for each attribute"},
    )
    human: str | None = field(
        default=None, metadata={"help": "column of --table that holds people's answers: names of classes, or numbers"}
    )

    def __post_init__(self) -> None:
        if self.human is not None and self.table is None:
            raise SettingsError(f"--human {self.human}: expected a table with this column; give it with --table FILE")

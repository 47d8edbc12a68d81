"""What a part `attributes` may be told."""

from __future__ import annotations

from dataclasses import dataclass

from atlas import options
from atlas.errors import SettingsError
from atlas.options import option


@dataclass(frozen=True)
class AttributesSettings:
    """Options of `add attributes`."""

    table: str | None = option(
        None,
        "a Parquet, CSV or TSV file: column key (and source), and one column an attribute of images",
        contents="file",
    )
    human: str | None = option(
        None, "column of --table that holds people's answers, by name or number of the class; they stand beside the "
        "network's"
    )  # fmt: skip

    def __post_init__(self) -> None:
        options.check(self)
        if self.human is not None and self.table is None:
            raise SettingsError(f"--human {self.human}: expected a table with this column; give it with --table FILE")

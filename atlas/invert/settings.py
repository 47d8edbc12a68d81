"""What `add inversions` takes; torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from atlas import options
from atlas.options import option


@dataclass(frozen=True)
class InversionSettings:
    """Options of the part. Raises `SettingsError` for a value outside its range."""

    inversions: int = option(16, "images, by a seeded hash", low=0, high=100_000)
    keys: tuple[str, ...] = option((), "keys of images to invert beside these")
    layers: tuple[str, ...] = option(
        ("auto",), "auto (six layers from input to output, and both ends), or modules; logits and log_probabilities too"
    )
    cells: int = option(
        6,
        "rows and columns of the map's grid, of each of whose cells the mean code is inverted; 0: none",
        low=0,
        high=50,
    )
    repeats: int = option(2, "pictures of each, from different starts", low=1, high=16)
    steps: int = option(200, "steps of descent", low=1, high=100_000)
    rows: int = option(8, "pictures a call of the network; part of the result's last bits", low=1, high=1024)
    seed: int = option(0, "seed of all that is random", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        options.check(self)

"""Options of the parts that this room makes; torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from atlas import options
from atlas.options import option
from atlas.types import Side

SIDES: tuple[Side, ...] = ("max", "min")
"""Sides with an order of strength."""


@dataclass(frozen=True)
class OcclusionOptions:
    """What `add occlusion` takes. Raises `SettingsError` for a value outside its range."""

    examples: int = option(1, "strongest examples a neuron and side that get a map", low=1, high=1000)
    sides: tuple[str, ...] = option(("max",), "sides whose examples get a map", choices=SIDES)

    def __post_init__(self) -> None:
        options.check(self)

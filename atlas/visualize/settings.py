"""What `add visualizations` takes; torch-free."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from atlas.errors import SettingsError

METHODS = ("fourier", "maco", "l2")


def _option(default: Any, help: str, **more: Any) -> Any:
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True)
class VisualizationSettings:
    """Options of the part. Raises `SettingsError` for a value outside its range."""

    neurons: str = _option("8", "neurons a layer, by a seeded hash, or all; 0 for none")
    layers: tuple[str, ...] = _option(("auto",), "auto (all of the atlas), or names; * matches any text")
    classes: str = _option("0", "classes, by a seeded hash, or all")
    methods: tuple[str, ...] = _option(("fourier",), "fourier, maco, l2", choices=METHODS)
    signs: tuple[str, ...] = _option(("+", "-"), "+ what drives a neuron most, - least", choices=("+", "-"))
    repeats: int = _option(2, "pictures of each, from different starts", range=(1, 64))
    steps: int = _option(128, "steps of ascent", range=(1, 100_000))
    sensitivity: bool = _option(False, "also each neuron's response to every other's picture, a layer")
    rows: int = _option(16, "pictures a call of the network; part of the result's last bits", range=(1, 1024))
    seed: int = _option(0, "seed of all that is random")

    def __post_init__(self) -> None:
        for name, value in (("neurons", self.neurons), ("classes", self.classes)):
            if value != "all" and not value.isdecimal():
                raise SettingsError(f"--{name} {value}: expected a number from 0, or all")
        for name in ("repeats", "steps", "rows"):
            low, high = self.__dataclass_fields__[name].metadata["range"]
            if not low <= getattr(self, name) <= high:
                raise SettingsError(f"--{name} {getattr(self, name)}: expected {low} to {high}")
        for name in ("methods", "signs"):
            known = self.__dataclass_fields__[name].metadata["choices"]
            odd = [value for value in getattr(self, name) if value not in known]
            if odd or not getattr(self, name):
                raise SettingsError(f"--{name} {','.join(odd)}: expected one or more of {', '.join(known)}")

    @property
    def directions(self) -> tuple[int, ...]:
        """The signs as 1 and −1, in that order."""
        return tuple(sign for sign, word in ((1, "+"), (-1, "-")) if word in self.signs)

"""What `add visualizations` takes; torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from atlas import options
from atlas.errors import SettingsError
from atlas.options import option

METHODS = ("fourier", "maco", "l2")
MOST = 1_000_000


@dataclass(frozen=True)
class VisualizationSettings:
    """Options of the part. Raises `SettingsError` for a value outside its range."""

    neurons: str = option("8", "neurons a layer, by a seeded hash: a number, or all")
    layers: tuple[str, ...] = option(("auto",), "auto (all of the atlas), or names; * matches any text")
    classes: str = option("0", "classes, by a seeded hash: a number, or all")
    methods: tuple[str, ...] = option(("fourier",), "how pictures of neurons are made", choices=METHODS)
    class_methods: tuple[str, ...] = option(("l2", "fourier"), "how pictures of classes are made", choices=METHODS)
    signs: tuple[str, ...] = option(("+", "-"), "+ what drives a neuron most, - least", choices=("+", "-"))
    repeats: int = option(2, "pictures of each, from different starts", low=1, high=64)
    steps: int = option(128, "steps of ascent", low=1, high=100_000)
    sensitivity: bool = option(False, "also each neuron's response to every other's picture, a layer")
    judge: str | None = option(None, "another network that scores the pictures of classes, as for --network")
    judge_weights: str | None = option(None, "its weights", contents="file")
    rows: int = option(16, "pictures a call of the network; part of the result's last bits", low=1, high=1024)
    seed: int = option(0, "seed of all that is random", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        options.check(self)
        for name in ("neurons", "classes"):
            value = getattr(self, name)
            if value != "all" and not (value.isascii() and value.isdecimal() and int(value) <= MOST):
                raise SettingsError(f"--{name} {value}: expected a number from 0, or all")
        if (self.judge is None) != (self.judge_weights is None):
            raise SettingsError("--judge: give --judge and --judge-weights, or neither")

    @property
    def directions(self) -> tuple[int, ...]:
        """The signs as 1 and −1, in that order."""
        return tuple(sign for sign, word in ((1, "+"), (-1, "-")) if word in self.signs)


def count(asked: str, there: int) -> int:
    """How many of `there` a text like `8` or `all` asks for."""
    return there if asked == "all" else min(int(asked), there)

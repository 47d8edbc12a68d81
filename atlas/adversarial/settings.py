"""What `add adversarial` takes; torch-free."""

from __future__ import annotations

from dataclasses import dataclass

from atlas import options
from atlas.errors import SettingsError
from atlas.options import option


@dataclass(frozen=True)
class AdversarialSettings:
    """Options of the part. Raises `SettingsError` for a value outside its range."""

    attacked: int = option(32, "images that are classified rightly, by a seeded hash", low=0, high=100_000)
    levels: tuple[str, ...] = option(("1", "2", "4", "8"), "bounds of L∞, in steps of 8 bits (1 is 1/255), rising")
    steps: int = option(10, "steps of each attack", low=1, high=10_000)
    bisections: int = option(6, "halvings by which the smallest L2 norm is found", low=0, high=30)
    targeted: bool = option(True, "also towards one other class an image, drawn at random")
    fooling: int = option(10, "classes that noise is made to be taken for, by a seeded hash", low=0, high=100_000)
    fooling_steps: int = option(100, "steps of these", low=1, high=100_000)
    rows: int = option(16, "pictures a call of the network; part of the result's last bits", low=1, high=1024)
    seed: int = option(0, "seed of all that is random", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        options.check(self)
        found = [int(each) if each.isascii() and each.isdecimal() else 0 for each in self.levels]
        if not found or found != sorted(set(found)) or not 1 <= found[0] <= found[-1] <= 255:
            raise SettingsError(f"--levels {','.join(self.levels)}: expected rising numbers from 1 to 255")

    @property
    def bounds(self) -> list[int]:
        """The bounds of L∞ in steps of 8 bits."""
        return [int(each) for each in self.levels]

"""What a response is measured from."""

from __future__ import annotations

from dataclasses import dataclass

from atlas.arrays import Floats


@dataclass(frozen=True)
class References:
    """The reference of each neuron (neurons,): an example has something to explain where its response is above `high`
    (side min: below `low`), and a share of a response is a share of what lies beyond.

    0 where a rectifier follows, else the median of that side's responses in the response sample.
    """

    high: Floats
    low: Floats

    def of(self, side: str) -> Floats:
        """Those of a side; `spread` is measured as `max`."""
        return self.low if side == "min" else self.high

"""Neurons by their words, of all parts that name neurons."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from atlas.arrays import Doubles, Ints
    from atlas.words.find import WordIndex

COLUMNS = ("layer", "channel", "side", "words", "q", "held_out", "held_out_excess")


class Named(NamedTuple):
    """A neuron that was found, and why: its formula, and how well that holds on the held-out half."""

    layer: str
    channel: int
    side: str
    words: str
    held_out: float
    held_out_excess: float


class OfLayer(NamedTuple):
    """A concept in a layer: neurons that stand for it, and the largest and the middle excess (deviations)."""

    layer: str
    neurons: int
    best: float
    median: float


@dataclass
class Words:
    """The table `words` of an atlas; empty where it has no such part. The index is made at the first question."""

    table: pa.Table

    @cached_property
    def index(self) -> WordIndex:
        from atlas.words.find import WordIndex

        return WordIndex(self.table)

    @cached_property
    def _layers(self) -> tuple[Ints, list[str]]:
        coded = self.table.column("layer").combine_chunks().dictionary_encode()
        return coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), coded.dictionary.to_pylist()

    @cached_property
    def _excess(self) -> Doubles:
        return np.asarray(self.table.column("held_out_excess").fill_null(-np.inf).to_numpy(), np.float64)

    @property
    def formulas(self) -> list[str]:
        """Every formula of the table, also those that do not beat chance."""
        return [words for words in self.table.column("words").unique().to_pylist() if words is not None]

    def find(self, q: str, most: int = 50) -> list[Named]:
        """Neurons whose words match, the best on the held-out half first."""
        return self._rows(self.index.matches(q, most).tolist())

    def of_concept(self, concept: str, most: int) -> list[Named]:
        """Neurons that stand for a concept of exactly that name, in any case; a side once, by its best formula."""
        found: dict[tuple[str, int, str], Named] = {}
        rows = self.index.rows(concept).tolist()
        for start in range(0, len(rows), most):
            for each in self._rows(rows[start : start + most]):
                found.setdefault((each.layer, each.channel, each.side), each)
            if len(found) >= most:
                break
        return list(found.values())[:most]

    def over_layers(self, q: str) -> list[OfLayer]:
        """Where in the network neurons' words match, in the order in which layers stand in the table."""
        rows = self.index.matches(q, len(self.table))
        code, names = self._layers
        found = []
        for at in np.unique(code[rows]).tolist():
            excess = self._excess[rows[code[rows] == at]]
            found.append(OfLayer(names[at], len(excess), float(excess.max()), float(np.median(excess))))
        return found

    def in_layer(self, layer: str, most: int) -> list[tuple[str, int, float]]:
        """Formulas of a layer's neurons by how many have them: words, neurons, largest excess."""
        code, names = self._layers
        if layer not in names:
            return []
        stands = self.index.stands
        mine = stands[code[stands] == names.index(layer)]
        counted: dict[str, list[float]] = {}
        for words, row in zip(self.table.column("words").take(pa.array(mine)).to_pylist(), mine.tolist(), strict=True):
            counted.setdefault(words, []).append(float(self._excess[row]))
        ranked = sorted(counted.items(), key=lambda item: (-len(item[1]), -max(item[1]), item[0]))
        return [(words, len(excess), max(excess)) for words, excess in ranked[:most]]

    def channels(self, layer: str, q: str) -> list[int]:
        """Channels of a layer whose words match, the best first."""
        code, names = self._layers
        if layer not in names:
            return []
        rows = self.index.matches(q, len(self.table))
        mine = rows[code[rows] == names.index(layer)]
        return list(dict.fromkeys(self.table.column("channel").take(pa.array(mine)).to_pylist()))

    def _rows(self, rows: list[int]) -> list[Named]:
        taken = self.table.select(["layer", "channel", "side", "words", "held_out", "held_out_excess"])
        return [Named(*row.values()) for row in taken.take(pa.array(rows, pa.int64())).to_pylist()]

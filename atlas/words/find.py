"""Neurons by words: an index over the formulas that stand against chance, best on the held-out half first."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.arrays import Doubles, Flags, Ints
from atlas.words.formula import affirmed

LEVEL = 0.05
"""Words are found only where their false discovery rate is at most this."""
_MANY = 4096  # rows beyond which they are not sorted
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Found:
    """A neuron and why it was found: the row of `words`, its formula, and how far above chance it is on the held-out
    half (deviations)."""

    row: int
    words: str
    excess: float


class WordIndex:
    """Rows of the table `words`, by the words in their formulas. Built once; asked any number of times."""

    def __init__(self, words: pa.Table) -> None:
        q, excess = words.column("q"), words.column("held_out_excess")
        stands = pc.and_(pc.is_valid(words.column("words")), pc.less_equal(pc.fill_null(q, 2.0), LEVEL))
        rows = np.flatnonzero(stands.combine_chunks().to_numpy(zero_copy_only=False))
        values = excess.combine_chunks().fill_null(-np.inf).to_numpy(zero_copy_only=False).astype(np.float64)
        coded = words.column("words").combine_chunks().take(pa.array(rows)).dictionary_encode()
        self.formulas: list[str] = coded.dictionary.to_pylist()
        code = coded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        order = np.lexsort((rows, -values[rows], code))  # formula by formula, the best first
        self.stands: Ints = rows
        """Rows of the table that stand against chance."""
        self._rows: Ints = rows[order]
        self._place = np.argsort(order)  # of each row that stands
        self._excess: Doubles = values[self._rows]
        self._formula = code[order]
        self._down = np.lexsort((self._rows, -self._excess))  # places, the best first
        self._starts = np.searchsorted(code[order], np.arange(len(self.formulas) + 1))
        self._concepts: dict[str, list[int]] = {}
        vocabulary: dict[str, set[int]] = {}
        for number, formula in enumerate(self.formulas):
            for name in affirmed(formula):
                self._concepts.setdefault(name.casefold(), []).append(number)
                for word in _WORD.findall(name.casefold()):
                    vocabulary.setdefault(word, set()).add(number)
        self._words = sorted(vocabulary)
        self._numbers = [np.array(sorted(vocabulary[word]), np.int64) for word in self._words]

    @property
    def concepts(self) -> list[str]:
        """Names, case folded, of all concepts that stand for some neuron."""
        return sorted(self._concepts)

    def matches(self, q: str, most: int) -> Ints:
        """Rows of neurons whose formula is `q`, or asks for a concept of that name, then of those with all its words.

        Words match from their beginnings, whatever their case; within a group the best on the held-out half first.
        """
        groups = [self._best(numbers, 2 * most) for numbers in self._groups(q.strip())]
        rows = self._rows[np.concatenate(groups)]
        first = np.sort(np.unique(rows, return_index=True)[1])[:most]
        return np.asarray(rows[first])

    def find(self, q: str, most: int = 50) -> list[Found]:
        """The first of `matches`, each with why it was found."""
        rows = self.matches(q, most)
        places = self._place[np.searchsorted(self.stands, rows)]
        formulas = np.searchsorted(self._starts, places, side="right") - 1
        return [
            Found(row, self.formulas[formula], excess)
            for row, formula, excess in zip(
                rows.tolist(), formulas.tolist(), self._excess[places].tolist(), strict=True
            )
        ]  # fmt: skip

    def rows(self, concept: str) -> Ints:
        """Rows of the table whose formula asks for the concept, the best on the held-out half first."""
        numbers = np.array(self._concepts.get(concept.casefold(), []), np.int64)
        return self._rows[self._best(numbers, len(self._rows))]

    def _groups(self, wanted: str) -> tuple[Ints, Ints, Ints]:
        empty = np.empty(0, np.int64)
        if not wanted:
            return empty, empty, empty
        low = wanted.casefold()
        several = {"and", "or", "not"} & set(low.split())  # one concept alone is no better than among others
        exact = empty if not several else np.array(
            [n for n in self._concepts_of(low) if self.formulas[n].casefold() == low], np.int64
        )  # fmt: skip
        named = np.array(self._concepts.get(low, []), np.int64)
        rest: Flags | None = None
        for word in [word for word in _WORD.findall(low) if word not in ("and", "not", "or")]:
            start = bisect_left(self._words, word)
            stop = bisect_left(self._words, word + "\U0010ffff")
            held = np.zeros(len(self.formulas), bool)
            held[np.concatenate([empty, *self._numbers[start:stop]])] = True
            rest = held if rest is None else rest & held
        return exact, named, empty if rest is None else np.flatnonzero(rest)

    def _concepts_of(self, formula: str) -> list[int]:
        names = affirmed(formula.replace(" and not ", " AND NOT ").replace(" and ", " AND ").replace(" or ", " OR "))
        return self._concepts.get(names[0], [])

    def _best(self, numbers: Ints, most: int) -> Ints:
        """Places of the best rows of some formulas, the best first; of equals the first row."""
        sizes = self._starts[numbers + 1] - self._starts[numbers]
        if int(sizes.sum()) > _MANY:
            return self._best_of_many(numbers, most)
        ends = np.cumsum(sizes)
        places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(self._starts[numbers] - ends + sizes, sizes)
        order = np.lexsort((self._rows[places], -self._excess[places]))
        return np.asarray(places[order][:most])

    def _best_of_many(self, numbers: Ints, most: int) -> Ints:
        """The same by going down all rows from the best until enough are found."""
        wanted = np.zeros(len(self.formulas), bool)
        wanted[numbers] = True
        found: list[Ints] = []
        start, step, count = 0, 4 * most, 0
        while count < most and start < len(self._down):
            places = self._down[start : start + step]
            found.append(places[wanted[self._formula[places]]])
            count += len(found[-1])
            start, step = start + step, 2 * step
        return np.concatenate(found)[:most]
